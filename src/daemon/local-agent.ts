// The agent of this host's node, with everything it is given: the operating-system user, PostgreSQL's programs, its files, the
// log. Only puts them together; what the agent does is in src/actions.
import { isIP } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { type Agent, startAgent } from '../actions/agent.ts';
import { ALL_PROTECTIONS, DEFAULT_AGENT_TIMING, type Protections } from '../actions/context.ts';
import { openFenceFile } from '../actions/fence-file.ts';
import type { SiteSource } from '../actions/site-source.ts';
import { instancePaths } from '../actions/instance-files.ts';
import { type NodeId, type PeerId, epoch } from '../base/ids.ts';
import { upstreamOf } from '../cluster/apply-cascade.ts';
import { hasOptions } from '../cluster/eligibility.ts';
import type { NodeOptions } from '../cluster/commands.ts';
import { CANDIDATES_FEATURE_LEVEL, CASCADE_FEATURE_LEVEL, SITE_FEATURE_LEVEL } from '../cluster/features.ts';
import { compareFences } from '../cluster/fence.ts';
import { missingUpstream, missingUpstreamText } from '../cluster/hosts.ts';
import type { AgentReport } from '../cluster/report.ts';
import type { ClusterState, LogicalSlot } from '../cluster/state.ts';
import { type Duty, duties } from '../failover/duties.ts';
import { type View, freshReport } from '../failover/view.ts';
import type { Health } from '../health/watch.ts';
import type { Account } from '../postgres/account.ts';
import { findBinaries } from '../postgres/binaries.ts';
import { findOsUser } from '../postgres/os-user.ts';
import { makeDirectory } from '../postgres/own-directories.ts';
import { findPostmaster } from '../postgres/processes.ts';
import { type Accounts, openAccount } from './accounts.ts';
import type { Config, NodeConfig } from './config.ts';
import { keepStopped } from './left-behind.ts';
import type { Replica } from './replica.ts';
import { refusedProbes } from './probe-refusals.ts';
import { routedDuty } from './routes.ts';
import { primaryPending, standbyLimits } from './standby-limits.ts';
import { version } from './version.ts';

const AGENT_PROPOSAL_TIMEOUT_MS = 2000;

const NO_HBA: readonly string[] = [];
const NO_PARAMETERS: ReadonlyMap<string, string> = new Map();

export interface LocalAgent {
  readonly agent: Agent;
  /** When the PostgreSQL that runs was started, in seconds since 1970; undefined: none runs. */
  serverStartedAtS(): number | undefined;
  /**
   * The cluster went on without this peer, at `incarnation`: the agent ends, PostgreSQL is stopped and stays so until the signal
   * aborts, and no duty of an earlier incarnation is obeyed any more, after a restart either.
   */
  standDown(incarnation: number, signal: AbortSignal): Promise<void>;
}

