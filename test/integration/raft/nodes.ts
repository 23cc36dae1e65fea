// What tests of a loaded cluster (load.ts) do with its nodes: change what a host's file says, tell roles apart, wait for a group, add hosts.
import { readFile, writeFile } from 'node:fs/promises';
import { expect } from 'vitest';
import { parse, stringify } from 'yaml';
import type { Host } from '../../../harness/host.ts';
import type { GroupView } from '../../../src/transport/types.ts';
import { HEALTHY_TIMEOUT_MS, type LoadedCluster } from './load.ts';

export type Section = Readonly<Record<string, unknown>>;

/** Changes keys of the host's file, of its node or of the whole, and has its sentineld read it. PostgreSQL goes on. */
export async function say(host: Host, node: Section, whole: Section = {}): Promise<void> {
  const file = parse(await readFile(host.configFile, 'utf8')) as Section & { readonly node: Section };
  await writeFile(host.configFile, stringify({ ...file, ...whole, node: { ...file.node, ...node } }));
  await host.stopSentineld();
  host.startSentineld();
}

/** Changes the configuration of the host and starts its sentineld again, as a person would; PostgreSQL goes on. */
export async function reconfigure(
  host: Host,
  change: (file: Record<string, unknown>) => void,
): Promise<void> {
  const file = parse(await readFile(host.configFile, 'utf8')) as Record<string, unknown>;
  change(file);
  await writeFile(host.configFile, stringify(file));
  await host.stopSentineld('SIGTERM');
  host.startSentineld();
}

/** Until the group runs, no change of its rule is under way, and it is as wanted. */
export function waitForGroup(
  { cluster }: LoadedCluster,
  what: string,
  isWanted: (group: GroupView) => boolean,
): Promise<GroupView> {
  return cluster.waitFor(
    what,
    HEALTHY_TIMEOUT_MS,
    (group) => group.phase === 'running' && group.ruleChange === undefined && isWanted(group),
  );
}

/** Of three hosts: the primary's, and its standbys' in the order of their names. */
export async function rolesOf({ cluster }: LoadedCluster): Promise<readonly [Host, Host, Host]> {
  const primary = await cluster.primary();
  const [first, second] = cluster.hosts.filter((host) => host !== primary);
  if (first === undefined || second === undefined) throw new Error('there are no three hosts');
  return [primary, first, second];
}

/** Hosts whose sentineld is no voter join the cluster of three. */
export async function addLearners({ cluster, ctl }: LoadedCluster, count: number): Promise<void> {
  const voters = cluster.hosts.slice(0, 3);
  for (let added = 0; added < count; added += 1) {
    const host = await cluster.join();
    expect(await ctl(['peer', 'add', host.peer, host.address, '--learner'], voters)).toMatchObject({
      exitCode: 0,
      stdout: `done: ${host.peer} is a learner\n`,
    });
  }
}
