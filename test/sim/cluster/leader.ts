// The elected leader's part (src/daemon/leader.ts): asks the real `decide` what should be proposed, and proposes it. It holds no
// state of its own but the time since when conditions have lasted.
import type { Command, SyncRule } from '../../../src/cluster/commands.ts';
import { sameRule } from '../../../src/cluster/quorum.ts';
import type { ClusterState } from '../../../src/cluster/state.ts';
import { decide } from '../../../src/failover/decide.ts';
import type { FailoverSettings } from '../../../src/failover/view.ts';
import { type Host, type Leading, type World, nowMsOf } from '../world.ts';
import { GROUP } from '../postgres/postgres.ts';
import { propose } from './replica.ts';

/** A fifth of the real times: lives are short. */
const FAILOVER_SETTINGS: FailoverSettings = {
  reportFreshMs: 400,
  syncMemberTimeoutMs: 200,
  creationWaitMs: 400,
  handOverTimeoutMs: 500,
  silentAgentMs: 300,
  targetTimeoutMs: 400,
  followersWaitMs: 100,
  promotionGraceMs: 500,
  resumeAfterMs: 300,
  fetchTimeoutMs: 600,
  upstreamAfterMs: 200,
  upstreamLostMs: 300,
  // Slots are no part of the simulated PostgreSQL; kept-slots.test.ts and the integration tests have them.
  absentAfterMs: Infinity,
};

const PROPOSAL_TIMEOUT_US = 600_000;
const CONSIDER_EVERY_US = 40_000;

/** A new leader starts afresh. */
export function createLeading(): Leading {
  return {
    memory: new Map(),
    reports: new Map(),
    underWay: new Set(),
    consideredUs: 0,
    seenGroups: undefined,
    seenMembership: undefined,
    pendingSinceUs: -1,
  };
}

/** After every change of what is decided about, and about twenty times a second. */
export function considerLeading(world: World, host: Host): void {
  const { leading, replica } = host;
  if (leading === undefined || replica === undefined || !replica.proposer.isOpen) return;
  const { state } = replica;
  const { nowUs } = world.timeline;
  const isNews = state.groups !== leading.seenGroups || state.membership !== leading.seenMembership;
  if (!isNews && nowUs - leading.consideredUs < CONSIDER_EVERY_US) return;
  leading.consideredUs = nowUs;
  leading.seenGroups = state.groups;
  leading.seenMembership = state.membership;
  const decision = decide(
    state,
    {
      nowMs: nowMsOf(world, host),
      wallMs: Math.floor(world.timeline.nowUs / 1000),
      reports: leading.reports,
      settings: FAILOVER_SETTINGS,
    },
    leading.memory,
  );
  leading.memory = decision.memory;
  const lower = lowered(world, host);
  if (lower !== undefined) submit(world, host, lower);
  for (const command of decision.commands) {
    const wished = asWished(world, state, command);
    if (wished !== undefined) submit(world, host, wished);
  }
}

const STUCK_MS = 400;

/** A change to more acknowledgements than its members can give is lowered: a member may have gone for good meanwhile. */
function lowered(world: World, host: Host): Command | undefined {
  const { leading, replica } = host;
  const group = replica?.state.groups.get(GROUP);
  if (
    leading === undefined ||
    group?.next === undefined ||
    group.next.rule.acks < 2 ||
    group.rule.acks === 0
  ) {
    if (leading !== undefined) leading.pendingSinceUs = -1;
    return undefined;
  }
  const { nowUs } = world.timeline;
  if (leading.pendingSinceUs < 0) leading.pendingSinceUs = nowUs;
  if (nowUs - leading.pendingSinceUs < STUCK_MS * 1000) return undefined;
  const next = { members: group.next.rule.members, acks: 1 };
  return { kind: 'begin-rule-change', group: GROUP, epoch: group.epoch, next };
}

function submit(world: World, host: Host, command: Command): void {
  const { leading } = host;
  const key = `${command.kind} ${'epoch' in command ? command.epoch : ''}`;
  if (leading === undefined || leading.underWay.has(key)) return;
  const isTaken = propose(world, host, command, PROPOSAL_TIMEOUT_US, () => leading.underWay.delete(key));
  if (isTaken) leading.underWay.add(key);
}

/** Some lives want two acknowledgements where there are members for it: a policy that any leader may have. */
function asWished(world: World, state: ClusterState, command: Command): Command | undefined {
  const { acksWanted } = world.profile;
  if (acksWanted === 1) return command;
  const widened = (rule: SyncRule): SyncRule => ({
    members: rule.members,
    acks: Math.min(acksWanted, rule.members.length),
  });
  if (command.kind === 'promote') return { ...command, rule: widened(command.rule) };
  if (command.kind !== 'begin-rule-change') return command;
  const group = state.groups.get(command.group);
  const next = widened(command.next);
  if (group === undefined || sameRule(group.next?.rule ?? group.rule, next)) return undefined;
  // A change under way can only be widened, which must not ask for more acknowledgements.
  if (group.next !== undefined && group.rule.acks > 0) return command;
  return { ...command, next };
}
