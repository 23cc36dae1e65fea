// Rules for pg_hba.conf on a server that runs: only what it was asked about is held for taken or refused.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { AgentContext } from './context.ts';
import { createHbaDuty } from './hba-duty.ts';
import { type TakenSettings, createTakenSettings } from './taken-settings.ts';
import { FOLLOW, type FakeContext, fakeContext } from './testing/context.ts';

const ONE = ['host app app 10.0.0.0/24 scram-sha-256'];
const TWO = ['host app app 10.0.0.0/24 md5'];
/** The log's rules are the first in this file; a node's own come behind. */
const lineOf = (at: number, count: number): number | undefined => (at <= count ? at : undefined);

let folder: string;
let group: readonly string[];
let taken: TakenSettings;
let context: FakeContext;
let reloads: number;
/** What PostgreSQL makes of the file when it is asked. */
let errors: () => readonly { readonly at: number; readonly error: string }[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-hba-'));
  group = ONE;
  reloads = 0;
  errors = () => [];
  taken = createTakenSettings({
    path: join(folder, 'taken.json'),
    owner: undefined,
    groupParameters: () => new Map(),
    groupHba: () => group,
  });
  let written: readonly string[] | undefined;
  const fake = fakeContext({ dataDirectory: folder, query: () => errors() });
  const instance = {
    ...fake.instance,
    options: { ...fake.instance.options, groupHba: () => group },
    taken,
    writtenHba: () => written,
    hbaLineOf: (at: number) => lineOf(at, written?.length ?? 0),
    reload: () => (reloads += 1),
    writeHba: () => {
      const isOther = JSON.stringify(written) !== JSON.stringify(taken.hba());
      written = taken.hba();
      return Promise.resolve(isOther);
    },
  };
  context = { ...fake, instance: instance as unknown as AgentContext['instance'] };
});
afterEach(() => rm(folder, { recursive: true }));

const look = async (duty = createHbaDuty(context)): Promise<ReturnType<typeof createHbaDuty>> => {
  await duty.look(FOLLOW, new AbortController().signal);
  return duty;
};

test('rules that the log got while PostgreSQL was asked about those before are not held for taken', async () => {
  errors = () => {
    group = TWO;
    return [];
  };
  const duty = await look();
  expect(taken.provenHba()).toEqual(ONE);
  expect(duty.problem()).toBe('not given to PostgreSQL yet');
  await look(duty);
  expect(taken.provenHba()).toEqual(TWO);
  expect(duty.problem()).toBeUndefined();
});

test('nor are they held for refused', async () => {
  errors = () => {
    group = TWO;
    return [{ at: 1, error: 'authentication method "scram-sha-256" is not known' }];
  };
  await look();
  expect(taken.hbaRefusal()).toBeUndefined();
  expect(taken.hba()).toEqual(TWO);
  group = ONE;
  expect(taken.hbaRefusal()).toMatch(/^hba line 1: authentication method/);
});

test('a rule that can never match is said, and stands in nobody’s way', async () => {
  errors = () => [{ at: 2, error: 'hostssl record cannot match because SSL is disabled' }];
  const duty = await look();
  expect(duty.problem()).toBeUndefined();
  expect(taken.provenHba()).toEqual(ONE);
  expect(reloads).toBe(1);
  expect(context.announced).toEqual([
    'rules of pg_hba.conf that do nothing: line 2 of pg_hba.conf: hostssl record cannot match because SSL is disabled',
  ]);
});

test('another line that PostgreSQL does not take keeps the whole file from being loaded', async () => {
  errors = () => [{ at: 2, error: 'invalid connection type "hots"' }];
  const duty = await look();
  expect(duty.problem()).toMatch(/^line 2 of pg_hba\.conf: invalid connection type/);
  expect(taken.provenHba()).toEqual([]);
  expect(reloads).toBe(0);
});
