// Three (or N) hosts on one machine: a sentineld and a PostgreSQL each, on free loopback ports, in one temporary directory.
// Owns everything it starts: `close()` ends every process below the directory and removes it, and a reaper does so when this
// process ends without. Never touches a PostgreSQL that is not its own.
import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DeadlineError, until } from '../src/base/clock.ts';
import type { Binaries } from '../src/postgres/binaries.ts';
import { findOsUser, type OsUser } from '../src/postgres/os-user.ts';
import type { GroupView, StatusView } from '../src/transport/types.ts';
import { clusterAdmin, type ClusterAdmin } from './admin.ts';
import { configFile, dataDirectory, GROUP, renderConfig, type HostPlan } from './cluster-config.ts';
import { findTestPostgres } from './find-postgres.ts';
import { createHost, type Host } from './host.ts';
import { layCables } from './network.ts';
import { endEverythingBelow, makePlace, removePlace } from './place.ts';
import { freePorts } from '../src/transport/testing/free-ports.ts';
import { compiled } from './programs.ts';
import { startReaper } from './reaper.ts';

export interface LocalClusterOptions {
  readonly cluster: string;
  readonly hostCount: number;
  /** Hosts beyond those, for {@link LocalCluster.join}. */
  readonly spareCount?: number;
  /** So many of the first hosts, the last ones of them, are peers without a PostgreSQL. */
  readonly witnessCount?: number;
  /** The group of the node of a peer; left out: {@link GROUP} for all. */
  readonly groupOf?: (peer: string) => string;
  /** Further keys of the node of every host. */
  readonly node?: (host: HostPlan) => Readonly<Record<string, unknown>>;
  /** Each host on a network cable of its own, to be cut; only in {@link runInOwnNetwork}. */
  readonly hasCables?: boolean;
  /** After so many entries the Raft log is compacted; left out: sentineld's default. */
  readonly snapshotEntries?: number;
  /** Further keys of every sentineld's configuration; told the cluster's directory. */
  readonly settings?: (directory: string) => Readonly<Record<string, unknown>>;
  /** Further PostgreSQL parameters of every node; told the same. */
  readonly parameters?: (directory: string) => Readonly<Record<string, string | number | boolean>>;
  /** Run once the files are there, before any sentineld is started: servers that are there already. */
  readonly prepare?: (
    hosts: readonly HostPlan[],
    tools: { readonly binaries: Binaries; readonly user: OsUser },
  ) => Promise<void>;
  /** Another sentineld than the built one: only for the benchmark's controls. */
  readonly sentineldProgram?: string | undefined;
  /** Added to the environment of every sentineld. */
  readonly environment?: Readonly<Record<string, string>>;
  /** False only where the benchmark switched the sync rule off: standbys then never show as synchronous. */
  readonly isRuleEnforced?: boolean;
  readonly signal: AbortSignal;
}

export interface LocalCluster {
  readonly directory: string;
  /** Those that were started, in the order of their names. */
  readonly hosts: readonly Host[];
  /** Directory of PostgreSQL's programs, its major version, and the user it runs as. */
  readonly postgres: {
    readonly directory: string;
    readonly version: number;
    readonly user: string;
    readonly source: string;
  };
  readonly admin: ClusterAdmin;
  hostOf(node: string): Host;
  /** Starts the sentineld of the next spare host, which waits to be added. */
  join(): Promise<Host>;
  /** Writes the host's configuration again, as that of one that is added to the running cluster. */
  makeJoining(host: Host): Promise<void>;
  /** The primary's host as the log has it now. */
  primary(group?: string): Promise<Host>;
  /** Waits until `condition` accepts the group's status; says what the status was when it never does. */
  waitFor(
    what: string,
    timeoutMs: number,
    condition: (group: GroupView, status: StatusView) => boolean,
    group?: string,
  ): Promise<GroupView>;
  /**
   * Waits until one node is primary and all others stream and count in the sync rule, as every sentineld sees it that was started: one that
   * has just come back knows neither the group nor its own node yet, while what it said before still stands with the others. The
   * first time it also lifts the limit on failovers: whoever provokes them one after the other would meet it.
   */
  waitUntilHealthy(timeoutMs: number, group?: string): Promise<GroupView>;
  close(): Promise<void>;
}

const POLL_MS = 20;
const FAILOVERS_MAX = 1000;
const CLOSE_TIMEOUT_MS = 20_000;

