// The chaos cluster as a whole: three hosts, toxiproxy between them, a fourth host in reserve. Says how it is; makes it anew.
import { until } from '../../../src/base/clock.ts';
import { clusterAdmin, type ClusterAdmin } from '../../../harness/admin.ts';
import type { ClientSettings, Target } from '../../../harness/session.ts';
import type { GroupView, StatusView } from '../../../src/transport/types.ts';
import { COMPOSE_PROJECT, compose, docker } from './docker.ts';
import { createChaosHost, type ChaosHost } from './host.ts';
import { createLinks, type HostNumber, type Links } from './links.ts';

export interface ChaosCluster {
  readonly links: Links;
  /** The hosts that take part at present. */
  readonly hosts: readonly ChaosHost[];
  /** In the place of a host that is gone for good, or that host again. */
  setHosts(numbers: readonly HostNumber[]): void;
  host(number: HostNumber): ChaosHost;
  readonly admin: ClusterAdmin;
  readonly client: Omit<ClientSettings, 'applicationName'>;
  /** By way of toxiproxy, as clients elsewhere reach the nodes. */
  elsewhereTargets(): Target[];
  /** Resolves when there is one primary, every other node streams and counts in the rule, and every peer is in contact. */
  converged(timeoutMs: number): Promise<GroupView>;
  /** The host of the present primary, as some peer with a leader has it. */
  primary(): Promise<ChaosHost>;
  /** All but that one. */
  others(host: ChaosHost): [ChaosHost, ChaosHost];
  /** Takes back every fault. */
  restore(): Promise<void>;
}

const CLIENT = { user: 'app', password: 'app', database: 'postgres', connectTimeoutMs: 2000 } as const;
const START_TIMEOUT_MS = 120_000;
/** The most that the setting takes. */
const FAILOVERS_MAX = 1000;
const ALL: readonly HostNumber[] = [1, 2, 3, 4];

/** Removes what is left of an earlier cluster, its data too, and starts a new one with the tables of the workload. */
export async function createCluster(): Promise<ChaosCluster> {
  await removeCluster();
  await compose(['up', '--detach', '--no-build', 'toxiproxy', 'disks']);
  await openDisks();
  const cluster = await describeCluster([1, 2, 3]);
  // In one call: docker-compose 1 fails where containers of its project come into being beside it.
  await compose(['up', '--detach', '--no-deps', '--no-build', ...cluster.hosts.map(({ node }) => node)]);
  await Promise.all(cluster.hosts.map((host) => host.start()));
  cluster.setHosts([1, 2, 3]);
  await cluster.converged(START_TIMEOUT_MS);
  await liftFailoverLimit(cluster.admin);
  const primary = await cluster.primary();
  await primary.sql(`CREATE ROLE ${CLIENT.user} LOGIN PASSWORD '${CLIENT.password}'`);
  // Stubborn writers are refused many times a second: that is no news for the server's log.
  await primary.sql(`ALTER ROLE ${CLIENT.user} SET log_min_messages = 'panic'`);
  await primary.sql(`ALTER ROLE ${CLIENT.user} SET log_min_error_statement = 'panic'`);
  await primary.sql('CREATE TABLE public.writes (id text NOT NULL)');
  await primary.sql('CREATE TABLE public.register (key text PRIMARY KEY, value text NOT NULL)');
  for (const table of ['writes', 'register'])
    await primary.sql(`ALTER TABLE public.${table} OWNER TO ${CLIENT.user}`);
  return cluster;
}

export async function removeCluster(): Promise<void> {
  const paused = await docker([
    'ps',
    '--quiet',
    '--filter',
    'status=paused',
    '--filter',
    `name=${COMPOSE_PROJECT}`,
  ]);
  for (const id of paused.split('\n').filter((line) => line !== '')) await docker(['unpause', id]);
  await compose(['down', '--volumes', '--timeout', '2']);
}

/** Many scenarios fail over within an hour: the limit against flapping would hold the group, which is not what they are about. */
async function liftFailoverLimit(admin: ClusterAdmin): Promise<void> {
  const change = { maxFailovers: FAILOVERS_MAX };
  const outcome = await admin.steer({ kind: 'settings', group: undefined, change }, 10_000);
  if (outcome.kind === 'refused') throw new Error(`the failover limit was not lifted: ${outcome.reason}`);
}

/** A new disk belongs to root: PostgreSQL's user may write to it from now on. */
async function openDisks(): Promise<void> {
  const disks = await compose(['ps', '--quiet', 'disks']);
  await docker([
    'exec',
    '--user',
    'root',
    disks,
    'bash',
    '-c',
    'chown postgres: /disks/* && chmod 700 /disks/*',
  ]);
}

