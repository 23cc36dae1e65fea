// `sentinelctl node unregister`, `drop` and `register`: a node leaves its group and the log, and comes back only on a person's word. Any peer
// does it, for the node's own may be gone for good. Each step stands in the log, so that the command may be run again after it was
// broken off anywhere: what was done is passed over. The log decides.
import { formatDuration } from '../base/duration.ts';
import type { NodeId } from '../base/ids.ts';
import { doubtText, removalObstacle } from '../cluster/apply-removal.ts';
import type { Leaving } from '../cluster/commands.ts';
import { countableStandbys } from '../cluster/eligibility.ts';
import { REMOVAL_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  type GroupState,
  type NodeState,
  hasUnknownRule,
  pauseOf,
  isDoubtfulSite,
} from '../cluster/state.ts';
import type { AgentReport } from '../cluster/report.ts';
import { removedText } from '../failover/duties.ts';
import { freshReport } from '../failover/view.ts';
import type { SteerOutcome, SteerRequest } from '../transport/types.ts';
import { isCounted, lossText, planned, setAside, wait } from './pauses.ts';
import { type SteerOptions, done, proposeAndSay, refused } from './steering.ts';

type NodeRequest = Extract<SteerRequest, { readonly kind: 'node' }>;
type MembershipRequest = NodeRequest & { readonly action: 'unregister' | 'drop' | 'register' };

/** Whatever becomes of this command, the node comes back into the sync rule after this. */
const ASIDE_MS = 300_000;
const LEAVE_TIMEOUT_MS = 20_000;
/** A stop takes up to ten seconds; to remove a large directory takes longer, and goes on without whoever asked. */
const AGENT_TIMEOUT_MS = 40_000;
const REGISTER_TIMEOUT_MS = 15_000;

export function steerMembership(
  options: SteerOptions,
  request: MembershipRequest,
): Promise<SteerOutcome> | SteerOutcome {
  if (options.state().featureLevel < REMOVAL_FEATURE_LEVEL)
    return refused('not every peer understands this yet: upgrade all of them first');
  if (request.action === 'register') return register(options, request);
  const leaving = request.action === 'unregister' ? 'leave' : request.destroy === true ? 'destroy' : 'stop';
  return remove(options, { ...request, leaving });
}

interface Removal {
  readonly node: NodeId;
  readonly leaving: Leaving;
  readonly dryRun: boolean;
  readonly acceptsLoss?: true;
}

async function remove(options: SteerOptions, removal: Removal): Promise<SteerOutcome> {
  const state = options.state();
  const { node: id, leaving, dryRun, acceptsLoss } = removal;
  const more = acceptsLoss === true ? { acceptsLoss } : {};
  const node = state.nodes.get(id);
  const earlier = state.removed.get(id);
  if (earlier !== undefined) {
    const command = { kind: 'remove-node', group: earlier.group, node: id, leaving, ...more } as const;
    if (earlier.isDoubtful && acceptsLoss !== true) return refused(doubtText(id));
    if (dryRun)
      return planned(
        `${id}, which was removed from group ${earlier.group}, ${WAYS[leaving]}${earlier.isDoubtful ? lostText(id) : ''}`,
      );
    // Refused where the agent has been told as much already.
    if (earlier.leaving !== leaving || earlier.isDoubtful) await proposeAndSay(options, command, '');
    return outcomeOf(options, id);
  }
  if (node === undefined) return refused(noNode(options, id));
  const group = state.groups.get(node.group);
  const isNot = `${id} is not removed: `;
  if (group !== undefined) {
    const counted = isCounted(options, group, id);
    // That it is counted can be changed.
    const obstacle = removalObstacle({ ...group, ...(counted ? NOBODY_COUNTED : {}) }, node, acceptsLoss);
    if (obstacle !== undefined) return refused(`${isNot}${obstacle}`);
    const aside = await leaveRule(options, group, removal);
    if (aside.kind === 'refused') return refused(`${isNot}${aside.reason}`);
    if (dryRun)
      return planned(
        `${id} ${counted ? 'leaves the sync rule, ' : ''}leaves group ${group.id} and the log, its slots are dropped, and its PostgreSQL ${WAYS[leaving]}${hasUnknownRule(group) || isDoubtfulSite(group) ? lostText(id) : ''}${lossText(options, group, id)}${fewerText(options, group, node)}`,
      );
  } else if (dryRun) return planned(`${id} leaves the log, and its PostgreSQL ${WAYS[leaving]}`);
  const command = { kind: 'remove-node', group: node.group, node: id, leaving, ...more } as const;
  const outcome = await proposeAndSay(options, command, '');
  if (outcome.kind === 'refused') return refused(`${isNot}${outcome.reason}`);
  return outcomeOf(options, id);
}

const lostText = (id: NodeId): string => `; commits that ${id} alone holds are lost for good`;

const NOBODY_COUNTED = { rule: { members: [], acks: 0 }, next: undefined };