export async function startLocalAgent(options: {
  readonly config: Config;
  readonly log: Logger;
  readonly protections?: Protections;
  readonly node: NodeConfig;
  readonly replica: Replica;
  readonly health: Health;
  readonly onReport: (report: AgentReport) => void;
  readonly readThroughLeader: () => Promise<boolean>;
  /** The report of another node's agent, where it is recent enough to go by. */
  readonly view: () => View;
  readonly accounts: Accounts;
}): Promise<LocalAgent> {
  const { config, log, node, replica, health } = options;
  const { superuser } = config.users;
  const { replication, probe } = options.accounts;
  if (replication === undefined) throw new Error('users.replication is missing: a peer with a node needs it');
  const user = await findOsUser({ configured: node.osUser });
  const paths = instancePaths(config.stateDirectory, node.name);
  const postgresDirectory = join(config.stateDirectory, 'postgresql');
  await makeDirectory(user, paths.passfileDirectory);
  await makeDirectory(user, node.socketDirectory);
  await makeDirectory(user, postgresDirectory);
  const binaries = await findBinaries({
    user,
    binDirectory: node.binDirectory,
    dataDirectory: node.dataDirectory,
    privateDirectory: postgresDirectory,
  });
  log.info(
    { version: binaries.version, directory: binaries.directory, source: binaries.source, user: user.name },
    'PostgreSQL found',
  );
  const dutyNow = () => ownDuty(replica.state, node.name, config);
  const fence = await openFenceFile({
    path: paths.fenceFile,
    cluster: config.cluster,
    node: node.name,
  });
  const agent = await startAgent({
    peer: config.peer,
    registration: () => registrationOf(config.peer, node, replica.state.featureLevel),
    registrationObstacle: () => obstacleToRegistering(node, replica.state.featureLevel),
    instance: {
      node: node.name,
      clusterName: config.cluster,
      listenAddresses: isIP(node.host) === 0 ? ['*'] : [node.host],
      port: node.port,
      dataDirectory: node.dataDirectory,
      socketDirectory: node.socketDirectory,
      passfileDirectory: paths.passfileDirectory,
      logFile: paths.logFile,
      logRotation: node.logRotation,
      initdb: node.initdb,
      bootstrap: config.bootstrap,
      restoreLogFile: paths.restoreLogFile,
      process: node.process,
      divergedDirectory: paths.divergedDirectory,
      lockDirectory: paths.lockDirectory,
      walDirectory: node.walDirectory,
      tablespaces: node.tablespaces,
      cloneMaxRateBytes: config.cloneMaxRateBytes,
      adoptedHbaFile: paths.adoptedHbaFile,
      unarchivedDirectory: paths.unarchivedDirectory,
      binaries,
      user,
      superuser: superuser.name,
      replication,
      probe,
      ...sourceOf(options, replication),
      parameters: withDelay(node),
      groupParameters: () => replica.state.groups.get(node.group)?.parameters ?? NO_PARAMETERS,
      maxSlotWalBytes: () => replica.state.groups.get(node.group)?.settings.maxSlotWalBytes,
      logicalSlots: () => logicalSlots(replica.state, node),
      isCascading: () => isCascading(replica.state, node),
      logicalSlotsFile: paths.logicalSlotsFile,
      slotOwners: () => slotOwners(replica.state, node.group),
      primaryPending: () =>
        primaryPending(replica.state, node.group, (id) => freshReport(options.view(), id)),
      standbyLimits: () => standbyLimits(replica.state, node.name, (id) => freshReport(options.view(), id)),
      hbaLines: node.hba,
      groupHba: () => replica.state.groups.get(node.group)?.hba ?? NO_HBA,
      takenFile: paths.takenFile,
      databaseFile: paths.databaseFile,
      promoteCommand: node.promoteCommand,
      promoteRunFile: paths.promoteRunFile,
    },
    guard: {
      directory: paths.guardDirectory,
      program: fileURLToPath(new URL('../guard/main.js', import.meta.url)),
      version: version(),
      ...config.guard,
    },
    fence,
    timing: { ...DEFAULT_AGENT_TIMING, restartGraceMs: config.timing.restartGraceMs },
    protections: options.protections ?? ALL_PROTECTIONS,
    propose: (command) => replica.propose(command, AGENT_PROPOSAL_TIMEOUT_MS),
    readDuty: async () => ((await options.readThroughLeader()) ? dutyNow() : undefined),
    registered: () => replica.state.nodes.get(node.name),
    group: () => replica.state.groups.get(node.group),
    featureLevel: () => replica.state.featureLevel,
    upstreamProblem: () => upstreamProblem(replica.state, node.name),
    // It may be registered too late to be asked.
    onReport: (report) =>
      options.onReport({
        ...report,
        ...(node.follow === undefined ? {} : { follows: node.group }),
        ...refusedProbes(health),
      }),
    onGone: () => health.localProcessesGone(node.name),
    onBack: () => health.localProcessesBack(node.name),
    log: (level, message, fields) => log[level]({ node: node.name, ...fields }, message),
  });
  return {
    agent,
    serverStartedAtS: () => findPostmaster(node.dataDirectory)?.startedAtS,
    async standDown(incarnation, signal) {
      const stopped = keepStopped({
        dataDirectory: node.dataDirectory,
        signal,
        log: (level, message) => log[level]({ node: node.name }, message),
      });
      await agent.close();
      const token = { incarnation, epoch: epoch(0) };
      if (compareFences(token, fence) > 0) await fence.raise(token);
      await stopped;
    },
  };
}

function upstreamProblem(state: ClusterState, name: NodeId): string | undefined {
  const node = state.nodes.get(name);
  const upstream = node && missingUpstream(state, node);
  return node === undefined || upstream === undefined ? undefined : missingUpstreamText(node, upstream);
}

