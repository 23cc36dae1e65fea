// `sentinelctl node restart`, `reload`, `reinit` and `rejoin`: carried out by the peer whose agent looks after the node; any other says where to
// ask. What keeps it safe stands in the log: a standby is aside, a group is paused, each with an end by time, so that whatever
// becomes of this peer on the way the node comes back by itself, and the command may be run again.
import { delay } from '../base/clock.ts';
import { formatDuration } from '../base/duration.ts';
import type { NodeId, PeerId } from '../base/ids.ts';
import type { Agent } from '../actions/agent.ts';
import { PAUSE_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  type GroupState,
  type NodeState,
  asideReason,
  asideRemedy,
  isPaused,
  pauseOf,
  doubtfulSiteText,
  isDoubtfulSite,
} from '../cluster/state.ts';
import { freshReport } from '../failover/view.ts';
import type { SteerOutcome, SteerRequest } from '../transport/types.ts';
import { findGroup } from './failover-watch.ts';
import { steerMembership } from './node-removal.ts';
import { lossText, planned, setAside, wait } from './pauses.ts';
import { replaceDatabase } from './replacement.ts';
import { type SteerOptions, done, proposeAndSay, refused } from './steering.ts';
import { followsText, streamsAsTold, whyNotStreaming } from './streaming.ts';

/** What of the agent is needed here. */
export type NodeAgent = Pick<Agent, 'ask' | 'retry'>;

export interface NodeCommandOptions {
  readonly self: PeerId;
  readonly agent: () => NodeAgent | undefined;
}

type Request = Extract<SteerRequest, { readonly kind: 'node' }>;
type Options = SteerOptions & NodeCommandOptions;

/** A node of this peer, and its agent. */
export interface Target {
  readonly options: Options;
  readonly group: GroupState;
  readonly node: NodeState;
  readonly agent: NodeAgent;
  readonly dryRun: boolean;
}

/** How long a standby is aside, or a group paused, at the most: longer than all that is waited for. */
const ASIDE_MS = 300_000;
/** How long the pass under way may take. */
const BUSY_TIMEOUT_MS = 20_000;
const STOPPED_TIMEOUT_MS = 10_000;
/** How long no peer may have held a restarted primary for down before its group may fail over again. */
const CALM_MS = 1000;
const CALM_TIMEOUT_MS = 30_000;
/** The same where nobody waits for the answer any more. */
const ABORTED_CALM_MS = 5000;
const POLL_MS = 50;

export async function steerNode(options: Options, request: Request): Promise<SteerOutcome> {
  const { action } = request;
  if (action === 'unregister' || action === 'drop' || action === 'register')
    return steerMembership(options, { ...request, action });
  const state = options.state();
  const node = state.nodes.get(request.node);
  if (node === undefined) {
    const names = [...state.nodes.keys()].join(', ');
    return refused(`there is no node ${request.node}${names === '' ? '' : `; there are ${names}`}`);
  }
  const group = findGroup(state, node.group);
  if (typeof group === 'string') return refused(group);
  if (node.peer !== options.self) {
    const address = state.membership.addresses.get(node.peer);
    if (address === undefined)
      return refused(`${node.node} is looked after by peer ${node.peer}, whose address is not known`);
    return { kind: 'elsewhere', peer: node.peer, address };
  }
  const agent = options.agent();
  if (agent === undefined) return refused(`the agent of ${node.node} is not up yet; ask again`);
  const target: Target = { options, group, node, agent, dryRun: request.dryRun };
  switch (action) {
    case 'reload':
      return request.dryRun ? planned(`${node.node} reads its settings again`) : say(target, reload(target));
    case 'rejoin':
      return rejoin(target);
    case 'follow':
      return follow(target);
    case 'restart':
      if (group.phase.primary !== node.node) return restartStandby(target);
      return request.inPlace && group.phase.kind !== 'following'
        ? restartPrimary(target)
        : refused(primaryAdvice(target));
    case 'reinit':
      return reinit(target);
    case 'replace-database':
      return replaceDatabase(target);
  }
}

const primaryAdvice = ({ node, group }: Target): string =>
  group.phase.kind === 'following'
    ? `${node.node} is the site leader of group ${group.id}: sentinelctl site lead another node first, then it restarts as any standby`
    : `${node.node} is the primary of group ${group.id}: switch over first (sentinelctl failover), then it restarts as a standby and no write waits for that; --in-place restarts it where it is, and writes wait meanwhile`;