const WAYS: Record<Leaving, string> = {
  leave: 'is cut off from its upstream and left running',
  stop: 'is stopped',
  destroy: 'is stopped and its data directory removed, with its tablespaces',
};

/** A node that a person keeps fenced, or aside for good, stays so until it has left. */
async function leaveRule(
  options: SteerOptions,
  group: GroupState,
  { node, dryRun }: Removal,
): Promise<SteerOutcome> {
  const isOut = (): boolean => {
    const now = options.state().groups.get(group.id);
    return now === undefined || !isCounted(options, now, node);
  };
  if (isOut()) return done('');
  if (!group.fenced.includes(node) && pauseOf(group, node) === undefined)
    return setAside(options, group, { node, isMaintenance: false, forMs: ASIDE_MS, dryRun });
  if (dryRun || (await wait(options, LEAVE_TIMEOUT_MS, isOut))) return done('');
  return refused(
    `it has not left the sync rule within ${formatDuration(LEAVE_TIMEOUT_MS)}, see sentinelctl status`,
  );
}

/** That fewer standbys are left than are wanted is no reason to keep a dead one, and is said. */
function fewerText(options: SteerOptions, group: GroupState, node: NodeState): string {
  const { durability, acks } = group.settings;
  const left = countableStandbys(options.state(), group).filter((other) => other.node !== node.node).length;
  if (durability === 'async' || left >= acks) return '';
  const standbys = left === 1 ? '1 standby is' : `${left} standbys are`;
  return `; ${standbys} left without ${node.node}, of the ${acks} that group ${group.id} wants commits to be on`;
}

/** What its agent has said by now, of its removal. */
async function outcomeOf(options: SteerOptions, id: NodeId): Promise<SteerOutcome> {
  const removed = options.state().removed.get(id);
  if (removed === undefined) return done(`${id} was removed, and has been registered again since`);
  const { peer, group, leaving } = removed;
  const back = `sentinelctl node register ${id} lets it join again`;
  const is = `${id} is removed from group ${group}`;
  const askedAtMs = options.view().nowMs;
  if (leaving === 'leave')
    return done(`${is}; its PostgreSQL, if it runs, is cut off and left to you. ${back}`);
  const wanted = leaving === 'stop' ? ['stopped', 'absent'] : ['absent'];
  const isDone = await wait(options, AGENT_TIMEOUT_MS, () => {
    const report = reportSince(options, id, askedAtMs);
    const present = options.state().removed.get(id);
    // Before its removal it may have been stopped, or without a member id, for reasons of its own.
    const knows = present !== undefined && (report?.message ?? '').includes(removedText(present));
    return knows && wanted.includes(report?.condition ?? '');
  });
  if (isDone)
    return done(
      `${is}; its PostgreSQL is stopped${leaving === 'destroy' ? ' and its data directory removed' : ''}. ${back}`,
    );
  const report = freshReport(options.view(), id);
  const why =
    report === undefined
      ? `its agent (peer ${peer}) does not report; it will once it does`
      : `its agent says: ${report.message ?? report.condition}`;
  return done(
    `${is}; that its PostgreSQL is stopped${leaving === 'destroy' ? ' and its data directory removed' : ''} is not known yet: ${why}. ${back}`,
  );
}

/** Its report, where that came since then. */
function reportSince({ view }: SteerOptions, id: NodeId, sinceMs: number): AgentReport | undefined {
  const seen = view();
  const receivedAtMs = seen.reports.get(id)?.receivedAtMs ?? -Infinity;
  return receivedAtMs < sinceMs ? undefined : freshReport(seen, id);
}

async function register(
  options: SteerOptions,
  { node, dryRun }: Pick<NodeRequest, 'node' | 'dryRun'>,
): Promise<SteerOutcome> {
  const state = options.state();
  const known = state.nodes.get(node);
  if (known !== undefined) return done(`${node} is registered in group ${known.group}`);
  const removed = state.removed.get(node);
  if (removed === undefined)
    return refused(
      `${noNode(options, node)}; none of that name was removed, and a new one registers itself as soon as the sentineld that has it in its configuration runs`,
    );
  const { group, peer } = removed;
  const detail = `${node} may join group ${group} again: its agent registers it and has it follow, with a clone where it needs one`;
  if (dryRun) return planned(detail);
  const outcome = await proposeAndSay(options, { kind: 'readmit-node', group, node }, detail);
  if (outcome.kind === 'refused') return outcome;
  const isBack = await wait(options, REGISTER_TIMEOUT_MS, () => options.state().nodes.has(node));
  return isBack
    ? done(`${node} is registered in group ${group} again, and joins it: see sentinelctl status --watch`)
    : done(
        `${detail}. It has not yet: is the sentineld that has it in its configuration (last that of peer ${peer}) running?`,
      );
}

function noNode(options: SteerOptions, node: NodeId): string {
  const names = [...options.state().nodes.keys()].join(', ');
  return `there is no node ${node}${names === '' ? '' : `; there are ${names}`}`;
}
