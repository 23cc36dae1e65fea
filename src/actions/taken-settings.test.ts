// What a node's PostgreSQL does not take of the log's settings, and what it is given then.
import { mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StartError } from '../postgres/lifecycle.ts';
import { type WrittenFiles, startDespiteSettings } from './start-despite-settings.ts';
import { type TakenSettings, createTakenSettings } from './taken-settings.ts';

const ONE = 'host app app 10.0.0.0/24 scram-sha-256';
const TWO = 'host app app 10.0.0.0/24 ldap ldapserver=a';

let folder: string;
let parameters: Map<string, string>;
let hba: readonly string[];
let taken: TakenSettings;

const open = (): TakenSettings =>
  createTakenSettings({
    path: join(folder, 'taken.json'),
    owner: undefined,
    groupParameters: () => parameters,
    groupHba: () => hba,
  });
/** The files are written with what the log has now. */
const written = (held: readonly string[] = []): WrittenFiles => ({
  parameters: { group: taken.parameters(), held },
  hba: taken.hba(),
});
const unproven = (): readonly string[] => taken.unprovenParameters(written().parameters);
const prove = (...names: readonly string[]): Promise<void> =>
  taken.proveParameters(names, written().parameters);
const refuse = (names = unproven()): Promise<void> => taken.refuseParameters(names, written().parameters);
const due = (): object => Object.fromEntries(taken.parameters());

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-taken-'));
  parameters = new Map();
  hba = [];
  taken = open();
});
afterEach(() => rm(folder, { recursive: true }));

test('what was refused is as it was before, until the log says something else; also after a restart', async () => {
  parameters = new Map([['shared_preload_libraries', 'good']]);
  await prove('shared_preload_libraries');
  parameters = new Map([
    ['shared_preload_libraries', 'bad'],
    ['work_mem', '8MB'],
  ]);
  expect([...unproven()].toSorted()).toEqual(['shared_preload_libraries', 'work_mem']);
  await prove('work_mem');
  await refuse();
  taken = open();
  expect(due()).toEqual({ shared_preload_libraries: 'good', work_mem: '8MB' });
  expect(taken.refusedParameters()).toEqual(['shared_preload_libraries']);
  parameters = new Map([['shared_preload_libraries', 'better']]);
  expect(due()).toEqual({ shared_preload_libraries: 'better' });
  expect(taken.refusedParameters()).toEqual([]);
});

test('a parameter that is no longer set comes back where PostgreSQL does not start without it', async () => {
  parameters = new Map([['a', '1']]);
  await prove('a');
  parameters = new Map();
  expect(due()).toEqual({});
  await refuse();
  expect(due()).toEqual({ a: '1' });
});

test('rules that were refused are those before, and so are those that cannot be read at all', async () => {
  hba = [ONE];
  expect(taken.isHbaProven()).toBe(false);
  await taken.proveHba(hba);
  hba = [TWO];
  await taken.refuseHba(hba, 'no ldap here');
  expect(taken.hba()).toEqual([ONE]);
  expect(taken.hbaRefusal()).toBe('no ldap here');
  hba = ['host replication all all trust'];
  expect(taken.hba()).toEqual([ONE]);
  expect(taken.hbaRefusal()).toMatch(/without a password/);
  hba = [ONE];
  expect(taken.hbaRefusal()).toBeUndefined();
});

test('rules from before that must not be written any more are left out where they are fallen back to', async () => {
  const kept = ['host replication all all trust', ONE];
  await writeFile(join(folder, 'taken.json'), JSON.stringify({ hba: kept }));
  taken = open();
  hba = kept;
  expect(taken.hbaRefusal()).toMatch(/hba line 1, method/);
  expect(taken.hba()).toEqual([ONE]);
});

test('only what the file has is held for taken: not what the log has meanwhile, nor what is held back', async () => {
  parameters = new Map([
    ['a', '1'],
    ['b', '1'],
  ]);
  const file = written(['b']).parameters;
  parameters = new Map([
    ['a', '2'],
    ['b', '1'],
  ]);
  expect(taken.unprovenParameters(file)).toEqual(['a']);
  await taken.proveParameters(taken.unprovenParameters(file), file);
  expect([...unproven()].toSorted()).toEqual(['a', 'b']);
  await refuse(['a']);
  expect(due()).toEqual({ a: '1', b: '1' });
});

test('what was refused before stays refused when something else is', async () => {
  parameters = new Map([['a', 'bad']]);
  await refuse();
  parameters = new Map([...parameters, ['b', 'bad']]);
  await refuse();
  expect(taken.refusedParameters()).toEqual(['a', 'b']);
  parameters = new Map([...parameters, ['a', 'good']]);
  await refuse([]);
  expect(taken.refusedParameters()).toEqual(['b']);
});