async function describeCluster(numbers: readonly HostNumber[]): Promise<ChaosCluster> {
  const all = ALL.map(createChaosHost);
  const toxiproxy = await compose(['ps', '--quiet', 'toxiproxy']);
  const format = `{{(index .NetworkSettings.Networks "${COMPOSE_PROJECT}_link1").IPAddress}}`;
  const proxyAddress = await docker(['inspect', '--format', format, toxiproxy]);
  const admin = clusterAdmin([]);
  let hosts = all.filter((host) => numbers.includes(host.number));
  const host = (number: HostNumber): ChaosHost => {
    const found = all.find((each) => each.number === number);
    if (found === undefined) throw new Error(`there is no host ${number}`);
    return found;
  };

  const cluster: ChaosCluster = {
    links: createLinks(`http://${proxyAddress}:8474`),
    get hosts() {
      return hosts;
    },
    setHosts(next) {
      hosts = all.filter(({ number }) => next.includes(number));
      admin.setAddresses(hosts.map((each) => each.adminAddress()));
    },
    host,
    admin,
    client: CLIENT,
    elsewhereTargets: () =>
      hosts.map(({ node, number }) => ({ node, host: proxyAddress, port: 6000 + number })),
    async converged(timeoutMs) {
      let obstacle = 'no peer answers';
      const what = `one primary and ${hosts.length - 1} streaming standbys`;
      try {
        return await until({ what, timeoutMs, everyMs: 200 }, async () => {
          const status = await admin.status().catch((error: unknown) => String(error));
          const group = typeof status === 'string' ? undefined : status.groups[0];
          obstacle = typeof status === 'string' ? status : (obstacleIn(status, hosts.length) ?? '');
          return obstacle === '' ? group : undefined;
        });
      } catch (error) {
        throw new Error(`${(error as Error).message}: ${obstacle}`, { cause: error });
      }
    },
    async primary() {
      const what = 'a peer that knows leader and primary';
      const name = await until({ what, timeoutMs: 30_000, everyMs: 100 }, async () => {
        const status = await admin.status().catch(() => undefined);
        if (status?.leader !== undefined) return status.groups[0]?.primary;
        // One that is cut off answers, too: ask another.
        admin.setAddresses(rotate(hosts).map((each) => each.adminAddress()));
        return undefined;
      });
      const found = all.find(({ node }) => node === name);
      if (found === undefined) throw new Error(`the primary ${name} is on no host of ours`);
      return found;
    },
    others(one) {
      const [first, second, ...more] = hosts.filter(({ number }) => number !== one.number);
      if (first === undefined || second === undefined || more.length > 0)
        throw new Error(`${hosts.length} hosts take part instead of three`);
      return [first, second];
    },
    async restore() {
      await cluster.links.heal();
      await Promise.all(hosts.map((each) => each.restore()));
      admin.setAddresses(hosts.map((each) => each.adminAddress()));
    },
  };
  return cluster;
}

let turn = 0;
function rotate<T>(list: readonly T[]): T[] {
  const by = ++turn % list.length;
  return [...list.slice(by), ...list.slice(0, by)];
}

/** Why the cluster is not as it should be at rest; undefined where it is. */
function obstacleIn(status: StatusView, nodes: number): string | undefined {
  if (status.leader === undefined) return `peer ${status.answeredBy} knows of no leader`;
  const away = status.peers.find(({ reachable }) => !reachable);
  if (away !== undefined) return `peer ${away.peer} cannot be reached from ${status.answeredBy}`;
  const [group] = status.groups;
  if (group === undefined) return 'there is no group yet';
  if (group.phase !== 'running') return `the group is ${group.phase}`;
  if (group.ruleChange !== undefined) return `a rule change is under way: ${group.ruleChange}`;
  if (group.nodes.length < nodes) return `${group.nodes.length} nodes are registered`;
  for (const node of group.nodes.filter(({ peer }) => status.peers.some((each) => each.peer === peer))) {
    const says = `${node.node} is ${node.state} as ${node.role}: ${node.message ?? 'no message'}`;
    if (node.node === group.primary ? node.state !== 'running' : node.state !== 'streaming') return says;
    if (node.node !== group.primary && node.sync === 'async') return `${says}; it is not in the rule`;
    if (node.heldDownBy.length > 0) return `${node.node} is held for down by ${node.heldDownBy.join(', ')}`;
  }
  return undefined;
}
