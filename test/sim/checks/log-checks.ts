// The invariants of the log, checked from outside the core against what the peers do and what their disks hold (Raft figure 3;
// the list of the project). Each is looked at where it can first be broken, at a cost that a hundred thousand events allow.
// Must never look at what only the core believes where the disks can be asked.
import type { LogIndex, PeerId } from '../../../src/base/ids.ts';
import { lastIndex, termAt } from '../../../src/raft/log.ts';
import { majority } from '../../../src/raft/quorum.ts';
import type { Raft } from '../../../src/raft/raft.ts';
import type { Entry, Membership, RaftEffect, RaftEvent, Snapshot } from '../../../src/raft/types.ts';
import { MEMBERSHIP_CODEC } from '../cluster/bridge.ts';
import { durableTerm, durableVote, holdsDurably } from '../disk/disk.ts';
import { violated } from '../engine/violation.ts';
import type { Host, World } from '../world.ts';
import { checkChangeBegun } from './member-checks.ts';

/** What the checks remember of a life. */
export interface LogChecks {
  /** Entries by index, from 1 on, as first committed by a leader. */
  readonly committed: Entry[];
  /** The term of the leader that committed each; never falls. */
  readonly committedInTerm: number[];
  readonly leaders: Map<number, PeerId>;
  readonly votes: Map<string, PeerId>;
  /** Incarnation, term and index -> the entry and the term before it. */
  readonly links: Map<number, { readonly entry: Entry; readonly previousTerm: number }>;
  /** By place of the host. */
  readonly applied: number[];
  readonly highestTerm: number[];
  /** The same of a store that was destroyed since: its last answers may still be under way. */
  readonly ackedBeforeLoss: number[];
  /** Last entry that each store has answered for and that was not replaced since: its index and term. */
  readonly acked: { index: number; term: number }[];
  readonly commitFloor: number[];
  readonly readsAsked: Map<string, number>;
}

export function createLogChecks(hostCount: number, beginning: Snapshot): LogChecks {
  const zeros = (): number[] => Array.from({ length: hostCount }, () => 0);
  return {
    committed: [{ index: beginning.index, term: beginning.term, kind: 'noop', data: new Uint8Array(0) }],
    committedInTerm: [beginning.term],
    leaders: new Map(),
    votes: new Map(),
    links: new Map(),
    applied: zeros(),
    highestTerm: zeros(),
    acked: Array.from({ length: hostCount }, () => ({ index: 0, term: 0 })),
    ackedBeforeLoss: zeros(),
    commitFloor: zeros(),
    readsAsked: new Map(),
  };
}

/** Terms and indexes of a life stay far below these. */
const TERM_FACTOR = 65_536;
const INCARNATION_FACTOR = TERM_FACTOR * 4096;

export const keyOf = (incarnation: number, term: number, index: number): number =>
  incarnation * INCARNATION_FACTOR + term * TERM_FACTOR + index;

/** A disk is damaged: what it answered for was true when it did. */
export function noteLoss(checks: LogChecks, host: Host): void {
  checks.ackedBeforeLoss[host.place] = Math.max(
    checks.ackedBeforeLoss[host.place] as number,
    (checks.acked[host.place] as { index: number }).index,
  );
}

/** A disk that was wiped by a person's or a fault's doing begins anew. */
export function forgetDisk(checks: LogChecks, host: Host): void {
  noteLoss(checks, host);
  checks.acked[host.place] = { index: 0, term: 0 };
  checks.highestTerm[host.place] = 0;
  checks.commitFloor[host.place] = 0;
}

export function beforeStep(host: Host, raft: Raft): void {
  const { before } = host;
  const last = lastIndex(raft.log);
  before.term = raft.term;
  before.commitIndex = raft.commitIndex;
  before.wasLeader = raft.role === 'leader';
  before.lastIndex = last;
  before.lastTerm = termAt(raft.log, last) ?? 0;
  before.membership = raft.membership;
}

