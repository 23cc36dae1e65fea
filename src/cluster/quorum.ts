// Two different counts that must not be confused: a quorum of peers (for judging) and the reports that a sync rule asks for
// (for promoting). Pure arithmetic on sets.
import type { Epoch, MemberId, PeerId } from '../base/ids.ts';
import type { SyncRule } from './commands.ts';
import type { SubjectiveDown } from './state.ts';

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
 */
export function reportsSuffice(
  rule: SyncRule,
  next: SyncRule | undefined,
  cut: ReadonlySet<MemberId>,
): boolean {
  const members = new Set(next === undefined ? rule.members : [...rule.members, ...next.members]);
  const acks = next === undefined ? rule.acks : Math.min(rule.acks, next.acks);
  let missingCount = 0;
  for (const member of members) if (!cut.has(member)) missingCount += 1;
  return missingCount < acks;
}

/** Whether the rule can be met: each member once, and as many acknowledgements as there are members at most; 0 for nobody only. */
export function isRule({ members, acks, leased }: SyncRule): boolean {
  if (leased === true && acks > 0) return false;
  const isCount = Number.isSafeInteger(acks) && acks >= 0 && acks <= members.length;
  return isCount && (acks === 0) === (members.length === 0) && new Set(members).size === members.length;
}

export function sameRule(a: SyncRule, b: SyncRule): boolean {
  return (
    a.acks === b.acks &&
    a.leased === b.leased &&
    a.members.length === b.members.length &&
    a.members.every((member) => b.members.includes(member))
  );
}
