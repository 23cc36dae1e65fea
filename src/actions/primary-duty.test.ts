import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { epoch, groupId, memberId, nodeId, timeline } from '../base/ids.ts';
import type { Duty } from '../failover/duties.ts';
import { readControlData } from '../postgres/control-data.ts';
import { renderHba } from '../postgres/hba.ts';
import { type SynchronousStandbys, renderSynchronousStandbys } from '../postgres/settings.ts';
import { type AgentContext, DEFAULT_AGENT_TIMING } from './context.ts';
import { hbaOptions } from './instance-files.ts';
import { openInstance } from './instance.ts';
import type { ClientAccess } from './instance-options.ts';
import { inspectDataDirectory } from './data-directory.ts';
import { carryOutPrimary } from './primary-duty.ts';
import { IN_PRODUCTION, writeControl } from '../postgres/testing/control-file.ts';

const MEMBER = memberId('pg2_1');
const DUTY: Extract<Duty, { kind: 'primary' }> = {
  kind: 'primary',
  group: groupId('main'),
  incarnation: 1,
  epoch: epoch(7),
  slots: [],
  timeline: timeline(1),
  rule: { members: [MEMBER], acks: 1 },
  next: undefined,
  floor: undefined,
  isPaused: false,
};
const RULE = { kind: 'any', acks: 1, members: [MEMBER] } as const;
const NOBODY = renderSynchronousStandbys({ kind: 'nobody' });

/** A primary that runs in the minority; `steps` are those that ran once, and the rules that were set. */
function example(options: { isUnproven: boolean; keepsClientsOut: boolean }) {
  const host = {
    ...{ inForce: NOBODY, proven: undefined as number | undefined, waits: true },
    /** All replication slots are in use. */
    isFull: false,
  };
  const steps: string[] = [];
  const context = {
    notes: { isUnproven: options.isUnproven },
    timing: { queryTimeoutMs: 1000 },
    protections: { rule: true, cut: true, guard: true },
    guarding: {
      prepare: () => Promise.resolve(true),
      isForsaken: () => false,
      state: () => ({ provenPostmaster: host.proven }),
    },
    confirms: () => Promise.resolve(false),
    activity: () => undefined,
    clearUnexpectedEnd: () => undefined,
    once: async (key: string, work: () => Promise<void>) => {
      if (key === 'kept out') return work();
      if (key === 'commits wait' && !host.waits) throw new Error('no commit waits');
      if (key.startsWith('slots ') && host.isFull) throw new Error('all replication slots are in use');
      steps.push(key);
    },
    log: () => undefined,
    instance: {
      options: { replication: {}, probe: {}, groupParameters: () => new Map<string, string>() },
      isForeign: () => false,
      postmaster: () => ({ pid: 7 }),
      keepsClientsOut: () => Promise.resolve(options.keepsClientsOut),
      readRole: () =>
        Promise.resolve({ kind: 'primary', timeline: timeline(1), synchronousStandbyNames: host.inForce }),
      setSynchronousStandbys: (standbys: typeof RULE) => {
        steps.push(renderSynchronousStandbys(standbys));
        return Promise.resolve();
      },
    },
  } as unknown as AgentContext;
  const pass = () => carryOutPrimary(context, DUTY, new AbortController().signal);
  return { host, steps, pass };
}

test('an unproven primary gets its rule in a later pass when the first was broken off, and is then proved by it', async () => {
  const { host, steps, pass } = example({ isUnproven: true, keepsClientsOut: true });
  host.waits = false;
  await expect(pass()).rejects.toThrow('no commit waits');
  expect(steps).toEqual([]);
  host.waits = true;
  await pass();
  expect(steps).toEqual(['commits wait', renderSynchronousStandbys(RULE)]);
  host.inForce = renderSynchronousStandbys(RULE);
  host.proven = 7;
  await pass();
  expect(steps).toContain('admit');
});

test('clients are not let in by a later pass before a commit was seen to wait', async () => {
  const { host, steps, pass } = example({ isUnproven: false, keepsClientsOut: false });
  host.waits = false;
  await expect(pass()).rejects.toThrow('no commit waits');
  expect(steps).toEqual([]);
  host.waits = true;
  await pass();
  expect(steps.slice(0, 2)).toEqual(['commits wait', 'admit']);
});

test('slots that cannot be looked after keep no rule waiting', async () => {
  const { host, steps, pass } = example({ isUnproven: false, keepsClientsOut: false });
  host.isFull = true;
  await expect(pass()).rejects.toThrow('all replication slots are in use');
  expect(steps).toContain(renderSynchronousStandbys(RULE));
});

