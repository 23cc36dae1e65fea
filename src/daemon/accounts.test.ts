import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Account } from '../postgres/account.ts';
import { openAccount } from './accounts.ts';

let folder: string;
let file: string;
let nowMs: number;
let said: string[];
let account: Account;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-accounts-'));
  file = join(folder, 'probe.password');
  await writeFile(file, 'hunter1\n');
  [nowMs, said] = [0, []];
  account = openAccount(
    { name: 'probe', password: 'hunter1', file },
    {
      nowMs: () => nowMs,
      log: (level, message, fields) => said.push(`${level} ${message} ${JSON.stringify(fields)}`),
    },
  );
});
afterEach(() => rm(folder, { recursive: true }));

const write = async (text: string): Promise<void> => {
  await writeFile(file, text);
  nowMs += 1000;
};

test('a file that changes is read again, and nothing of it is logged', async () => {
  await write('hunter1\nhunter2\n');
  expect(account.rotation?.candidates()).toEqual(['hunter1', 'hunter2']);
  await write('hunter22\n');
  expect(account.password).toBe('hunter22');
  expect(said).toHaveLength(2);
  expect(said.join()).not.toContain('hunter');
});

test.each(['', 'hunter1\nhunter2\nhunter3\n', '\nhunter2\n'])(
  'one that says %j changes nothing and is said once, without what it holds',
  async (text) => {
    await write(text);
    expect(account.password).toBe('hunter1');
    nowMs += 5000;
    expect(account.password).toBe('hunter1');
    expect(said).toEqual([expect.stringMatching(/^warn the password of probe stays as it is: /)]);
    expect(said.join()).not.toContain('hunter');
  },
);

test('one that is gone changes nothing', async () => {
  await rm(file);
  nowMs += 1000;
  expect(account.password).toBe('hunter1');
});