/** Makes the directory and the files; starts every sentineld. Does not wait until they are ready. */
export async function startLocalCluster(options: LocalClusterOptions): Promise<LocalCluster> {
  const program = options.sentineldProgram ?? compiled('src/daemon/sentineld.js');
  const user = await findOsUser({ configured: undefined });
  const directory = await makePlace(user);
  const plans = await planHosts(directory, options);
  const first = plans.slice(0, options.hostCount);
  const dataDirectories = plans.map(dataDirectory);
  const reaper = startReaper(directory, dataDirectories);
  const clean = async (): Promise<void> => {
    try {
      await endEverythingBelow({ directory, dataDirectories, timeoutMs: CLOSE_TIMEOUT_MS });
      await keepLogs(directory, process.env['PG_SENTINEL_KEEP_LOGS']);
      await removePlace(directory);
    } finally {
      await reaper.dismiss();
    }
  };
  try {
    const privateDirectory = join(directory, 'postgresql');
    const binaries = await findTestPostgres({ user, privateDirectory });
    options.signal.throwIfAborted();
    const secrets = { replication: randomBytes(12).toString('hex'), probe: randomBytes(12).toString('hex') };
    const write = async (host: HostPlan, isJoining: boolean): Promise<void> => {
      await mkdir(host.directory, { mode: 0o755, recursive: true });
      const text = renderConfig({
        cluster: options.cluster,
        host,
        hosts: isJoining && !first.includes(host) ? [...first, host] : first,
        secrets,
        binDirectory: binaries.directory,
        isJoining,
        snapshotEntries: options.snapshotEntries,
        settings: options.settings?.(directory),
        node: options.node?.(host),
        parameters: options.parameters?.(directory),
      });
      await writeFile(configFile(host), text, { mode: 0o600 });
    };
    const hostOfPlan = (plan: HostPlan): Host =>
      createHost(plan, { program, environment: options.environment ?? {} });
    for (const plan of first) await write(plan, false);
    await options.prepare?.(first, { binaries, user });
    const hosts = first.map(hostOfPlan);
    for (const host of hosts) host.startSentineld();
    const admin = clusterAdmin(hosts.map(({ address }) => address));
    const postgres = {
      directory: binaries.directory,
      version: binaries.version,
      user: user.name,
      source: binaries.source,
    };
    const startSpare = async (): Promise<Host> => {
      const plan = plans[hosts.length];
      if (plan === undefined)
        throw new Error(`all ${plans.length} hosts are started; ask for more spareCount`);
      await write(plan, true);
      const host = hostOfPlan(plan);
      hosts.push(host);
      host.startSentineld();
      return host;
    };
    const makeJoining = async (host: Host): Promise<void> => {
      const plan = plans.find(({ peer }) => peer === host.peer);
      if (plan !== undefined) await write(plan, true);
    };
    return handle({ options, directory, hosts, postgres, admin, clean, join: startSpare, makeJoining });
  } catch (error) {
    await clean();
    throw error;
  }
}

/** For whoever looks into a failure: copies every log below `directory` to `target`, if that is given. */
async function keepLogs(directory: string, target: string | undefined): Promise<void> {
  if (target === undefined || target === '') return;
  for (const file of await readdir(directory, { recursive: true })) {
    if (!file.endsWith('.log') || file.includes('pgdata')) continue;
    await mkdir(target, { recursive: true });
    await copyFile(join(directory, file), join(target, file.replaceAll('/', '-')));
  }
}

async function planHosts(directory: string, options: LocalClusterOptions): Promise<HostPlan[]> {
  const { hostCount, witnessCount = 0, spareCount = 0 } = options;
  const count = hostCount + spareCount;
  const ports = await freePorts(2 * count);
  const cables = options.hasCables === true ? await layCables(directory, count) : [];
  return Array.from({ length: count }, (_, at) => {
    const peer = String.fromCharCode('a'.charCodeAt(0) + at);
    const [peerPort, nodePort] = [ports[2 * at], ports[2 * at + 1]];
    if (peerPort === undefined || nodePort === undefined) throw new Error(`no ports for peer ${peer}`);
    const isWitness = at < hostCount && at >= hostCount - witnessCount;
    const address = cables[at]?.address ?? '127.0.0.1';
    return {
      ...{ peer, node: `pg${at + 1}`, directory: join(directory, peer), isWitness },
      group: options.groupOf?.(peer) ?? GROUP,
      ...{ address, peerPort, nodePort, cable: cables[at] },
    };
  });
}