test('another sentineld does not let clients in where the one before had yet to prove it', async () => {
  const { steps, pass } = example({ isUnproven: false, keepsClientsOut: true });
  await pass();
  expect(steps).not.toContain('admit');
});

test('that clients are kept out is told from pg_hba.conf', async () => {
  const dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-hba-'));
  const options = {
    node: nodeId('pg1'),
    dataDirectory,
    socketDirectory: dataDirectory,
    port: 1,
    superuser: 'sentinel',
    replication: { name: 'r', password: '' },
    probe: { name: 'p', password: '' },
    hbaLines: ['host all all all scram-sha-256'],
    groupHba: () => [],
    groupParameters: () => new Map(),
    takenFile: join(dataDirectory, 'taken.json'),
    adoptedHbaFile: '/nowhere/at/all',
    user: {},
    onChange: () => undefined,
  } as unknown as Parameters<typeof openInstance>[0];
  const keepsOut = async (clients: ClientAccess, hbaLines = options.hbaLines): Promise<boolean> => {
    const instance = openInstance({ ...options, hbaLines });
    await writeFile(join(dataDirectory, 'pg_hba.conf'), renderHba(instance.hba(clients)));
    const answer = await instance.keepsClientsOut();
    await instance.close();
    return answer;
  };
  expect(await keepsOut('kept-out')).toBe(true);
  expect(await keepsOut('admitted')).toBe(false);
  expect(await keepsOut('kept-out', [])).toBe(false);
  await rm(dataDirectory, { recursive: true });
});

test('before it has written pg_hba.conf an agent takes it to have what PostgreSQL is known to take', async () => {
  const dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-hba-'));
  const [known, come] = [['host app app all md5'], ['host app app all ldap ldapserver=a']];
  const takenFile = join(dataDirectory, 'taken.json');
  await writeFile(takenFile, JSON.stringify({ hba: known }));
  const instance = openInstance({
    ...{ dataDirectory, socketDirectory: dataDirectory, port: 1, superuser: 'sentinel', takenFile },
    ...{
      replication: { name: 'r', password: '' },
      probe: { name: 'p', password: '' },
      user: {},
      hbaLines: [],
    },
    ...{ groupHba: () => come, groupParameters: () => new Map(), adoptedHbaFile: '/nowhere/at/all' },
    onChange: () => undefined,
  } as unknown as Parameters<typeof openInstance>[0]);
  expect(instance.hba('admitted').extraLines).toEqual(known);
  await instance.writeHba('admitted');
  expect(instance.hba('admitted').extraLines).toEqual(come);
  expect(instance.writtenHba()).toEqual(come);
  await instance.close();
  await rm(dataDirectory, { recursive: true });
});

test('what somebody has written into the rules of an adopted server lets no replication in', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-hba-'));
  const adoptedHbaFile = join(directory, 'pg1.adopted-hba');
  const kept = 'host app app all md5';
  await writeFile(adoptedHbaFile, `# taken over\n${kept}\nhost all, replication all all trust\n`);
  const options = { adoptedHbaFile, hbaLines: [], replication: { name: 'r' }, probe: { name: 'p' } };
  const instance = { ...options, superuser: 's' } as unknown as Parameters<typeof hbaOptions>[0];
  const made = hbaOptions(instance, 'admitted', []);
  expect(made.extraLines).toEqual([kept]);
  expect(renderHba(made)).toContain(kept);
  await rm(directory, { recursive: true });
});

const STARTED = new Error('started');
const ID = 'pg1_00000001';

