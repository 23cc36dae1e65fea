// Two different counts that must not be confused: a quorum of peers (for judging) and the reports that a sync rule asks for
// (for promoting). Pure arithmetic on sets.
import type { Epoch, MemberId, PeerId } from '../base/ids.ts';
import type { SyncRule } from './commands.ts';
import { type Floor, type GroupState, type SubjectiveDown, hasUnknownRule } from './state.ts';

/** Smallest number of `voterCount` voters that is more than half. */
export function majority(voterCount: number): number {
  return Math.floor(voterCount / 2) + 1;
}

/** Objective down: a majority of the voters have standing subjective-down entries for this epoch. */
export function isObjectivelyDown(
  voters: readonly PeerId[],
  entries: readonly SubjectiveDown[],
  epoch: Epoch,
): boolean {
  const count = voters.filter((voter) =>
    entries.some((entry) => entry.peer === voter && entry.epoch === epoch),
  ).length;
  return count >= majority(voters.length);
}

/** Number of voters holding the node for down, at whatever epoch they judged it. */
export function standingDownCount(voters: readonly PeerId[], entries: readonly SubjectiveDown[]): number {
  return voters.filter((voter) => entries.some((entry) => entry.peer === voter)).length;
}

/**
 * Whether the members of `cut` prove that no further commit can be acknowledged and that one of them holds every
 * acknowledged commit: `|members \ cut| < acks`. While `next` is pending either rule may be the one in force, so
 * `|(members + next.members) \ cut| < min(acks, next.acks)`. A primary that ran alone (`acks` 0) is never proved so.
 * Under a lease nothing has to be proved: the last commits may be lost, and it is the lease that ends them, which only clocks can tell
 * (decide.ts waits for it). While a leased rule is only pending, the rule before it has to be satisfied, and the lease waited for.
 */
export function reportsSuffice(
  rule: SyncRule,
  next: SyncRule | undefined,
  cut: ReadonlySet<MemberId>,
): boolean {
  if (rule.leased === true) return true;
  if (next?.leased === true) return reportsSuffice(rule, undefined, cut);
  const members = new Set(next === undefined ? rule.members : [...rule.members, ...next.members]);
  const acks = next === undefined ? rule.acks : Math.min(rule.acks, next.acks);
  let missingCount = 0;
  for (const member of members) if (!cut.has(member)) missingCount += 1;
  return missingCount < acks;
}

/** Whether a rule from before a promotion whose switch point its own members may still lack names the member. */
export function isOfFloor(latest: Floor | undefined, member: MemberId): boolean {
  for (let floor = latest; floor !== undefined; floor = floor.before)
    if (floor.rule.members.includes(member) || floor.next?.members.includes(member) === true) return true;
  return false;
}

/** Whether the primary may be acknowledging under a lease, or begin to: another node is promoted only once that has run out. */
export function isLeased(group: Pick<GroupState, 'rule' | 'next'>): boolean {
  return group.rule.leased === true || group.next?.rule.leased === true;
}

/** Whether the rule can be met: each member once, and as many acknowledgements as there are members at most; 0 for nobody only. */
export function isRule(rule: SyncRule): boolean {
  return isWellFormed(rule) && rule.acks <= rule.members.length;
}

/** As {@link isRule}, but more acknowledgements than members are allowed: then nothing is acknowledged until others have joined. */
export function isWellFormed({ members, acks, leased }: SyncRule): boolean {
  if (leased === true && acks > 0) return false;
  const isCount = Number.isSafeInteger(acks) && acks >= 0;
  return isCount && (acks > 0 || members.length === 0) && new Set(members).size === members.length;
}

type Reign = Pick<GroupState, 'settings' | 'rule' | 'phase'>;

/** How many acknowledgements a strict group has had: after a recovery of its log as many as are wanted, for nobody knows. */
export function acksSoFar(group: Reign): number {
  return hasUnknownRule(group) ? group.settings.acks : group.rule.acks;
}

/** Of a group that is strict: the fewest acknowledgements that a rule may have, now that it had so many. */
export function fewestAcks(group: Reign): number {
  return group.settings.durability === 'strict' ? Math.min(group.settings.acks, acksSoFar(group)) : 0;
}

/**
 * Whether a member's walsender that shows a priority under `next` is sure to count at least to `next.acks`. With ANY every member has
 * priority 1, so that one may still count by `rule`, or by a change that was replaced while the primary was alone; to count further than
 * asked is harmless.
 */
export function showsCount(rule: SyncRule, next: SyncRule): boolean {
  return next.acks <= 1 || next.acks === rule.acks;
}

export function sameRule(a: SyncRule, b: SyncRule): boolean {
  return (
    a.acks === b.acks &&
    a.leased === b.leased &&
    a.members.length === b.members.length &&
    a.members.every((member) => b.members.includes(member))
  );
}