function handle(parts: {
  readonly options: LocalClusterOptions;
  readonly directory: string;
  readonly hosts: readonly Host[];
  readonly postgres: LocalCluster['postgres'];
  readonly admin: ClusterAdmin;
  readonly clean: () => Promise<void>;
  readonly join: LocalCluster['join'];
  readonly makeJoining: LocalCluster['makeJoining'];
}): LocalCluster {
  const { hosts, admin } = parts;
  const { signal } = parts.options;
  const hostOf = (node: string): Host => {
    const host = hosts.find((each) => each.node === node);
    if (host === undefined)
      throw new Error(`there is no node ${node} among ${hosts.map((each) => each.node).join(', ')}`);
    return host;
  };
  const waitFor = async (
    what: string,
    timeoutMs: number,
    condition: (group: GroupView, status: StatusView) => boolean,
    wanted: string = GROUP,
    asked = admin,
  ): Promise<GroupView> => {
    let last = 'no peer has answered';
    try {
      return await until({ what, timeoutMs, everyMs: POLL_MS, signal }, async () => {
        const failure = hosts.map((host) => host.sentineldFailure).find((text) => text !== undefined);
        if (failure !== undefined) throw new Error(failure);
        const status = await asked.status().catch((error: unknown) => void (last = (error as Error).message));
        const group = status?.groups.find((each) => each.group === wanted);
        if (status !== undefined)
          last = group === undefined ? 'the group is not created' : describeGroup(group);
        return status !== undefined && group !== undefined && condition(group, status) ? group : undefined;
      });
    } catch (error) {
      if (error instanceof DeadlineError) throw new DeadlineError(`${error.message}; last seen: ${last}`);
      throw error;
    }
  };
  let closing: Promise<void> | undefined;
  const lifted = new Set<string>();
  const liftFailoverLimit = async (timeoutMs: number, group: string): Promise<void> => {
    if (lifted.has(group)) return;
    const change = { maxFailovers: FAILOVERS_MAX, failoverWindowMs: 1000 };
    await until(
      { what: 'the limit on failovers to be lifted', timeoutMs, everyMs: 200, signal },
      async () => {
        const outcome = await admin.steer({ kind: 'settings', group, change }, timeoutMs);
        return outcome.kind === 'done';
      },
    );
    lifted.add(group);
  };
  return {
    ...parts,
    hostOf,
    async primary(wanted = GROUP) {
      const group = await waitFor('a primary', 5000, ({ primary }) => primary !== undefined, wanted);
      return hostOf(group.primary ?? '');
    },
    waitFor,
    async waitUntilHealthy(timeoutMs, wanted = GROUP) {
      const nodeCount = hosts.filter(({ isWitness, group }) => !isWitness && group === wanted).length;
      const isWell = (found: GroupView, { leader }: StatusView): boolean =>
        leader !== undefined && isHealthy(found, nodeCount, parts.options.isRuleEnforced);
      const what = 'all nodes streaming and in the sync rule';
      let group = await waitFor(what, timeoutMs, isWell, wanted);
      for (const { peer, address, sentineldPid } of hosts) {
        if (sentineldPid === undefined) continue;
        const own = clusterAdmin([address]);
        group = await waitFor(`${what} as peer ${peer} sees it`, timeoutMs, isWell, wanted, own).finally(() =>
          own.close(),
        );
      }
      await liftFailoverLimit(timeoutMs, wanted);
      return group;
    },
    close() {
      closing ??= (async () => {
        admin.close();
        await parts.clean();
      })();
      return closing;
    },
  };
}

/** One primary, and every other node a standby that streams and counts in the sync rule; no change of it under way. */
export function isHealthy(group: GroupView, nodeCount: number, isRuleEnforced = true): boolean {
  if (group.phase !== 'running' || group.ruleChange !== undefined || group.nodes.length !== nodeCount)
    return false;
  const named = new Set(group.rule.match(/[a-z][a-z0-9_-]*/g) ?? []);
  return group.nodes.every((node) =>
    node.node === group.primary
      ? node.role === 'primary'
      : node.role === 'standby' &&
        node.state === 'streaming' &&
        named.has(node.node) &&
        (!isRuleEnforced || node.sync === 'quorum' || node.sync === 'sync'),
  );
}

/** `running, epoch 3, rule 1 of pg2; pg1 primary running, pg2 standby streaming, pg3 none cloning`. */
function describeGroup(group: GroupView): string {
  const nodes = group.nodes.map(
    ({ node, role, state, message }) =>
      `${node} ${role} ${state}${message === undefined ? '' : ` (${message})`}`,
  );
  return `${group.phase}, epoch ${group.epoch}, rule ${group.rule}${group.ruleChange === undefined ? '' : ` -> ${group.ruleChange}`}; ${nodes.join(', ')}`;
}
