// The promote command is run as it stands in the configuration, knows what it is to promote, and never outlives its deadline, its
// sentineld or the epoch.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { until } from '../base/clock.ts';
import { epoch, groupId, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { Duty } from '../failover/duties.ts';
import { readMoment } from '../guard/boot-clock.ts';
import type * as DurableFiles from '../postgres/durable-files.ts';
import { findOsUser } from '../postgres/os-user.ts';
import { isAlive, processState } from '../postgres/processes.ts';
import type { AgentContext } from './context.ts';
import { endLeftPromoteCommand, openPromoteRun } from './promote-command.ts';

vi.mock('../postgres/durable-files.ts', async (original) => {
  const real = await original<typeof DurableFiles>();
  const never = new Promise<never>(() => undefined);
  return {
    ...real,
    writeNewFile: (options: Parameters<typeof real.writeNewFile>[0]) =>
      options.path === HUNG ? never : real.writeNewFile(options),
    readOwnFile: (...given: Parameters<typeof real.readOwnFile>) =>
      given[0] === HUNG ? never : real.readOwnFile(...given),
  };
});

/** On a file system that does not answer. */
const HUNG = '/hung/run';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'promote-command-'));
  await chmod(directory, 0o777);
});
afterEach(() => rm(directory, { recursive: true }));

const DUTY: Extract<Duty, { kind: 'promote' }> = {
  kind: 'promote',
  group: groupId('main'),
  incarnation: 2,
  epoch: epoch(41),
  slots: [],
  timeline: timeline(7),
  rule: { members: [], acks: 1 },
  from: { timeline: timeline(6), position: lsn(1n) },
};
const runFile = (): string => join(directory, 'run');

async function run(
  script: string,
  options: { timeoutMs?: number; args?: string[]; signal?: AbortSignal; promoteRunFile?: string } = {},
) {
  const program = join(directory, 'promote');
  await writeFile(program, `#!/bin/sh\n${script}\n`);
  await chmod(program, 0o755);
  const logged: { level: string; message: string; fields: Record<string, unknown> }[] = [];
  const context = {
    registration: () => ({ host: '10.0.0.1' }),
    instance: {
      options: {
        ...{ clusterName: 'shop', node: nodeId('pg1'), port: 5433 },
        ...{ dataDirectory: '/data', socketDirectory: '/socket', binaries: { directory: '/bin' } },
        user: await findOsUser({ configured: undefined }),
        promoteRunFile: options.promoteRunFile ?? runFile(),
      },
    },
    log: (level: string, message: string, fields: Record<string, unknown>) =>
      logged.push({ level, message, fields }),
  } as unknown as AgentContext;
  const promoting = openPromoteRun(context, {
    command: { command: [program, ...(options.args ?? [])], timeoutMs: options.timeoutMs ?? 60_000 },
    duty: DUTY,
  });
  const outcome = await promoting.begin(options.signal ?? new AbortController().signal).then(
    () => 'done',
    (error: unknown) => (error as Error).message,
  );
  return { outcome, logged, promoting };
}

const pidIn = (file: string): Promise<number> =>
  until({ what: file, timeoutMs: 10_000, everyMs: 5 }, async () => {
    const pid = Number(await readFile(join(directory, file), 'utf8').catch(() => ''));
    return pid > 0 ? pid : undefined;
  });
const isGone = (pid: number): Promise<boolean> =>
  until({ what: `${pid} to be gone`, timeoutMs: 10_000, everyMs: 5 }, () => !isAlive(pid));
const SLEEPER = () => `echo $$ > ${directory}/pid; sleep 600 & echo $! > ${directory}/child; wait`;

test('is given its arguments as they are, and whom to promote, to what, at which epoch', async () => {
  const out = join(directory, 'out');
  const { outcome, promoting } = await run(
    `printf '%s\\n' "$@" > ${out}; env | grep ^PG_SENTINEL_ | sort >> ${out}; until [ -s ${runFile()} ]; do sleep 0.01; done`,
    { args: ['two words', '$HOME;', '*'] },
  );
  expect(outcome).toBe('done');
  await promoting.leave();
  expect((await readFile(out, 'utf8')).trim().split('\n')).toEqual([
    'two words',
    '$HOME;',
    '*',
    'PG_SENTINEL_BIN_DIRECTORY=/bin',
    'PG_SENTINEL_CLUSTER_ID=shop',
    'PG_SENTINEL_DATA_DIRECTORY=/data',
    'PG_SENTINEL_EPOCH=41',
    'PG_SENTINEL_GROUP=main',
    'PG_SENTINEL_HOST=10.0.0.1',
    'PG_SENTINEL_INCARNATION=2',
    'PG_SENTINEL_NODE=pg1',
    'PG_SENTINEL_PORT=5433',
    'PG_SENTINEL_SOCKET_DIRECTORY=/socket',
    'PG_SENTINEL_TIMELINE=7',
  ]);
  expect(existsSync(runFile())).toBe(false);
});

