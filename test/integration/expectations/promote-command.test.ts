// The promote command, as an owner would write one: a script that notes what it was told and calls pg_ctl. Failovers go through it; one that
// fails or hangs costs a failover its candidate and nobody a write, and what comes of it too late is undone.
import { readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { isAlive } from '../../../src/postgres/processes.ts';
import type { GroupView } from '../../../src/transport/types.ts';
import {
  harmOf,
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  startLoadedCluster,
  type LoadedCluster,
} from '../raft/load.ts';

/**
 * `broken`, `hanging` and `waiting` are there for the first that comes. What hangs has started something outside of its process group, as
 * ssh has on another host.
 */
const SCRIPT = (own: string): string => `#!/bin/sh
promote() { "$PG_SENTINEL_BIN_DIRECTORY/pg_ctl" promote -D "$PG_SENTINEL_DATA_DIRECTORY"; }
if [ "$1" = late ]; then
  echo $$ > ${own}/outside
  until [ -e ${own}/go-on ]; do sleep 0.05; done
  promote
  echo $? > ${own}/late
  exit
fi
env | grep ^PG_SENTINEL_ | sort > ${own}/environment
echo "$PG_SENTINEL_NODE $PG_SENTINEL_EPOCH $PG_SENTINEL_TIMELINE $1" >> ${own}/runs
if rmdir ${own}/broken 2>/dev/null; then echo "the load balancer refuses $PG_SENTINEL_NODE" >&2; exit 3; fi
if rmdir ${own}/hanging 2>/dev/null; then
  setsid "$0" late < /dev/null > /dev/null 2>&1 &
  echo $$ > ${own}/pid
  sleep 3600
fi
if rmdir ${own}/waiting 2>/dev/null; then
  echo $$ > ${own}/pid
  sleep 3600
fi
promote && echo "$PG_SENTINEL_NODE was promoted"
`;

let own: string;
let loaded: LoadedCluster;
beforeAll(async () => {
  own = await mkdtemp(join(tmpdir(), 'promote-script-'));
  await chmod(own, 0o777);
  const script = join(own, 'promote');
  await writeFile(script, SCRIPT(own));
  await chmod(script, 0o755);
  loaded = await startLoadedCluster({
    cluster: 'shop',
    node: () => ({ promote_command: [script, 'two words'], promote_timeout: '10s' }),
  });
}, LIMIT_MS);
afterAll(async () => {
  for (const pid of [await numberIn('pid'), await numberIn('outside')])
    if (pid > 0 && isAlive(pid)) process.kill(pid, 'SIGKILL');
  await loaded?.close();
  await rm(own, { recursive: true });
});

const numberIn = async (file: string): Promise<number> =>
  Number(await readFile(join(own, file), 'utf8').catch(() => ''));
const numberOnce = (file: string): Promise<number> =>
  until({ what: file, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 20 }, async () => {
    const number = await numberIn(file);
    return number > 0 ? number : undefined;
  });

interface Run {
  readonly node: string;
  readonly epoch: number;
  readonly timeline: number;
  readonly argument: string;
}
async function runs(): Promise<Run[]> {
  const text = await readFile(join(own, 'runs'), 'utf8').catch(() => '');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [node = '', epoch, timeline, ...argument] = line.split(' ');
      return { node, epoch: Number(epoch), timeline: Number(timeline), argument: argument.join(' ') };
    });
}

/** Of a group that is well: who takes the writes, since when, and where. */
function standOf({ primary, epoch, nodes }: GroupView) {
  const timeline = nodes.find(({ node }) => node === primary)?.timeline;
  return { node: primary, epoch, timeline, argument: 'two words' };
}

/** Kills PostgreSQL of the primary under load, and returns how the script was run until all is well again. */
async function afterCrash(during: (epoch: number) => Promise<void> = () => Promise.resolve()) {
  await rm(join(own, 'runs'), { force: true });
  const { epoch, primary } = await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  let after: ReturnType<typeof standOf> | undefined;
  const verdict = await loaded.writeWhile(async () => {
    loaded.cluster.hostOf(primary ?? '').killPostmaster();
    await during(epoch);
    await loaded.cluster.waitFor('the failover', HEALTHY_TIMEOUT_MS, (now) => {
      return now.phase === 'running' && now.epoch > epoch;
    });
    after = standOf(await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS));
  });
  expect(harmOf(verdict)).toEqual([]);
  if (after === undefined) throw new Error('the failover was not seen');
  return { runs: await runs(), before: epoch, after };
}
async function eventsAfter(index: number): Promise<string[]> {
  const [host] = loaded.cluster.hosts;
  if (host === undefined) throw new Error('there is no host');
  const client = await loaded.adminOf(host);
  try {
    const events = await client.events({ group: undefined, limit: 1000 });
    return events.filter((event) => event.index > index).map(({ kind, text }) => `${kind}: ${text}`);
  } finally {
    client.close();
  }
}
const logOf = (node: string): string => readFileSync(loaded.cluster.hostOf(node).logFile, 'utf8');

