// Durability async: a primary runs under a lease that its agent has from the log, and is stopped before that has ended, whatever
// became of the agent. The agent is a process of its own; the test is its log.
import { type ChildProcess, fork } from 'node:child_process';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { compiled } from '../../../harness/programs.ts';
import { delay, until } from '../../../src/base/clock.ts';
import { epoch, groupId, nodeId, peerId, timeline } from '../../../src/base/ids.ts';
import type { SyncRule } from '../../../src/cluster/commands.ts';
import { DEFAULT_GROUP_SETTINGS } from '../../../src/cluster/apply-settings.ts';
import type { Duty } from '../../../src/failover/duties.ts';
import { readMoment } from '../../../src/guard/boot-clock.ts';
import { removeInstructions } from '../../../src/guard/terms.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { readMember } from '../../../src/postgres/member.ts';
import { findPostmaster, instanceProcesses, isAlive, processState } from '../../../src/postgres/processes.ts';
import {
  type Instance,
  LIMIT_MS,
  PROBE,
  type Place,
  REPLICATION,
  openPlace,
  sql,
  TESTED_VERSION,
} from '../postgres/instances.ts';
import { guardPid } from './guards.ts';

const LEASE_MS = 5000;
const LEASED: SyncRule = { members: [], acks: 0, leased: true };
const PROGRAM = resolve(fileURLToPath(import.meta.url), '../agent-process.mjs');
const place: Place | undefined = await openPlace(TESTED_VERSION);

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

type Said =
  | { readonly kind: 'ask'; readonly id: number }
  | { readonly kind: 'report'; readonly condition: string; readonly message: string | undefined }
  | { readonly kind: 'log'; readonly level: string; readonly message: string }
  | { readonly kind: 'ready' | 'gone' };