function reload({ agent, options }: Target): Promise<string> {
  return agent.ask({ kind: 'reload' }, { timeoutMs: BUSY_TIMEOUT_MS, signal: options.signal });
}

async function say({ node }: Target, work: Promise<string>): Promise<SteerOutcome> {
  try {
    return done(`${node.node}: ${await work}`);
  } catch (error) {
    return refused(`${node.node}: ${(error as Error).message}`);
  }
}

function retrySource({ node, agent, dryRun }: Target): SteerOutcome {
  const detail = `${node.node}, the site leader, tries again at once to stream from the other site; see sentinelctl status`;
  if (dryRun) return planned(detail);
  agent.retry();
  return done(detail);
}

function rejoin(target: Target): SteerOutcome {
  const { options, group, node, agent, dryRun } = target;
  if (group.phase.kind === 'creating' && group.phase.primary === node.node) {
    const detail = `${node.node} tries again at once to begin group ${group.id}, however often that failed; see sentinelctl status`;
    if (dryRun) return planned(detail);
    agent.retry();
    return done(detail);
  }
  if (group.phase.primary === node.node)
    return group.phase.kind === 'following'
      ? retrySource(target)
      : refused(`${node.node} is the primary of group ${group.id}: it has nothing to join`);
  const aside = asideReason(group, node.node);
  if (aside !== undefined)
    return refused(`${node.node} is ${aside}: ${asideRemedy(aside, node.node)} has it rejoin`);
  const report = freshReport(options.view(), node.node);
  if (report?.streamingFrom !== undefined) return done(`${node.node} streams already`);
  const detail = `${node.node} tries again at once to join its group, however often it failed; see sentinelctl status`;
  if (dryRun) return planned(detail);
  agent.retry();
  return done(detail);
}

/** As {@link rejoin}, and waits until it streams. */
async function follow(target: Target): Promise<SteerOutcome> {
  const { group, node, dryRun } = target;
  const outcome = rejoin(target);
  // What begins the group has nobody to follow.
  if (outcome.kind !== 'done' || (group.phase.kind === 'creating' && group.phase.primary === node.node))
    return outcome;
  if (dryRun) return streamsAsTold(target) ? done(followsText(target)) : planned(followsText(target));
  const why = await whyNotStreaming(target, () => streamsAsTold(target));
  if (why === undefined) return done(followsText(target));
  return refused(
    `${node.node}: its agent has tried again and goes on by itself, but it ${why}: see sentinelctl status --watch`,
  );
}

/** Why its PostgreSQL is not this command's to stop; undefined where it is. */
function standbyObstacle({ options, group, node }: Target): string | undefined {
  if (options.state().featureLevel < PAUSE_FEATURE_LEVEL)
    return 'not every peer understands this yet: upgrade all of them first';
  if (isDoubtfulSite(group)) return doubtfulSiteText(group.id);
  if (group.phase.kind !== 'running' && group.phase.kind !== 'following')
    return `group ${group.id} is ${group.phase.kind}; ask again once it runs`;
  if (group.fenced.includes(node.node))
    return `${node.node} is fenced: its PostgreSQL is stopped; ${asideRemedy('fenced', node.node)} ends that`;
  const pause = pauseOf(group, node.node);
  const isOurs =
    pause?.untilMs !== undefined && !pause.isMaintenance && pause.untilMs - options.view().wallMs <= ASIDE_MS;
  if (pause === undefined || isOurs) return undefined;
  const reason = pause.isMaintenance ? 'in maintenance' : 'paused';
  return `${node.node} is ${reason}: its PostgreSQL is left to you; ${asideRemedy(reason, node.node)} ends that`;
}