test('has failed where it says so; the last lines of what it said are in the log', async () => {
  const { outcome, logged } = await run(
    'for i in $(seq 1 30); do echo line $i; done; echo no route to pg1 >&2; exit 3',
  );
  expect(outcome).toBe('the promote command failed (exit code 3: no route to pg1)');
  const failed = logged.find(({ level }) => level === 'error')?.fields;
  expect(String(failed?.['output']).split('\n')).toHaveLength(20);
  expect(failed).toMatchObject({
    output: expect.stringMatching(/^line 12\n[^]*no route to pg1$/) as unknown,
  });
});

test('has failed where it cannot be started', async () => {
  expect((await run('exit 0', { args: ['no\0argument'] })).outcome).toMatch(/the promote command failed/);
});

test('is ended with all it has started when its time is over', async () => {
  const { outcome } = await run(SLEEPER(), { timeoutMs: 1500 });
  expect(outcome).toBe('the promote command failed (not finished within 1500 ms)');
  await isGone(await pidIn('pid'));
  await isGone(await pidIn('child'));
  expect(existsSync(runFile())).toBe(false);
});

test('is ended with all it has started when the duty is over', async () => {
  const abort = new AbortController();
  const running = run(SLEEPER(), { signal: abort.signal, timeoutMs: 3_600_000 });
  await pidIn('child');
  abort.abort(new Error('the duty has changed'));
  const { outcome, logged } = await running;
  expect(outcome).toBe('the duty has changed');
  expect(logged.at(-1)).toMatchObject({ level: 'warn', message: 'the promote command was broken off' });
  await isGone(await pidIn('child'));
});

test.each(['/nowhere/run', HUNG])(
  'is run also where nothing can be written down of it: %s',
  async (promoteRunFile) => {
    const { outcome, logged, promoting } = await run('exit 0', { promoteRunFile });
    expect(outcome).toBe('done');
    await promoting.leave();
    expect(logged).toContainEqual(expect.objectContaining({ level: 'warn' }));
  },
);

describe('what one that ended well has left running', () => {
  const LEAVES = () => `sleep 600 > /dev/null 2>&1 & echo $! > ${directory}/child`;

  test('is ended where the server was not promoted', async () => {
    const { outcome, logged, promoting } = await run(LEAVES());
    const child = await pidIn('child');
    expect([outcome, isAlive(child), existsSync(runFile())]).toEqual(['done', true, true]);
    await promoting.end();
    expect([isAlive(child), existsSync(runFile())]).toEqual([false, false]);
    expect(logged.at(-1)).toMatchObject({
      level: 'warn',
      message: expect.stringMatching(/is ended$/) as unknown,
    });
  });

  test('lives on where it was, and is told of', async () => {
    const { logged, promoting } = await run(LEAVES());
    const child = await pidIn('child');
    await promoting.leave();
    await promoting.end();
    expect([isAlive(child), existsSync(runFile())]).toEqual([true, false]);
    process.kill(child, 'SIGKILL');
    expect(logged.at(-1)).toMatchObject({
      level: 'warn',
      message: 'the promote command has left processes running',
      fields: { processes: [child], epoch: 41 },
    });
  });

  test('is nothing to speak of where it is nothing', async () => {
    const { logged, promoting } = await run('exit 0');
    await promoting.leave();
    expect(logged.map(({ level }) => level)).toEqual(['info', 'info']);
    expect(existsSync(runFile())).toBe(false);
  });
});