test('a file that is damaged is nothing known', async () => {
  parameters = new Map([['a', '1']]);
  await prove('a');
  expect(JSON.parse(await readFile(join(folder, 'taken.json'), 'utf8'))).toMatchObject({
    parameters: { a: '1' },
  });
  // The folder is the postgres user's: a link there is not followed.
  await rename(join(folder, 'taken.json'), join(folder, 'elsewhere.json'));
  await symlink(join(folder, 'elsewhere.json'), join(folder, 'taken.json'));
  taken = open();
  expect(unproven()).toEqual(['a']);
});

describe('a start', () => {
  let said: string[];
  let starts: object[];
  let aborting: AbortController;
  const start = (fails: () => string | undefined) =>
    startDespiteSettings({
      ...{ taken, written: () => written(), signal: aborting.signal },
      rewrite: () => Promise.resolve(),
      onRefused: (message) => said.push(message),
      start: () => {
        starts.push(due());
        const reason = fails();
        return reason === undefined ? Promise.resolve('up') : Promise.reject(new StartError(reason));
      },
    });
  beforeEach(() => {
    said = [];
    starts = [];
    aborting = new AbortController();
    parameters = new Map([['shared_preload_libraries', 'nope']]);
  });

  test('that fails for a parameter is made without it, which is announced', async () => {
    const fails = () => (taken.parameters().size > 0 ? 'could not access file "nope"' : undefined);
    expect(await start(fails)).toBe('up');
    expect(starts).toEqual([{ shared_preload_libraries: 'nope' }, {}]);
    expect(said).toEqual([
      expect.stringMatching(
        /does not start with the parameters postgresql\.shared_preload_libraries .*"nope"/,
      ),
    ]);
  });

  test('that fails for pg_hba.conf is made with the rules before, and the parameters stay', async () => {
    hba = [ONE];
    const fails = () => (taken.hba().length > 0 ? 'could not load /data/pg_hba.conf' : undefined);
    expect(await start(fails)).toBe('up');
    expect(due()).toEqual({ shared_preload_libraries: 'nope' });
    expect(said).toEqual([expect.stringMatching(/rules for pg_hba\.conf/)]);
  });

  test('that fails for another reason takes nothing back', async () => {
    await expect(start(() => 'requested timeline 3 is not a child')).rejects.toThrow(/not a child/);
    expect(starts.slice(0, 2)).toEqual([due(), due()]);
    expect(due()).toEqual({ shared_preload_libraries: 'nope' });
    expect(said).toEqual([]);
  });

  test('that fails for what is over at once is made again with all of it', async () => {
    expect(await start(() => (starts.length === 1 ? 'could not bind the address' : undefined))).toBe('up');
    expect(due()).toEqual({ shared_preload_libraries: 'nope' });
    expect([said, taken.refusedParameters()]).toEqual([[], []]);
  });

  test('that was called off takes nothing back', async () => {
    const fails = (): string => {
      aborting.abort(new Error('the duty has changed'));
      return 'could not access file "nope"';
    };
    await expect(start(fails)).rejects.toThrow('the duty has changed');
    expect(starts).toHaveLength(1);
    expect(taken.refusedParameters()).toEqual([]);
  });

  test('refuses what was in the file, not what the log has meanwhile', async () => {
    const before = written();
    const fails = (): string | undefined => {
      if (starts.length > 1) return undefined;
      parameters = new Map([['shared_preload_libraries', 'better']]);
      return 'could not access file "nope"';
    };
    const started = startDespiteSettings({
      ...{ taken, signal: aborting.signal, onRefused: (message: string) => said.push(message) },
      written: () => before,
      rewrite: () => Promise.resolve(),
      start: () => {
        starts.push(due());
        const reason = fails();
        return reason === undefined ? Promise.resolve('up') : Promise.reject(new StartError(reason));
      },
    });
    expect(await started).toBe('up');
    expect(starts).toEqual([{ shared_preload_libraries: 'nope' }, { shared_preload_libraries: 'better' }]);
    expect(taken.refusedParameters()).toEqual([]);
  });

  test('of a server that keeps clients out has no rules to refuse', async () => {
    hba = [ONE];
    const started = startDespiteSettings({
      ...{ taken, signal: aborting.signal, onRefused: (message: string) => said.push(message) },
      written: () => ({ ...written(), hba: undefined }),
      rewrite: () => Promise.resolve(),
      start: () => Promise.reject(new StartError('could not load /data/pg_hba.conf')),
    });
    await expect(started).rejects.toThrow(/could not load/);
    expect(taken.hba()).toEqual([ONE]);
  });

  test('that fails with what PostgreSQL has run with is not tried again', async () => {
    await prove('shared_preload_libraries');
    await expect(start(() => 'no room')).rejects.toThrow(/no room/);
    expect(starts).toHaveLength(1);
  });
});