export function afterStep(
  world: World,
  host: Host,
  raft: Raft,
  events: readonly RaftEvent[],
  effects: readonly RaftEffect[],
): void {
  const { before } = host;
  if (raft.term < before.term)
    violated('TermMonotonic', `${host.id} fell from term ${before.term} to ${raft.term}`);
  if (raft.commitIndex < before.commitIndex)
    violated('CommitMonotonic', `${host.id} fell from ${before.commitIndex} to ${raft.commitIndex}`);
  if (raft.role === 'leader') {
    if (before.wasLeader && before.term === raft.term && before.lastIndex > raft.log.base.index) {
      if (termAt(raft.log, before.lastIndex as LogIndex) !== before.lastTerm)
        violated('LeaderAppendOnly', `${host.id} lost entry ${before.lastIndex}`);
    }
    if (!before.wasLeader || before.term !== raft.term) checkNewLeader(world, host, raft);
    if (raft.membership !== before.membership || !before.wasLeader)
      checkPendingConfigs(raft, world.logChecks.committed.length);
    if (raft.membership !== before.membership) checkChangeBegun(world, host, raft);
    if (events.some((event) => event.kind === 'tick')) checkDiskOfLeader(world, host, raft);
  }
  // Also one that made room in the same step.
  if (raft.commitIndex > before.commitIndex && (before.wasLeader || raft.role === 'leader'))
    recordCommitted(world, host, raft);
  if (raft.membership !== before.membership || effects.length > 0)
    checkMembershipInForce(host, raft, effects);
  if (effects.length > 0) checkRefusals(world, host, events, effects);
  if (events.length > 1 || effects.length > 4) checkQueues(host, raft);
}

/** Election safety, and what a new leader must hold. */
function checkNewLeader(world: World, host: Host, raft: Raft): void {
  const { leaders, committed, committedInTerm } = world.logChecks;
  const { incarnation } = raft.membership;
  const key = keyOf(incarnation, raft.term, 0);
  const known = leaders.get(key);
  if (known !== undefined && known !== host.id)
    violated('ElectionSafety', `${known} and ${host.id} lead term ${raft.term}`);
  leaders.set(key, host.id);
  if (durableTerm(host.disk) !== raft.term || durableVote(host.disk) !== host.id)
    violated(
      'VoteOncePerTermAcrossCrash',
      `${host.id} leads term ${raft.term} before its disk holds its own vote`,
    );
  // Late votes may elect a leader of a term that is over; it need not have what later terms committed. Of what it must have the
  // last one is enough: by LogMatching it brings all before it.
  let index = committed.length;
  while (index > 0 && (committedInTerm[index - 1] as number) >= raft.term) index -= 1;
  const last = committed[index - 1];
  if (last === undefined || index < raft.log.base.index) return;
  if (termAt(raft.log, last.index) !== last.term)
    violated(
      'LeaderCompleteness',
      `${host.id} leads term ${raft.term} without committed entry ${index}/${last.term}`,
    );
}

/** What a leader has just committed, against the disks of the voters it counted. */
function recordCommitted(world: World, host: Host, raft: Raft): void {
  const { committed, committedInTerm } = world.logChecks;
  const { entries, base } = raft.log;
  for (let index = host.before.commitIndex + 1; index <= raft.commitIndex; index += 1) {
    const entry = entries[index - base.index - 1];
    if (entry === undefined) continue;
    const known = committed[index - 1];
    if (known !== undefined) {
      if (!isSame(known, entry)) violated('StateMachineSafety', `two entries committed at ${index}`);
      continue;
    }
    if (index !== committed.length + 1) continue;
    committed.push(entry);
    committedInTerm.push(raft.term);
  }
  const last = entries[raft.commitIndex - base.index - 1];
  if (last !== undefined) checkDurable(world, last, raft.membership, 'CommittedIsDurableOnQuorum');
}