describe('one that a sentineld which was killed has left', () => {
  const left: number[] = [];
  afterEach(() => {
    for (const pid of left.splice(0)) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  const INSTANCE = () => ({ promoteRunFile: runFile(), dataDirectory: '/data' });
  const MARK = { PG_SENTINEL_DATA_DIRECTORY: '/data' };
  async function leave(options: { change?: object; script?: string; environment?: NodeJS.ProcessEnv } = {}) {
    const child = spawn('/bin/sh', ['-c', options.script ?? SLEEPER()], {
      ...{ detached: true, stdio: ['pipe', 'ignore', 'ignore'] },
      env: { ...process.env, ...(options.environment ?? MARK) },
    });
    const pid = child.pid ?? expect.fail('it did not start');
    const { startTicks } = processState(pid) ?? expect.fail('it has ended');
    const run = { pid, startTicks, bootId: readMoment().bootId, ...options.change };
    await writeFile(runFile(), JSON.stringify(run), { mode: 0o600 });
    left.push(pid, await pidIn('child'));
    return { pid, stdin: child.stdin as Writable };
  }
  const nobody = (): never => expect.unreachable('it was ended');

  test('is ended with all it has started', async () => {
    const { pid } = await leave();
    const notes: string[] = [];
    await endLeftPromoteCommand(INSTANCE(), (note) => notes.push(note));
    expect([isAlive(pid), isAlive(await pidIn('child'))]).toEqual([false, false]);
    expect(notes).toEqual([`a promote command that was left running (process ${pid}) is ended`]);
    expect(existsSync(runFile())).toBe(false);
  });

  // What it says next to a sentineld that is dead ends the first process, and not what waits for an answer over ssh.
  const BEREFT = () => `sleep 600 > /dev/null & echo $! > ${directory}/child; read end`;
  /** A parent that never waits, and its only child: the first of a group. */
  const UNFETCHED = () => `sleep 600 & echo $! > ${directory}/child; echo $$ > ${directory}/pid`;

  test('is ended where its first process is gone', async () => {
    const { pid, stdin } = await leave({ script: BEREFT() });
    stdin.end('\n');
    await until({ what: 'its end', timeoutMs: 10_000, everyMs: 5 }, () => processState(pid) === undefined);
    const child = await pidIn('child');
    expect(isAlive(child)).toBe(true);
    await endLeftPromoteCommand(INSTANCE(), () => undefined);
    expect([isAlive(child), existsSync(runFile())]).toEqual([false, false]);
  });

  test('is ended where its first process is dead and nobody has fetched it', async () => {
    const child = spawn('/bin/sh', ['-c', `setsid sh -c '${UNFETCHED()}' & exec sleep 600`], {
      ...{ stdio: 'ignore', env: { ...process.env, PG_SENTINEL_DATA_DIRECTORY: '/other' } },
    });
    left.push(child.pid ?? 0, await pidIn('child'));
    const pid = await pidIn('pid');
    await until({ what: 'its end', timeoutMs: 10_000, everyMs: 5 }, () => processState(pid)?.state === 'Z');
    const run = { pid, startTicks: processState(pid)?.startTicks, bootId: readMoment().bootId };
    await writeFile(runFile(), JSON.stringify(run), { mode: 0o600 });
    await endLeftPromoteCommand(INSTANCE(), () => undefined);
    expect([isAlive(await pidIn('child')), existsSync(runFile())]).toEqual([false, false]);
  });

  test('is not a group that now goes by the number of one that is gone', async () => {
    const { pid, stdin } = await leave({
      script: BEREFT(),
      environment: { PG_SENTINEL_DATA_DIRECTORY: '/other' },
    });
    stdin.end('\n');
    await until({ what: 'its end', timeoutMs: 10_000, everyMs: 5 }, () => processState(pid) === undefined);
    await endLeftPromoteCommand(INSTANCE(), nobody);
    expect([isAlive(await pidIn('child')), existsSync(runFile())]).toEqual([true, false]);
  });

  test.each([
    ['began at another time', { startTicks: 1 }],
    ['is of another boot', { bootId: 'another' }],
  ])('is not what now has its number and %s', async (_, change) => {
    const { pid } = await leave({ change });
    await endLeftPromoteCommand(INSTANCE(), nobody);
    expect(isAlive(pid)).toBe(true);
    expect(existsSync(runFile())).toBe(false);
  });

  test.each(['', '{"pid":', '{"pid":0}', '{"pid":-1}', 'null'])(
    'is nobody where the file says %j',
    async (text) => {
      await writeFile(runFile(), text);
      await endLeftPromoteCommand(INSTANCE(), nobody);
    },
  );

  test.for<[string, number | undefined]>([
    ['is a link', undefined],
    ['belongs to somebody else', 12_345],
  ])('is not believed in where the file %s', async ([, owner], { skip }) => {
    skip(owner !== undefined && process.getuid?.() !== 0, 'only root can give a file away');
    const { pid } = await leave();
    if (owner === undefined) {
      await rename(runFile(), join(directory, 'elsewhere'));
      await symlink(join(directory, 'elsewhere'), runFile());
    } else await chown(runFile(), owner, owner);
    const notes: string[] = [];
    await endLeftPromoteCommand(INSTANCE(), (note) => notes.push(note));
    expect(isAlive(pid)).toBe(true);
    expect(notes).toEqual([
      expect.stringMatching(/^no promote command is looked for .*(link|belongs to user)/),
    ]);
    await endLeftPromoteCommand(INSTANCE(), nobody);
  });

  test('is not waited for where the file is on a disk that hangs', async () => {
    const notes: string[] = [];
    await endLeftPromoteCommand({ ...INSTANCE(), promoteRunFile: HUNG }, (note) => notes.push(note));
    expect(notes).toEqual([expect.stringMatching(/reading .*: no result within/)]);
  });
});
