// The fence command, as an owner would write one: a script that takes the power from a host (here it kills every process of it). The hosts
// it is for are frozen, agent, guard, PostgreSQL and all: nothing of them can say that it is stopped.
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Host } from '../../../harness/host.ts';
import { processesBelow } from '../../../harness/processes.ts';
import { until } from '../../../src/base/clock.ts';
import type { EventView, GroupView } from '../../../src/transport/types.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  harmOf,
  startLoadedCluster,
  type LoadedCluster,
} from '../raft/load.ts';

/** Notes what it was told; fails as long as there is a file `broken`; then ends every process of the peer's host. */
const SCRIPT = (own: string): string => `#!/bin/sh
echo "$PG_SENTINEL_CLUSTER_ID $PG_SENTINEL_GROUP $PG_SENTINEL_NODE $PG_SENTINEL_EPOCH" >> ${own}/runs
if [ -e ${own}/broken ]; then echo "the power switch does not answer" >&2; exit 7; fi
alive=1
while [ "$alive" = 1 ]; do
  alive=0
  for process in /proc/[0-9]*; do
    case "$(readlink "$process/cwd" 2>/dev/null)/" in
      "$1/$PG_SENTINEL_PEER/"*)
        case "$(cut -d ')' -f 2- "$process/stat" 2>/dev/null)" in ' Z'*) continue ;; esac
        alive=1
        kill -9 "\${process#/proc/}" 2>/dev/null ;;
    esac
  done
done
echo "$PG_SENTINEL_HOST is off"
`;

let own: string;
let loaded: LoadedCluster;
beforeAll(async () => {
  own = await mkdtemp(join(tmpdir(), 'fence-script-'));
  const script = join(own, 'power-off');
  await writeFile(script, SCRIPT(own));
  await chmod(script, 0o755);
  loaded = await startLoadedCluster({
    cluster: 'fence',
    settings: (directory) => ({ fence: { command: [script, directory], timeout: '20s' } }),
  });
}, LIMIT_MS);
afterAll(async () => {
  await loaded?.close();
  await rm(own, { recursive: true });
});

const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
const runs = async (): Promise<string[]> => {
  const text = await readFile(join(own, 'runs'), 'utf8').catch(() => '');
  return text.split('\n').filter((line) => line !== '');
};
const ok = (stdout: RegExp) => ({ exitCode: 0, stdout: expect.stringMatching(stdout) as unknown });

/** Asks the others: the host's sentineld is about to be killed from outside, which is no failure of the test. */
async function waitFor(hosts: readonly Host[], what: string, condition: (group: GroupView) => boolean) {
  const clients = await Promise.all(hosts.map((host) => loaded.adminOf(host)));
  try {
    return await until({ what, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 50 }, async () => {
      for (const client of clients) {
        const status = await client.status().catch(() => undefined);
        const group = status?.groups[0];
        if (group !== undefined && condition(group)) return group;
      }
      return undefined;
    });
  } finally {
    for (const client of clients) client.close();
  }
}
async function eventsSince(host: Host, index: number): Promise<EventView[]> {
  const client = await loaded.adminOf(host);
  try {
    return (await client.events({ group: undefined, limit: 1000 })).filter(
      (event) => event.index > index && (event.refused ?? '') === '',
    );
  } finally {
    client.close();
  }
}

function othersOf(host: Host): readonly [Host, Host] {
  const [one, two] = loaded.cluster.hosts.filter((each) => each !== host);
  if (one === undefined || two === undefined) throw new Error('three hosts are needed');
  return [one, two];
}

async function scene(): Promise<{ primary: Host; standbys: readonly [Host, Host]; epoch: number }> {
  const { primary, epoch } = await healthy();
  const host = loaded.cluster.hostOf(primary ?? '');
  return { primary: host, standbys: othersOf(host), epoch };
}

async function bringBack(host: Host): Promise<void> {
  expect(processesBelow(host.directory)).toEqual([]);
  await host.stopSentineld();
  host.startSentineld();
  await healthy();
}

test(
  'is not run where the sync rule proves enough, nor where the agent answers',
  { timeout: LIMIT_MS },
  async () => {
    const first = await scene();
    const crashed = await loaded.writeWhile(async () => {
      first.primary.killPostmaster();
      await loaded.cluster.waitFor('a failover', HEALTHY_TIMEOUT_MS, (group) => {
        return group.phase === 'running' && group.primary !== first.primary.node;
      });
      await healthy();
    });
    expect(harmOf(crashed)).toEqual([]);
    const second = await scene();
    const frozen = await loaded.writeWhile(async () => {
      await second.primary.freeze();
      await waitFor(second.standbys, 'another', ({ phase, primary }) => {
        return phase === 'running' && primary !== second.primary.node;
      });
      second.primary.thaw();
      await healthy();
    });
    expect(harmOf(frozen)).toEqual([]);
    expect(await runs()).toEqual([]);
  },
);

