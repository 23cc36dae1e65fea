// The fence command is run as it stands in the configuration, ends in time with all it has started, and is taken at its word only
// where it ended well.
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { epoch, groupId, nodeId, peerId } from '../base/ids.ts';
import { isAlive } from '../postgres/processes.ts';
import { runFenceCommand } from './fence-command.ts';

let directory: string;
beforeEach(async () => void (directory = await mkdtemp(join(tmpdir(), 'fence-command-'))));
afterEach(() => rm(directory, { recursive: true }));

const TARGET = {
  ...{ incarnation: 2, epoch: epoch(41), group: groupId('main'), node: nodeId('pg1'), peer: peerId('a') },
  ...{ host: '10.0.0.1', port: 5432 },
};

async function run(
  script: string,
  options: { timeoutMs?: number; args?: string[]; signal?: AbortSignal } = {},
) {
  const program = join(directory, 'fence');
  await writeFile(program, `#!/bin/sh\n${script}\n`);
  await chmod(program, 0o755);
  return runFenceCommand({
    fence: { command: [program, ...(options.args ?? [])], timeoutMs: options.timeoutMs ?? 60_000 },
    cluster: 'shop',
    target: TARGET,
    signal: options.signal ?? new AbortController().signal,
  });
}
const pidIn = (file: string): Promise<number> =>
  until({ what: file, timeoutMs: 10_000, everyMs: 5 }, async () => {
    const pid = Number(await readFile(join(directory, file), 'utf8').catch(() => ''));
    return pid > 0 ? pid : undefined;
  });
const isGone = (pid: number): Promise<boolean> =>
  until({ what: `${pid} to be gone`, timeoutMs: 10_000, everyMs: 5 }, () => !isAlive(pid));

test('is given its arguments as they are, and whom to switch off at which epoch', async () => {
  const out = join(directory, 'out');
  const result = await run(
    `printf '%s\\n' "$@" > ${out}; env | grep ^PG_SENTINEL_ | sort >> ${out}; echo gone`,
    {
      args: ['two words', '$HOME;', '*'],
    },
  );
  expect(result).toEqual({ kind: 'done', output: 'gone\n' });
  expect((await readFile(out, 'utf8')).trim().split('\n')).toEqual([
    'two words',
    '$HOME;',
    '*',
    'PG_SENTINEL_CLUSTER_ID=shop',
    'PG_SENTINEL_EPOCH=41',
    'PG_SENTINEL_GROUP=main',
    'PG_SENTINEL_HOST=10.0.0.1',
    'PG_SENTINEL_INCARNATION=2',
    'PG_SENTINEL_NODE=pg1',
    'PG_SENTINEL_PEER=a',
    'PG_SENTINEL_PORT=5432',
  ]);
});

test('has failed where it says so, with its last line', async () => {
  expect(await run('echo trying; echo no route to the power switch >&2; exit 3')).toEqual({
    kind: 'failed',
    reason: 'exit code 3: no route to the power switch',
    output: 'trying\nno route to the power switch\n',
  });
});

test('has failed where it cannot be started', async () => {
  const fence = { command: [join(directory, 'none')], timeoutMs: 1000 };
  const { signal } = new AbortController();
  expect(await runFenceCommand({ fence, cluster: 'shop', target: TARGET, signal })).toMatchObject({
    kind: 'failed',
    reason: expect.stringMatching(/cannot start .*none.*ENOENT/) as unknown,
  });
});

const SLEEPER = () => `echo $$ > ${directory}/pid; sleep 600 & echo $! > ${directory}/child; wait`;

test('is ended with all it has started when its time is over', async () => {
  const result = await run(SLEEPER(), { timeoutMs: 1500 });
  expect(result).toMatchObject({ kind: 'failed', reason: 'not finished within 1500 ms' });
  await isGone(await pidIn('pid'));
  await isGone(await pidIn('child'));
});

test('is ended with all it has started when it is called off', async () => {
  const abort = new AbortController();
  const result = run(SLEEPER(), { signal: abort.signal });
  await pidIn('child');
  abort.abort();
  expect(await result).toMatchObject({ kind: 'failed', reason: 'SIGKILL' });
  await isGone(await pidIn('child'));
});