/** Has the node leave the sync rule, does the work, and has it come back, whatever came of it. */
async function whileAside(target: Target, work: () => Promise<string>): Promise<SteerOutcome> {
  const { options, group, node, dryRun } = target;
  const aside = { node: node.node, isMaintenance: false, forMs: ASIDE_MS, dryRun };
  const isAside = await setAside(options, group, aside);
  if (isAside.kind !== 'done' || dryRun) return isAside;
  const outcome = await say(target, work());
  const back = { kind: 'end-pause', group: group.id, node: node.node } as const;
  const ended = await proposeAndSay(options, back, '');
  if (ended.kind === 'done' || outcome.kind !== 'done') return outcome;
  return done(
    `${outcome.detail}; it stays out of the sync rule and stopped for up to ${formatDuration(ASIDE_MS)}, for that could not be ended (${ended.kind === 'refused' ? ended.reason : ''}): sentinelctl resume --node ${node.node} ends that`,
  );
}

async function restartStandby(target: Target): Promise<SteerOutcome> {
  const { options, group, node, agent, dryRun } = target;
  const obstacle = standbyObstacle(target);
  if (obstacle !== undefined) return refused(`${node.node} is not restarted: ${obstacle}`);
  const loss = lossText(options, group, node.node);
  const startedMs = performance.now();
  const condition = (): string | undefined => freshReport(options.view(), node.node)?.condition;
  const outcome = await whileAside(target, async () => {
    const request = { kind: 'restart', as: 'standby' } as const;
    const detail = await agent.ask(request, { timeoutMs: BUSY_TIMEOUT_MS, signal: options.signal });
    // What is heard from now on is of the PostgreSQL that is started next.
    await wait(options, STOPPED_TIMEOUT_MS, () => condition() === 'stopped' || condition() === 'absent');
    return detail;
  });
  if (outcome.kind !== 'done') return outcome;
  if (dryRun)
    return planned(`${node.node} leaves the sync rule, is restarted, and comes back by itself${loss}`);
  const why = await whyNotStreaming(
    target,
    () => freshReport(options.view(), node.node)?.streamingFrom !== undefined,
  );
  // Whoever restarts one standby after the other must not go on to the next.
  if (why !== undefined)
    return refused(
      `${outcome.detail}, and it comes back by itself, but ${why}: see sentinelctl status before you restart another node`,
    );
  return done(`${node.node} was restarted and streams again, after ${tookText(startedMs)}`);
}

async function restartPrimary(target: Target): Promise<SteerOutcome> {
  const { options, group, node, agent, dryRun } = target;
  const isNot = `${node.node} is not restarted: `;
  if (options.state().featureLevel < PAUSE_FEATURE_LEVEL)
    return refused(`${isNot}not every peer understands this yet: upgrade all of them first`);
  if (group.phase.kind !== 'running')
    return refused(`${isNot}group ${group.id} is ${group.phase.kind}; ask again once it runs`);
  if (dryRun)
    return planned(
      `group ${group.id} is paused, the PostgreSQL of ${node.node} makes a checkpoint and is restarted, writes waiting meanwhile, and the pause ends`,
    );
  const startedMs = performance.now();
  const untilMs = Math.round(options.view().wallMs + ASIDE_MS);
  // A pause of a person's that lasts longer is left as it is, and is not ended.
  const { paused } = group;
  const isTheirs = paused !== undefined && (paused.untilMs === undefined || paused.untilMs > untilMs);
  if (!isTheirs) {
    const pause = { kind: 'pause', group: group.id, node: undefined, isMaintenance: false, untilMs } as const;
    const outcome = await proposeAndSay(options, pause, '');
    if (outcome.kind !== 'done') return outcome;
  }
  const outcome = await say(
    target,
    (async () => {
      const present = options.state().groups.get(group.id);
      if (present === undefined || !isPaused(present)) throw new Error('its group is no longer paused');
      const request = { kind: 'restart', as: 'primary' } as const;
      return agent.ask(request, { timeoutMs: BUSY_TIMEOUT_MS, signal: options.signal });
    })(),
  );
  if (isTheirs) return outcome;
  // Whoever holds it for down on account of the restart would have the group fail over the moment the pause ends.
  const isCalm = outcome.kind !== 'done' || (await isHeldByNobody(target));
  const note = `group ${group.id} stays paused for up to ${formatDuration(ASIDE_MS)}: sentinelctl resume ${group.id} ends that`;
  if (!isCalm)
    return done(
      `${outcome.kind === 'done' ? outcome.detail : ''}, but peers still hold it for down; ${note}`,
    );
  const ended = await proposeAndSay(options, { kind: 'end-pause', group: group.id, node: undefined }, '');
  if (outcome.kind !== 'done') return outcome;
  if (ended.kind !== 'done') return done(`${outcome.detail}; ${note}`);
  return done(`${node.node} was restarted in place, after ${tookText(startedMs)}`);
}