test('async: takes the place of the wait for the lease', { timeout: LIMIT_MS }, async () => {
  expect(await loaded.ctl(['settings', 'set', 'durability=async', 'lease=60s'])).toMatchObject(ok(/async/));
  await loaded.cluster.waitFor('the lease', HEALTHY_TIMEOUT_MS, ({ rule, ruleChange }) => {
    return rule.startsWith('none') && ruleChange === undefined;
  });
  const { primary, standbys, epoch } = await streaming();
  await primary.freeze();
  const group = await waitFor(
    standbys,
    'the failover',
    (now) => now.phase === 'running' && now.epoch > epoch,
  );
  expect(group.primary).not.toBe(primary.node);
  expect(await runs()).toEqual([`fence main ${primary.node} ${group.epoch}`]);
  const kinds = (await eventsSince(standbys[0], group.epoch)).map(({ kind, text }) => `${kind}: ${text}`);
  const off = kinds.indexOf(`node-off: ${primary.node} is off, by the word of the fence command`);
  expect(off).toBeGreaterThan(-1);
  expect(kinds.findIndex((text) => text.startsWith('promote:'))).toBeGreaterThan(off);
  const logs = await Promise.all(standbys.map(({ logFile }) => readFile(logFile, 'utf8')));
  expect(logs.join()).toMatch(/"output":"127.0.0.1 is off/);
  await primary.stopSentineld();
  primary.startSentineld();
  expect(await loaded.ctl(['settings', 'set', 'durability=quorum'], standbys)).toMatchObject(ok(/quorum/));
  await healthy();
});

/** Without waiting for a sync rule, which there is none of under a lease. */
async function streaming() {
  const { primary, epoch } = await loaded.cluster.waitFor('all to stream', HEALTHY_TIMEOUT_MS, ({ nodes }) =>
    nodes.every(({ role, state }) => role === 'primary' || state === 'streaming'),
  );
  const host = loaded.cluster.hostOf(primary ?? '');
  return { primary: host, epoch, standbys: othersOf(host) };
}

test(
  'is the proof that a failover with possible loss asks for; its failure is said, and it is tried again',
  { timeout: LIMIT_MS },
  async () => {
    const before = (await runs()).length;
    const { primary, standbys, epoch } = await scene();
    for (const { node } of standbys) await loaded.ctl(['fence', node, '-y']);
    await loaded.cluster.waitFor('it to run alone', HEALTHY_TIMEOUT_MS, ({ rule, ruleChange }) => {
      return rule === 'alone' && ruleChange === undefined;
    });
    await primary.freeze();
    await writeFile(join(own, 'broken'), '');
    for (const { node } of standbys)
      await until(
        { what: `${node} to be unfenced`, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 200 },
        async () => {
          const { exitCode, stderr } = await loaded.ctl(['unfence', node], standbys);
          return exitCode === 0 || /not fenced/.test(stderr);
        },
      );
    await waitFor(standbys, 'the standbys to be up', ({ nodes }) =>
      standbys.every(({ node }) => nodes.some((found) => found.node === node && found.role === 'standby')),
    );
    expect(await runs(), 'before anybody has accepted a loss').toHaveLength(before);
    const args = ['failover', '--accept-data-loss', '-y'];
    const refused = await loaded.ctl(args, standbys);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toMatch(
      /the fence command failed \(exit code 7: the power switch does not answer\)/,
    );
    const [one] = standbys;
    const client = await loaded.adminOf(one);
    const { warnings } = await client.status();
    client.close();
    expect(warnings.join('\n')).toMatch(
      /the fence command could not switch pg\d off \(exit code 7: .*tried again/,
    );
    expect(warnings.join('\n')).toMatch(/nobody is promoted before pg\d is known to be stopped/);
    await rm(join(own, 'broken'));
    const group = await waitFor(
      standbys,
      'the failover',
      (now) => now.phase === 'running' && now.epoch > epoch,
    );
    expect(group.primary).not.toBe(primary.node);
    const kinds = (await eventsSince(one, group.epoch)).map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === 'fence-failed')).toHaveLength(1);
    expect(kinds).toContain('node-off');
    expect((await runs()).slice(before)).toEqual(
      expect.arrayContaining([`fence main ${primary.node} ${group.epoch}`]),
    );
    await bringBack(primary);
  },
);