describe('a primary that has ended by itself', () => {
  /** What is said of it where the log cannot be read. */
  async function said(options: { isPaused: boolean; isClean: boolean; system?: string }): Promise<string> {
    return (await passed({ ...DUTY, isPaused: options.isPaused }, options)).said;
  }

  /** What is written for a start, of one that is paused. */
  async function startedWith(duty: typeof DUTY): Promise<readonly SynchronousStandbys[]> {
    const paused = { ...duty, isPaused: true };
    return (await passed(paused, { isClean: false, isConfirmed: true })).written;
  }

  async function passed(
    duty: typeof DUTY,
    options: {
      readonly isClean: boolean;
      readonly isConfirmed?: boolean;
      readonly system?: string;
      /** Where the guard has watched before. */
      readonly place?: string;
    },
  ): Promise<{ readonly said: string; readonly written: readonly SynchronousStandbys[] }> {
    const dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-primary-'));
    try {
      await writeFile(join(dataDirectory, 'PG_VERSION'), '15\n');
      await writeControl(dataDirectory, IN_PRODUCTION);
      const node = nodeId('pg1');
      const { systemIdentifier } = await readControlData(dataDirectory);
      await writeFile(
        join(dataDirectory, 'pg_sentinel_member.json'),
        JSON.stringify({ node, memberId: ID, systemIdentifier }),
      );
      const messages: string[] = [];
      const written: SynchronousStandbys[] = [];
      const context = {
        notes: {},
        duty: () => duty,
        dataDirectory: () => inspectDataDirectory(dataDirectory, node),
        log: () => undefined,
        timing: DEFAULT_AGENT_TIMING,
        protections: { rule: options.isConfirmed === true, cut: true, guard: true },
        guarding: {
          ...{ message: () => undefined, prepare: () => Promise.resolve(true), isForsaken: () => true },
          place: () => Promise.resolve(options.place),
        },
        registration: () => ({ member: ID }),
        group: () => ({ systemIdentifier: options.system ?? systemIdentifier }),
        unexpectedEnd: () => ({ atMs: performance.now(), isClean: options.isClean }),
        confirms: () => Promise.resolve(options.isConfirmed === true),
        activity: (_condition: string, message: string) => messages.push(message),
        instance: {
          ...{
            options: { dataDirectory, node, databaseFile: `${dataDirectory}.database.json` },
            postmaster: () => undefined,
            isForeign: () => false,
          },
          writeConfiguration: (standbys: SynchronousStandbys) => Promise.resolve(written.push(standbys)),
          startAs: () => Promise.reject(STARTED),
        },
      } as unknown as AgentContext;
      await carryOutPrimary(context, duty, new AbortController().signal).catch((error: unknown) => {
        if (error !== STARTED) throw error;
      });
      return { said: messages.join(), written };
    } finally {
      await rm(dataDirectory, { recursive: true });
    }
  }

  test('leaves a standby the time to take over, or its administrator the time to start it again', async () => {
    expect(await said({ isPaused: false, isClean: false })).toMatch(/crashed; a standby may take over/);
    expect(await said({ isPaused: false, isClean: true })).toMatch(/shut down cleanly by somebody; waiting/);
  });

  test('is started at once after a crash while it is paused, and not at all where somebody has shut it down', async () => {
    expect(await said({ isPaused: true, isClean: false })).toMatch(/not started: the log cannot be read/);
    expect(await said({ isPaused: true, isClean: true })).toMatch(/left so while it is paused/);
  });

  test('holds readers of logical slots back from its start: clients come in before the rule is in force', async () => {
    const { rule } = DUTY;
    expect(await startedWith(DUTY)).toEqual([{ kind: 'nobody', readersWaitFor: rule.members }]);
    // Of a strict group that lacks members: for all others, as without a start.
    const lacking = { ...DUTY, rule: { members: [], acks: 1 }, slots: rule.members };
    expect(await startedWith(lacking)).toEqual([{ kind: 'nobody', readersWaitFor: rule.members }]);
    expect(await startedWith({ ...DUTY, rule: { members: [], acks: 0 } })).toEqual([{ kind: 'alone' }]);
  });

  test('is not started where its data directory holds another database, and says what to do', async () => {
    await expect(said({ isPaused: true, isClean: false, system: '2' })).rejects.toThrow(
      /another database \(system identifier 1, the group has 2\).*sentinelctl node replace-database pg1$/,
    );
  });

  test('is not started where what it ran with before lies elsewhere, and holds more', async () => {
    const place = await mkdtemp(join(tmpdir(), 'pg-sentinel-left-'));
    await writeControl(place, IN_PRODUCTION, 0, { checkpoint: 1n });
    await writeFile(
      join(place, 'pg_sentinel_member.json'),
      JSON.stringify({ node: 'pg1', memberId: ID, systemIdentifier: '1' }),
    );
    const start = { ...DUTY, isPaused: true };
    await expect(passed(start, { isClean: false, isConfirmed: true, place })).rejects.toThrow(
      /^cannot start the primary: \S+left-\w+, which node.data_directory had named before, holds more/,
    );
    await rm(place, { recursive: true });
    expect((await passed(start, { isClean: false, isConfirmed: true, place })).written).toHaveLength(1);
  });
});