/** Of the group, also those that were taken out of it. */
function slotOwners({ nodes, removed }: ClusterState, group: NodeConfig['group']): NodeId[] {
  return [...nodes.values(), ...removed.values()].flatMap((each) =>
    each.group === group ? [each.node] : [],
  );
}

const NO_SLOTS: readonly LogicalSlot[] = [];

/** A standby that is never promoted needs none, and what it would hold back on the primary is of no use. */
function logicalSlots(state: ClusterState, { name, group: id, options }: NodeConfig): readonly LogicalSlot[] {
  const group = state.groups.get(id);
  if (group === undefined) return NO_SLOTS;
  const isNeverPromoted = options.noFailover || options.applyDelayMs > 0;
  return isNeverPromoted && group.phase.primary !== name ? NO_SLOTS : group.logicalSlots;
}

function isCascading(state: ClusterState, { name, group: id }: NodeConfig): boolean {
  const group = state.groups.get(id);
  return group !== undefined && upstreamOf(state, group, name) !== undefined;
}

/** A node that is never promoted is registered with priority 0, which older peers take for the last choice. */
export function registrationOf(
  peer: PeerId,
  node: Pick<NodeConfig, 'name' | 'group' | 'host' | 'port' | 'priority' | 'options'>,
  featureLevel: number,
): ReturnType<Parameters<typeof startAgent>[0]['registration']> {
  const { name, group, host, port } = node;
  const { upstream, source, ...earlier } = node.options;
  // What `apply` passes over would be missed in the log, and proposed again and again.
  const options: NodeOptions = {
    ...earlier,
    ...(upstream !== undefined && featureLevel >= CASCADE_FEATURE_LEVEL ? { upstream } : {}),
    ...(source !== undefined && featureLevel >= SITE_FEATURE_LEVEL ? { source } : {}),
  };
  const isNeverPromoted = options.noFailover || options.applyDelayMs > 0;
  return {
    ...{ node: name, group, peer, host, port, priority: isNeverPromoted ? 0 : node.priority },
    ...(featureLevel >= CANDIDATES_FEATURE_LEVEL && hasOptions(options) ? { options } : {}),
  };
}

/** Before that its group would be created as an ordinary one: nobody would know that it is to follow another site. */
const obstacleToRegistering = ({ follow }: NodeConfig, featureLevel: number): string | undefined =>
  follow === undefined || featureLevel >= SITE_FEATURE_LEVEL
    ? undefined
    : `it is to follow another site (node.follow), which not every peer understands yet: upgrade all of them first`;

/** The account of `users.replication` where the other site has that, too. */
function sourceOf(
  { node, config, log }: Pick<Parameters<typeof startLocalAgent>[0], 'node' | 'config' | 'log'>,
  replication: Account,
): { readonly source?: SiteSource } {
  const { follow } = node;
  if (follow === undefined) return {};
  const { servers, slot, parameters } = follow;
  const account =
    follow.account === undefined
      ? replication
      : openAccount(follow.account, { log: (level, message, fields) => log[level](fields, message) });
  const applicationName = `pg_sentinel_site_${config.cluster}`;
  return { source: { servers, account, slot, parameters, applicationName } };
}

/** PostgreSQL's own settings of the node; a cut ends the delay, and its next duty begins it again. */
function withDelay({ parameters, options }: NodeConfig): NodeConfig['parameters'] {
  return options.applyDelayMs === 0
    ? parameters
    : { ...parameters, recovery_min_apply_delay: `${options.applyDelayMs}ms` };
}

/** Two peers whose files name the same node must not both carry out its duties: it is the one's that registered it. */
export function ownDuty(state: ClusterState, node: NodeId, config: Pick<Config, 'peer' | 'via'>): Duty {
  const self = config.peer;
  const owner = state.nodes.get(node)?.peer;
  const removed = state.removed.get(node);
  if (removed !== undefined && removed.peer !== self)
    return {
      kind: 'none',
      isRemoved: true,
      reason: `node ${node} was removed when peer ${removed.peer} managed it: sentinelctl node register ${node} lets it in again`,
    };
  if (owner === undefined || owner === self) return routedDuty(duties(state, node), config.via);
  return {
    kind: 'none',
    reason: `node ${node} is managed by peer ${owner}, not ${self}; give each host's node a name of its own`,
  };
}