test('a failover and a switchover go through it', { timeout: LIMIT_MS }, async () => {
  const crashed = await afterCrash();
  const { node: primary = '', epoch, timeline } = crashed.after;
  expect(crashed.runs).toEqual([crashed.after]);
  const host = loaded.cluster.hostOf(primary);
  expect((await readFile(join(own, 'environment'), 'utf8')).trim().split('\n')).toEqual([
    `PG_SENTINEL_BIN_DIRECTORY=${loaded.cluster.postgres.directory}`,
    'PG_SENTINEL_CLUSTER_ID=shop',
    `PG_SENTINEL_DATA_DIRECTORY=${host.dataDirectory}`,
    `PG_SENTINEL_EPOCH=${epoch}`,
    'PG_SENTINEL_GROUP=main',
    `PG_SENTINEL_HOST=${host.target.host}`,
    'PG_SENTINEL_INCARNATION=1',
    `PG_SENTINEL_NODE=${primary}`,
    `PG_SENTINEL_PORT=${host.target.port}`,
    `PG_SENTINEL_SOCKET_DIRECTORY=${host.socketDirectory}`,
    `PG_SENTINEL_TIMELINE=${timeline}`,
  ]);
  expect(logOf(primary)).toMatch(/"output":"[^"]*was promoted".*the promote command has ended well/);

  const { exitCode, stderr } = await loaded.ctl(['failover', '-y']);
  expect([exitCode, stderr]).toEqual([0, expect.any(String)]);
  const switched = standOf(await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS));
  expect(switched.node).not.toBe(primary);
  expect((await runs()).slice(1)).toEqual([switched]);
});

test('where it fails another node is promoted, and it is said why', { timeout: LIMIT_MS }, async () => {
  await mkdir(join(own, 'broken'));
  const {
    runs: [first, second, ...more],
    before,
    after,
  } = await afterCrash();
  expect(more).toEqual([]);
  expect(first?.node).not.toBe(after.node);
  expect(second).toEqual(after);
  expect(second?.epoch).toBeGreaterThan(first?.epoch ?? Infinity);
  expect(second?.timeline).toBeGreaterThan(first?.timeline ?? Infinity);
  const failed = (await eventsAfter(before)).filter((text) => text.startsWith('promotion-failed:'));
  expect(failed).toEqual([
    expect.stringContaining(
      `the promote command failed (exit code 3: the load balancer refuses ${first?.node})`,
    ),
  ]);
});

test(
  'one that hangs is ended; what it has begun outside promotes nobody any more',
  { timeout: LIMIT_MS },
  async () => {
    await mkdir(join(own, 'hanging'));
    const { runs: ran, before, after } = await afterCrash();
    expect(isAlive(await numberIn('pid'))).toBe(false);
    const [first] = ran;
    expect(first?.node).not.toBe(after.node);
    expect(ran.slice(1)).toEqual([after]);
    expect((await eventsAfter(before)).join('\n')).toMatch(
      /promotion-failed: .*the promote command failed \(not finished within 10000 ms/,
    );
    const late = loaded.cluster.hostOf(first?.node ?? '');
    const pid = late.postmasterPid();
    const verdict = await loaded.writeWhile(async () => {
      await writeFile(join(own, 'go-on'), '');
      await until({ what: 'it to be over', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 50 }, async () => {
        return (await readFile(join(own, 'late'), 'utf8').catch(() => '')) !== '';
      });
      await until(
        { what: 'the end of what was promoted', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 50 },
        () => {
          return late.postmasterPid() !== pid;
        },
      );
      expect(standOf(await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS))).toEqual(after);
    });
    expect(harmOf(verdict)).toEqual([]);
    expect(await runs()).toEqual(ran);
  },
);

test('a sentineld that is killed in the middle of it begins it again', { timeout: LIMIT_MS }, async () => {
  await rm(join(own, 'pid'));
  await mkdir(join(own, 'waiting'));
  const { runs: ran, after } = await afterCrash(async () => {
    const pid = await numberOnce('pid');
    const host = loaded.cluster.hostOf((await runs())[0]?.node ?? '');
    await host.stopSentineld('SIGKILL');
    expect(isAlive(pid)).toBe(true);
    host.startSentineld();
    await until({ what: 'its end', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 20 }, () => !isAlive(pid));
  });
  expect(ran).toEqual([after, after]);
  expect(logOf(after.node ?? '')).toMatch(/a promote command that was left running \(process \d+\) is ended/);
});