/** A majority holds the entry; with it, by LogMatching, all before it. */
function checkDurable(
  world: World,
  entry: Entry,
  membership: Membership,
  property: 'CommittedIsDurableOnQuorum' | 'AckedNeverLost',
): void {
  let count = 0;
  for (const voter of membership.voters) {
    const host = world.hostOf.get(voter);
    if (host === undefined) continue;
    const wasAnswered = entry.index <= (world.logChecks.ackedBeforeLoss[host.place] as number);
    if (wasAnswered || holdsDurably(host.disk, entry.index, entry.term)) count += 1;
  }
  if (count < majority(membership.voters.length))
    violated(
      property,
      `entry ${entry.index}/${entry.term} is on ${count} of ${membership.voters.length} disks`,
    );
}

export function isSame(a: Entry, b: Entry): boolean {
  return a === b || (a.term === b.term && a.kind === b.kind && a.data === b.data);
}

/** A new leader need not know yet what is committed: what is, by any leader's doing, is pending no more. */
/** Several election timeouts, by the slowest of clocks. */
const DISK_SILENCE_ELECTIONS = 4;

/** A leader whose disk does not answer makes room: what it takes on piles up behind the write. */
function checkDiskOfLeader(world: World, host: Host, raft: Raft): void {
  const dueUs = host.store?.writing?.sideDoneUs ?? Number.POSITIVE_INFINITY;
  const overdueMs = (world.timeline.nowUs - dueUs) / 1000;
  if (overdueMs > DISK_SILENCE_ELECTIONS * raft.settings.electionMs)
    violated(
      'BoundedQueues',
      `${host.id} leads on, its disk should have answered ${Math.round(overdueMs)} ms ago`,
    );
}

function checkPendingConfigs(raft: Raft, committedCount: number): void {
  let count = 0;
  const { entries, base } = raft.log;
  for (
    let at = Math.max(0, Math.max(raft.commitIndex, committedCount) - base.index);
    at < entries.length;
    at += 1
  ) {
    const entry = entries[at];
    // A recovery comes on top of whatever was pending: it commits all of it.
    if (
      entry?.kind === 'config' &&
      MEMBERSHIP_CODEC.decode(entry.data).incarnation === raft.membership.incarnation
    )
      count += 1;
  }
  if (count > 1)
    violated('AtMostOneUncommittedConfig', `${raft.self} leads with ${count} uncommitted changes`);
}

/** In force is what the newest config entry of its own log says, else its snapshot, else its configuration. */
function checkMembershipInForce(host: Host, raft: Raft, effects: readonly RaftEffect[]): void {
  const isOther = raft.membership !== host.before.membership;
  if (!isOther && !effects.some((effect) => effect.kind === 'persist' && touchesConfig(effect))) return;
  checkConfigOfLog(host, raft);
}

function touchesConfig({ entries, snapshot }: Extract<RaftEffect, { kind: 'persist' }>): boolean {
  return snapshot !== undefined || entries.some((entry) => entry.kind === 'config');
}

export function checkConfigOfLog(host: Host, raft: Raft): void {
  const newest = raft.log.entries.findLast((entry) => entry.kind === 'config');
  const expected =
    newest === undefined
      ? (raft.snapshot?.membership ?? host.initialMembership)
      : MEMBERSHIP_CODEC.decode(newest.data);
  if (!sameMembership(raft.membership, expected)) {
    violated(
      'ConfigFromDurableLog',
      `${host.id} goes by ${raft.membership.voters.join(' ')}, its log says ${expected.voters.join(' ')}`,
    );
  }
}

function sameMembership(a: Membership, b: Membership): boolean {
  return (
    a === b ||
    (a.incarnation === b.incarnation &&
      a.voters.join() === b.voters.join() &&
      a.learners.join() === b.learners.join() &&
      [...a.addresses].join() === [...b.addresses].join())
  );
}