/** For a while also where the caller is gone, or this peer is stopping: the pause is to end. */
async function isHeldByNobody({ options, group, node }: Target): Promise<boolean> {
  const startedMs = performance.now();
  let calmSinceMs: number | undefined;
  let abortedMs: number | undefined;
  while (performance.now() - startedMs < CALM_TIMEOUT_MS) {
    if (options.signal.aborted) abortedMs ??= performance.now();
    if (abortedMs !== undefined && performance.now() - abortedMs >= ABORTED_CALM_MS) return false;
    const state = options.state();
    const epoch = state.groups.get(group.id)?.epoch;
    const isHeld = state.nodes.get(node.node)?.subjectiveDown.some((entry) => entry.epoch === epoch) === true;
    const isUp = freshReport(options.view(), node.node)?.condition === 'primary';
    if (isHeld || !isUp) calmSinceMs = undefined;
    else calmSinceMs ??= performance.now();
    if (calmSinceMs !== undefined && performance.now() - calmSinceMs >= CALM_MS) return true;
    await delay(POLL_MS);
  }
  return false;
}

async function reinit(target: Target): Promise<SteerOutcome> {
  const { options, group, node, agent, dryRun } = target;
  const obstacle = (): string | undefined => sourceObstacle(target);
  const reason = obstacle() ?? standbyObstacle(target);
  if (reason !== undefined) return refused(`${node.node} is not cloned anew: ${reason}`);
  if (group.phase.kind === 'following' && group.phase.primary === node.node) return reinitSiteLeader(target);
  const loss = lossText(options, group, node.node);
  const outcome = await whileAside(target, () =>
    agent.ask({ kind: 'reinit', obstacle }, { timeoutMs: BUSY_TIMEOUT_MS, signal: options.signal }),
  );
  if (outcome.kind !== 'done') return outcome;
  const steps = `leaves the sync rule and is stopped, and its data directory is replaced by a clone of ${group.phase.primary} once that streams`;
  if (dryRun) return planned(`${node.node} ${steps}${loss}`);
  return done(
    `${outcome.detail} of ${group.phase.primary}, and the old one removed once that streams: see sentinelctl status --watch`,
  );
}

/** Why nothing can be cloned from the primary now; asked again just before the data directory is given up. */
function sourceObstacle({ options, group, node }: Target): string | undefined {
  const present = options.state().groups.get(group.id);
  if (present === undefined) return `there is no group ${group.id}`;
  const { phase } = present;
  if (phase.kind === 'following') return siteSourceObstacle(options, phase.primary, node.node);
  if (phase.primary === node.node) return `it is the primary of group ${group.id}; switch over first`;
  if (phase.kind !== 'running') return `group ${group.id} is ${phase.kind}; ask again once it runs`;
  const report = freshReport(options.view(), phase.primary);
  if (report?.condition === 'primary' && report.timeline === phase.timeline) return undefined;
  return `its primary ${phase.primary} is not known to run, and there would be nothing to clone from`;
}

/** The site leader is cloned from the other site, which only its agent can ask. */
function siteSourceObstacle(options: Target['options'], leader: NodeId, node: NodeId): string | undefined {
  if (leader === node || freshReport(options.view(), leader)?.streamingFrom !== undefined) return undefined;
  return `${leader}, the site leader, is not known to stream from the other site, and there would be nothing to clone from`;
}

/** It cannot be set aside, nor need it be: no commit waits for it, and nothing is promoted meanwhile. */
async function reinitSiteLeader(target: Target): Promise<SteerOutcome> {
  const { node, agent, options, dryRun } = target;
  const steps =
    'is stopped, and its data directory is replaced by a copy that is taken from the other site, which has to answer; other nodes whose WAL does not fit that copy are cloned from it afterwards';
  if (dryRun) return planned(`${node.node} ${steps}`);
  const work = agent.ask(
    { kind: 'reinit', obstacle: () => sourceObstacle(target) },
    { timeoutMs: BUSY_TIMEOUT_MS, signal: options.signal },
  );
  return say(target, work);
}

const tookText = (startedMs: number): string => formatDuration(Math.round(performance.now() - startedMs));
