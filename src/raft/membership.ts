// Which membership is in force: that of the newest `config` entry in the log, committed or not (thesis §4.1); else that of
// the snapshot; else the initial one. Keeps the positions of `config` entries, so that nothing ever searches the log.
// Must never keep a membership in force whose entry was truncated, nor forget one because it is not committed.
import { INDEX_ZERO } from './log.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
import type { Raft } from './state.ts';
import type { Entry, Membership } from './types.ts';

/** To be called with every entry appended to the log, here or by a leader. */
export function noteAppended(raft: Raft, entry: Entry): void {
  if (entry.kind !== 'config') return;
  raft.configs.push({ index: entry.index, membership: raft.codec.decode(entry.data) });
  putInForce(raft);
}

/** To be called when the log was truncated from `index` on. */
export function noteTruncated(raft: Raft, index: LogIndex): void {
  if (raft.membershipIndex < index) return;
  // mark: config-rolled-back
  while ((raft.configs.at(-1)?.index ?? INDEX_ZERO) >= index) raft.configs.pop();
  putInForce(raft);
}

/** To be called when there is a newer snapshot and the entries up to the base of the log are gone. */
export function noteCompacted(raft: Raft): void {
  const { base } = raft.log;
  while ((raft.configs[0]?.index ?? Number.POSITIVE_INFINITY) <= base.index) raft.configs.shift();
  putInForce(raft);
}

/** To be called when a snapshot took the place of the whole log. */
export function noteReplaced(raft: Raft): void {
  raft.configs.length = 0;
  putInForce(raft);
}

/** Says what is in force if that is not what was said last: once for all that a step did, and before anything is sent by it. */
export function announceMembership(raft: Raft): void {
  if (raft.membership === raft.announcedMembership) return;
  const isNews = !isSameMembership(raft.membership, raft.announcedMembership);
  raft.announcedMembership = raft.membership;
  if (isNews) raft.effects.push({ kind: 'membership', membership: raft.membership });
}

/** The membership in force at `index`, at or above the present snapshot. */
export function membershipAt(raft: Raft, index: LogIndex): Membership {
  return raft.configs.findLast((config) => config.index <= index)?.membership ?? oldestMembership(raft);
}

/** The latest membership that is known to be committed, and the index that it is known from. */
export function committedMembership(raft: Raft): {
  readonly membership: Membership;
  readonly index: LogIndex;
} {
  const config = raft.configs.findLast(({ index }) => index <= raft.commitIndex);
  const snapshotIndex = raft.snapshot?.index ?? INDEX_ZERO;
  if (config === undefined) return { membership: oldestMembership(raft), index: snapshotIndex };
  return {
    membership: config.membership,
    index: config.index > snapshotIndex ? config.index : snapshotIndex,
  };
}

/** Memberships in the log that may still be truncated, oldest first. */
export function pendingMemberships(raft: Raft): readonly Membership[] {
  return raft.configs.filter(({ index }) => index > raft.commitIndex).map(({ membership }) => membership);
}

/** What was in force before the pending change. */
export function previousMembership(raft: Raft): Membership {
  return raft.configs.at(-2)?.membership ?? oldestMembership(raft);
}

/** A change is in the log and not known to be committed: no other may be begun (thesis §4.1). */
export function isChangePending(raft: Raft): boolean {
  return raft.membershipIndex > raft.commitIndex;
}

/** A peer that was told of no membership yet: it only listens. */
export function isJoining(raft: Raft): boolean {
  return raft.membership.incarnation === 0;
}

export function isVoter(raft: Raft, peer: PeerId): boolean {
  return raft.membership.voters.includes(peer);
}

/** Voters and learners, this peer left out. */
export function othersOf(raft: Raft): readonly PeerId[] {
  const { voters, learners } = raft.membership;
  return [...voters, ...learners].filter((peer) => peer !== raft.self);
}

function putInForce(raft: Raft): void {
  const newest = raft.configs.at(-1);
  raft.membership = newest?.membership ?? oldestMembership(raft);
  raft.membershipIndex = newest?.index ?? INDEX_ZERO;
  const { incarnation } = raft.membership;
  const earlier = raft.configs.findLast((config) => config.membership.incarnation < incarnation);
  raft.earlierIncarnationIndex = earlier?.index ?? INDEX_ZERO;
}

/** Where the log holds no `config` entry. */
function oldestMembership(raft: Raft): Membership {
  return raft.snapshot?.membership ?? raft.initialMembership;
}

function isSameMembership(a: Membership, b: Membership): boolean {
  return (
    a === b ||
    (a.incarnation === b.incarnation &&
      isSameList(a.voters, b.voters) &&
      isSameList(a.learners, b.learners) &&
      a.addresses.size === b.addresses.size &&
      [...a.addresses].every(([peer, address]) => b.addresses.get(peer) === address))
  );
}

function isSameList(a: readonly PeerId[], b: readonly PeerId[]): boolean {
  return a.length === b.length && a.every((peer, position) => peer === b[position]);
}
