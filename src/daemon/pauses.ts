// `sentinelctl pause`, `resume` and `maintenance`: what a person asks is checked, proposed, and answered for once it holds, so that
// whoever is told that a node may be stopped can stop it. The log decides.
import { delay } from '../base/clock.ts';
import { formatDuration } from '../base/duration.ts';
import type { NodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import { PAUSE_FEATURE_LEVEL } from '../cluster/features.ts';
import { type GroupState, pauseOf, primaryWord } from '../cluster/state.ts';
import { switchoverObstacle } from '../failover/obstacles.ts';
import { freshReport } from '../failover/view.ts';
import type { SteerOutcome, SteerRequest } from '../transport/types.ts';
import { findGroup } from './failover-watch.ts';
import { type SteerOptions, done, proposeAndSay, refused } from './steering.ts';
import { switchOver } from './switchover.ts';

export type PauseRequest = Extract<SteerRequest, { readonly kind: 'pause' | 'resume' | 'maintenance' }>;

/** How long a node may take to leave the sync rule, before it is left as it was. */
const LEAVE_TIMEOUT_MS = 20_000;
/** How long a former primary may take to follow, before the answer is that it does not yet: sooner than whoever asked gives up. */
const FOLLOW_TIMEOUT_MS = 30_000;
const POLL_MS = 50;

export async function steerPause(options: SteerOptions, request: PauseRequest): Promise<SteerOutcome> {
  if (options.state().featureLevel < PAUSE_FEATURE_LEVEL)
    return refused('not every peer understands this yet: upgrade all of them first');
  const group = groupFor(options, request);
  if (typeof group === 'string') return refused(group);
  switch (request.kind) {
    case 'pause':
      return request.node === undefined || group.phase.primary === request.node
        ? pause(options, group, request)
        : setAside(options, group, { ...request, node: request.node, isMaintenance: false });
    case 'resume':
      return resume(options, group, request);
    case 'maintenance':
      return maintain(options, group, request);
  }
}

function groupFor(options: SteerOptions, request: PauseRequest): GroupState | string {
  const named = request.kind === 'maintenance' ? undefined : request.group;
  if (request.node === undefined) return findGroup(options.state(), named);
  const known = options.state().nodes.get(request.node);
  if (known === undefined) return `there is no node ${request.node}`;
  if (named !== undefined && named !== known.group)
    return `${request.node} is a node of group ${known.group}, not ${named}`;
  return findGroup(options.state(), known.group);
}

/** Of a group, or of its primary: it goes on, and nobody takes over by itself. */
async function pause(
  options: SteerOptions,
  group: GroupState,
  { node, forMs, dryRun }: Extract<PauseRequest, { kind: 'pause' }>,
): Promise<SteerOutcome> {
  const name = node === undefined ? `group ${group.id}` : `${node}, the primary of group ${group.id},`;
  const present = node === undefined ? group.paused : pauseOf(group, node);
  if (present !== undefined && present.untilMs === undefined && forMs === undefined)
    return done(`${name} is paused already`);
  const detail = `${name} is paused${lastingText(options, forMs)}: nobody takes over by itself; sentinelctl failover still works`;
  if (dryRun) return planned(detail);
  const untilMs = untilOf(options, forMs);
  return proposeAndSay(
    options,
    { kind: 'pause', group: group.id, node, isMaintenance: false, untilMs },
    detail,
  );
}

async function resume(
  options: SteerOptions,
  group: GroupState,
  { node, dryRun }: Extract<PauseRequest, { kind: 'resume' }>,
): Promise<SteerOutcome> {
  const name = node ?? `group ${group.id}`;
  const present = node === undefined ? group.paused : pauseOf(group, node);
  if (present === undefined)
    return done(`${name} is not paused${node === undefined ? nodesText(group) : ' or in maintenance'}`);
  const detail =
    node === undefined
      ? `group ${group.id} is no longer paused; it fails over by itself again`
      : `${node} is no longer ${'isMaintenance' in present && present.isMaintenance ? 'in maintenance' : 'paused'}; its agent looks after it again`;
  if (dryRun) return planned(detail);
  return proposeAndSay(options, { kind: 'end-pause', group: group.id, node }, detail);
}

/** What somebody who resumes a group may have meant. */
function nodesText({ pausedNodes }: GroupState): string {
  const names = pausedNodes.map(({ node }) => node).join(', ');
  return names === '' ? '' : `; single nodes are paused or in maintenance (${names}), see resume --node`;
}

async function maintain(
  options: SteerOptions,
  group: GroupState,
  request: Extract<PauseRequest, { kind: 'maintenance' }>,
): Promise<SteerOutcome> {
  const { node, to, dryRun } = request;
  const aside = { ...request, isMaintenance: true };
  if (group.phase.primary !== node) return setAside(options, group, aside);
  const isOfPrimary = `${node} is ${primaryWord(group).name}, and not in maintenance: `;
  if (pauseOf(group, node) !== undefined)
    return refused(`${isOfPrimary}it is paused; sentinelctl resume --node ${node} ends that`);
  const obstacle =
    switchoverObstacle(options.state(), group, to, options.view()) ?? strictObstacle(options, group, node);
  if (obstacle !== undefined) return refused(`${isOfPrimary}${obstacle}`);
  if (dryRun) {
    const next = to ?? 'a standby';
    return planned(
      `group ${group.id} switches over from ${node} to ${next}, ${node} follows and leaves the sync rule, and is in maintenance${lastingText(options, request.forMs)}`,
    );
  }
  const moved = await switchOver({ ...options, request: { group: group.id, to } });
  if (moved.kind === 'refused') return refused(`${isOfPrimary}${moved.reason}`);
  const follows = await wait(options, FOLLOW_TIMEOUT_MS, () => {
    return freshReport(options.view(), node)?.streamingFrom !== undefined;
  });
  const present = options.state().groups.get(group.id);
  if (!follows || present === undefined)
    return refused(
      `${node} is no longer the primary, but does not follow yet, and is not in maintenance: ask again once it streams (sentinelctl status)`,
    );
  return setAside(options, present, aside);
}

interface Aside {
  readonly node: NodeId;
  readonly isMaintenance: boolean;
  readonly forMs: number | undefined;
  readonly dryRun: boolean;
}

/** A standby leaves the sync rule, and then its PostgreSQL is left to the person who asked. */
export async function setAside(
  options: SteerOptions,
  group: GroupState,
  { node, isMaintenance, forMs, dryRun }: Aside,
): Promise<SteerOutcome> {
  const what = isMaintenance ? 'in maintenance' : 'paused';
  const present = pauseOf(group, node);
  const isSame = present?.isMaintenance === isMaintenance && present.untilMs === undefined;
  if (isSame && forMs === undefined) return done(`${node} is ${what} already`);
  const obstacle = present === undefined ? strictObstacle(options, group, node) : undefined;
  if (obstacle !== undefined) return refused(`${node} is not ${what}: ${obstacle}`);
  const loss = lossText(options, group, node);
  const detail = `${node} is ${what}${lastingText(options, forMs)}: its PostgreSQL may be stopped, restarted or upgraded; it is neither counted for commits nor promoted${loss}`;
  if (dryRun) return planned(detail);
  const untilMs = untilOf(options, forMs);
  const command: Command = { kind: 'pause', group: group.id, node, isMaintenance, untilMs };
  const outcome = await proposeAndSay(options, command, detail);
  if (outcome.kind === 'refused') return outcome;
  const hasLeft = await wait(options, LEAVE_TIMEOUT_MS, () => {
    const now = options.state().groups.get(group.id);
    return now === undefined || !isCounted(options, now, node);
  });
  if (hasLeft) return outcome;
  await proposeAndSay(options, { kind: 'end-pause', group: group.id, node }, '');
  return refused(
    `${node} has not left the sync rule within ${formatDuration(LEAVE_TIMEOUT_MS)}, so stopping it could make writes wait; nothing was changed, see sentinelctl status`,
  );
}

/** What it means for the group that this node is aside: something where it is the last that counts for commits. */
export function lossText(options: Pick<SteerOptions, 'state'>, group: GroupState, node: NodeId): string {
  const isLast = isCounted(options, group, node) && group.rule.members.length === 1;
  return isLast ? `; meanwhile commits are on ${group.phase.primary} alone and nobody can take over` : '';
}

/** A strict group never asks for fewer acknowledgements: one that is needed for them cannot leave. */
export function strictObstacle(
  options: Pick<SteerOptions, 'state'>,
  group: GroupState,
  node: NodeId,
): string | undefined {
  const { rule, settings } = group;
  if (settings.durability !== 'strict') return undefined;
  // Of a primary, the standby that takes its place.
  const isNeeded = group.phase.primary === node || isCounted(options, group, node);
  if (!isNeeded || rule.members.length - 1 >= rule.acks) return undefined;
  return `group ${group.id} is strict, and ${rule.acks} of its ${rule.members.length} standbys have to hold every commit: writes would wait; change its settings first`;
}

export function isCounted(
  options: Pick<SteerOptions, 'state'>,
  { rule, next }: GroupState,
  node: NodeId,
): boolean {
  const member = options.state().nodes.get(node)?.member;
  if (member === undefined) return false;
  return rule.members.includes(member) || (next?.rule.members.includes(member) ?? false);
}

export async function wait(options: SteerOptions, timeoutMs: number, isSo: () => boolean): Promise<boolean> {
  const startedMs = performance.now();
  while (!isSo()) {
    if (performance.now() - startedMs >= timeoutMs || options.signal.aborted) return false;
    await delay(POLL_MS, options.signal);
  }
  return true;
}

const untilOf = (options: SteerOptions, forMs: number | undefined): number | undefined =>
  forMs === undefined ? undefined : Math.round(options.view().wallMs + forMs);

function lastingText(options: SteerOptions, forMs: number | undefined): string {
  const untilMs = untilOf(options, forMs);
  return untilMs === undefined ? '' : ` until ${new Date(untilMs).toISOString()}`;
}

export const planned = (detail: string): SteerOutcome =>
  done(`it could be done, nothing was changed; then: ${detail}`);