/** What was applied here is in the log of every leader since: no append of its leader can conflict with it. */
function checkRefusals(
  world: World,
  host: Host,
  events: readonly RaftEvent[],
  effects: readonly RaftEffect[],
): void {
  const applied = world.logChecks.applied[host.place] as number;
  for (const effect of effects) {
    if (effect.kind !== 'send' || effect.message.kind !== 'append-reply' || effect.message.success) continue;
    const { hintIndex, round } = effect.message;
    // Without a hint: the sender spoke of an earlier term. One that was held back was made before what is applied by now.
    if (hintIndex === 0 || hintIndex >= applied || host.raft?.leader !== effect.to) continue;
    const isAnswer = events.some(
      (event) =>
        event.kind === 'receive' && event.message.kind === 'append-request' && event.message.round === round,
    );
    if (isAnswer)
      violated(
        'LogMatching',
        `${host.id} refuses an append as if it differed behind ${hintIndex}, and has applied ${applied}`,
      );
  }
}

function checkQueues(host: Host, raft: Raft): void {
  const { maxPendingProposals, maxInflightAppends, maxInflightBytes, maxBytesPerAppend } = raft.settings;
  if (raft.durability.held.length > maxPendingProposals)
    violated('BoundedQueues', `${host.id} holds ${raft.durability.held.length} messages`);
  if (raft.forwardedReads.size > maxPendingProposals)
    violated('BoundedQueues', `${host.id} has forwarded ${raft.forwardedReads.size} reads`);
  if (raft.leading === undefined) return;
  if (raft.leading.reads.length > maxPendingProposals)
    violated('BoundedQueues', `${host.id} keeps ${raft.leading.reads.length} reads waiting`);
  for (const [peer, progress] of raft.leading.progress) {
    if (progress.inflight.length > 2 * maxInflightAppends + 1)
      violated('BoundedQueues', `${progress.inflight.length} appends to ${peer} are under way`);
    if (progress.inflightBytes > maxInflightBytes + maxBytesPerAppend + 1024)
      violated('BoundedQueues', `${progress.inflightBytes} bytes to ${peer} are under way`);
  }
}

/** Entries handed to the replicated state: the same everywhere, each once and in order. */
export function onCommit(world: World, host: Host, entries: readonly Entry[]): void {
  const { applied, committed } = world.logChecks;
  for (const entry of entries) {
    const expected = (applied[host.place] as number) + 1;
    if (entry.index !== expected)
      violated('StateMachineSafety', `${host.id} applies ${entry.index} instead of ${expected}`);
    applied[host.place] = entry.index;
    const known = committed[entry.index - 1];
    if (known === undefined)
      violated('StateMachineSafety', `${host.id} applies ${entry.index}, which nobody committed`);
    if (!isSame(known, entry))
      violated('StateMachineSafety', `${host.id} applies another entry at ${entry.index} than was committed`);
  }
}

/** A snapshot from the leader takes the place of the state. */
export function onRestore(world: World, host: Host, snapshot: Snapshot): void {
  const { applied, committed } = world.logChecks;
  if (snapshot.index < (applied[host.place] as number))
    violated(
      'StateMachineSafety',
      `${host.id} goes back from ${applied[host.place]} to the snapshot of ${snapshot.index}`,
    );
  if (committed[snapshot.index - 1]?.term !== snapshot.term)
    violated(
      'StateMachineSafety',
      `the snapshot of ${snapshot.index} is of term ${snapshot.term}, which was not committed there`,
    );
  applied[host.place] = snapshot.index;
}

export function onRead(world: World, host: Host, readId: string, index: LogIndex): void {
  const { readsAsked } = world.logChecks;
  const least = readsAsked.get(readId);
  readsAsked.delete(readId);
  if (least !== undefined && index < least)
    violated('ReadIndexNotStale', `${host.id} may read at ${index}; ${least} was committed before it asked`);
}

/** Everything committed is still on a majority of the disks. Looked at now and then, and at the end. */
export function checkDisks(world: World, membership: Membership): void {
  const last = world.logChecks.committed.at(-1);
  if (last !== undefined) checkDurable(world, last, membership, 'AckedNeverLost');
}
