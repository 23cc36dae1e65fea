// Which of two passwords a standby shows: what its copy of the roles says where that is up to date, and what its upstream takes.
import { beforeEach, describe, expect, test } from 'vitest';
import { type Account, rotatingAccount } from '../postgres/account.ts';
import { scramVerifier } from '../postgres/sql.ts';
import { findByLogin, findPasswords } from './accounts-duty.ts';
import { fakeContext } from './testing/context.ts';

let account: Account;
beforeEach(() => {
  account = rotatingAccount('replicator', ['former'], () => ['wanted', 'former']);
});

describe('by the roles of a standby', () => {
  const find = (isUpToDate: boolean | null): Promise<void> => {
    const context = fakeContext({
      dataDirectory: '/nowhere',
      instance: { replication: account },
      query: (text) =>
        text.includes('pg_authid') ? [{ verifier: scramVerifier('wanted') }] : [{ isUpToDate }],
    });
    return findPasswords(context, new AbortController().signal);
  };

  test('the one that they have is taken', async () => {
    await find(true);
    expect(account.password).toBe('wanted');
  });

  test.each([false, null])(
    'nothing is taken from those that may be of before the change (%s)',
    async (isUpToDate) => {
      await find(isUpToDate);
      expect(account.password).toBe('former');
    },
  );
});

describe('by a login', () => {
  const wrong = Object.assign(new Error('password authentication failed'), { code: '28P01' });
  const tried: string[] = [];
  const find = async (takes: string | undefined, error: Error = wrong): Promise<readonly string[]> => {
    tried.length = 0;
    await findByLogin(account, () => {
      tried.push(account.password);
      return account.password === takes ? Promise.resolve() : Promise.reject(error);
    });
    return tried;
  };

  test('the other one is tried where the first is wrong', async () => {
    expect(await find('wanted')).toEqual(['former', 'wanted']);
    expect(account.password).toBe('wanted');
    expect(await find('wanted')).toEqual(['wanted']);
  });

  test('where both are wrong neither is tried twice', async () => {
    expect(await find(undefined)).toEqual(['former', 'wanted']);
    expect(account.password).toBe('former');
  });

  test('an upstream that does not answer says nothing of passwords', async () => {
    expect(await find(undefined, new Error('connection refused'))).toEqual(['former']);
    expect(account.password).toBe('former');
  });

  test('nobody is asked where there is one password', async () => {
    account = rotatingAccount('replicator', ['only'], () => undefined);
    expect(await find('only')).toEqual([]);
  });
});