describe.skipIf(place === undefined)(`a leased primary (needs PostgreSQL ${TESTED_VERSION})`, () => {
  const at = place as Place;
  let one: Instance;
  let directory: string;
  let agent: ChildProcess | undefined;
  let log: string[] = [];
  let report: Extract<Said, { kind: 'report' }> | undefined;
  /** Boot time at which the last question came in that was answered: the lease counts from before that. */
  let grantedBootMs = 0;
  let grants = 0;
  let answers = true;

  const duty = (rule: SyncRule = LEASED): Duty => ({
    kind: 'primary',
    group: groupId('main'),
    incarnation: 1,
    epoch: epoch(7),
    slots: [],
    timeline: timeline(1),
    rule,
    next: undefined,
    floor: undefined,
    isPaused: false,
  });

  const startAgent = async (guard: { readonly program?: string } = {}): Promise<void> => {
    const { dataDirectory } = one;
    const { systemIdentifier } = await readControlData(dataDirectory);
    const member = await readMember({ dataDirectory, node: nodeId(one.name), systemIdentifier });
    log = [];
    report = undefined;
    const options = {
      instance: {
        node: one.name,
        clusterName: one.name,
        listenAddresses: ['127.0.0.1'],
        port: one.port,
        dataDirectory: one.dataDirectory,
        socketDirectory: one.socketDirectory,
        passfileDirectory: one.passfileDirectory,
        logFile: one.logFile,
        binaries: one.binaries,
        user: one.user,
        superuser: 'sentinel',
        replication: REPLICATION,
        probe: PROBE,
        parameters: { shared_buffers: '16MB', max_connections: '20' },
        hbaLines: [],
      },
      registration: {
        node: nodeId(one.name),
        group: groupId('main'),
        peer: peerId('a'),
        host: '127.0.0.1',
        port: one.port,
        priority: 100,
        member: member?.memberId,
        systemIdentifier,
      },
      stateDirectory: at.root,
      settings: { ...DEFAULT_GROUP_SETTINGS, durability: 'async', leaseMs: LEASE_MS },
      guard: { directory, version: '1', proofTimeoutMs: 30_000, ...guard },
      protections: {},
    };
    const root = resolve(compiled('src/guard/main.js'), '../../..');
    const started = fork(PROGRAM, [root, JSON.stringify(options)], { cwd: at.root });
    agent = started;
    started.on('message', (said: Said) => {
      if (said.kind === 'log') log.push(`${said.level} ${said.message}`);
      else if (said.kind === 'report') report = said;
      else if (said.kind === 'ready') started.send({ kind: 'duty', duty: duty() });
      else if (said.kind === 'ask') {
        const { bootMs } = readMoment();
        if (answers) {
          grantedBootMs = bootMs;
          grants += 1;
        }
        started.send({ kind: 'answer', id: said.id, duty: answers ? duty() : undefined });
      }
    });
  };

  const running = (): Promise<unknown> =>
    until({ what: 'a primary', timeoutMs: LIMIT_MS, everyMs: 20 }, () => report?.condition === 'primary');
  const renewed = async (times: number): Promise<void> => {
    const before = grants;
    await until(
      { what: 'the lease to be renewed', timeoutMs: LIMIT_MS, everyMs: 10 },
      () => grants >= before + times,
    );
  };
  /** Waits until nothing of PostgreSQL is left, and says how long before the end of the lease. */
  const goneInTime = async (): Promise<void> => {
    await until(
      { what: 'PostgreSQL to be gone', timeoutMs: LIMIT_MS, everyMs: 5 },
      () => instanceProcesses(one.dataDirectory).length === 0,
    );
    const { bootMs } = readMoment();
    const endBootMs = grantedBootMs + LEASE_MS;
    console.log(`gone ${endBootMs - bootMs} ms before the end of a lease of ${LEASE_MS} ms`);
    expect(bootMs).toBeLessThan(endBootMs);
  };
  const says = (what: RegExp): Promise<unknown> =>
    until({ what: `${what} in the agent's log`, timeoutMs: LIMIT_MS, everyMs: 20 }, () =>
      log.some((line) => what.test(line)),
    );
  const endAgent = async (): Promise<void> => {
    const ending = agent;
    if (ending === undefined || hasEnded(ending)) return;
    const ended = new Promise((done) => ending.once('exit', done));
    ending.kill('SIGKILL');
    await ended;
  };

  beforeAll(async () => {
    directory = join(at.root, 'guard');
    one = await at.prepare('one');
    await at.init(one);
    answers = true;
    await startAgent();
    await running();
  });
  afterEach(async () => {
    // Each test begins with a primary that renews.
    answers = true;
    agent?.kill('SIGCONT');
    if (agent === undefined || hasEnded(agent)) await startAgent();
    await running();
    await renewed(2);
  });
  afterAll(async () => {
    await endAgent();
    await removeInstructions(directory);
    const guard = await guardPid(directory);
    if (guard !== undefined) process.kill(guard, 'SIGKILL');
    await at.close();
  });

  test('goes on for longer than a lease while that is renewed', async () => {
    const pid = findPostmaster(one.dataDirectory)?.pid;
    expect(pid).toBeTypeOf('number');
    await delay(LEASE_MS * 1.5);
    expect(findPostmaster(one.dataDirectory)?.pid).toBe(pid);
    await sql(one, 'create table public.t (i int); insert into public.t values (1)');
  });

  test('whose agent is frozen for longer than the lease is stopped in time, and starts again by the log', async () => {
    await renewed(1);
    agent?.kill('SIGSTOP');
    await goneInTime();
    expect(await guardPid(directory)).toBeTypeOf('number');
    await delay(LEASE_MS);
    expect(findPostmaster(one.dataDirectory)).toBeUndefined();
    agent?.kill('SIGCONT');
    await says(/PostgreSQL was stopped by its guard: the lease is not renewed/);
    await says(/starting PostgreSQL as primary in place/);
  });

  test('whose agent is killed is stopped in time', async () => {
    agent?.kill('SIGKILL');
    await goneInTime();
  });

  test('whose guard is killed too is stopped in time by the next one', async () => {
    agent?.kill('SIGKILL');
    process.kill((await guardPid(directory)) ?? 0, 'SIGKILL');
    await goneInTime();
  });

  test('that no leader confirms is stopped in time, stays so, and says why', async () => {
    answers = false;
    await goneInTime();
    await until({ what: 'the report', timeoutMs: LIMIT_MS, everyMs: 20 }, () =>
      /stopped by its guard: the lease is not renewed.*not started: the log cannot be read/.test(
        report?.message ?? '',
      ),
    );
    await delay(3000);
    expect(findPostmaster(one.dataDirectory)).toBeUndefined();
    expect(report?.condition).toBe('stopped');
  });

  test('is not started without a lease', async () => {
    await endAgent();
    await goneInTime();
    answers = false;
    await startAgent();
    await until({ what: 'the report', timeoutMs: LIMIT_MS, everyMs: 20 }, () =>
      /not started/.test(report?.message ?? ''),
    );
    await delay(2000);
    expect(findPostmaster(one.dataDirectory)).toBeUndefined();
  });
  test('is not started without a guard', async () => {
    await endAgent();
    await goneInTime();
    // Without instructions neither the guard nor the shell above it goes on.
    await removeInstructions(directory);
    const guard = (await guardPid(directory)) ?? 0;
    const shell = processState(guard)?.parent ?? 0;
    process.kill(guard, 'SIGKILL');
    await until(
      { what: "the guard's shell to end", timeoutMs: LIMIT_MS, everyMs: 20 },
      () => !isAlive(shell),
    );
    await startAgent({ program: '/nonexistent/guard.js' });
    await until({ what: 'the report', timeoutMs: LIMIT_MS, everyMs: 20 }, () =>
      /the guard of PostgreSQL does not come up/.test(report?.message ?? ''),
    );
    expect(findPostmaster(one.dataDirectory)).toBeUndefined();
    await endAgent();
  });
});
