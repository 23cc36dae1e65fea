// What must hold whatever happens, checked from outside the core against what the peers did and what their disks hold.
// Each check names the property it stands for (Raft figure 3; RAFT.md). Never used outside tests.
import type { LogIndex, PeerId, Term } from '../../base/ids.ts';
import { lastIndex, termAt } from '../log.ts';
import { majority } from '../quorum.ts';
import type { Raft } from '../state.ts';
import type { Entry, Membership, RaftEffect, RaftEvent, RaftMessage, Snapshot } from '../types.ts';
import { diskLastIndex, diskTermAt } from './disk.ts';
import type { Disk } from './disk.ts';
import { createMembershipInvariants } from './membership-invariants.ts';
import { applyEntries, EMPTY_STATE } from './state-machine.ts';
import type { AppliedState } from './state-machine.ts';

class InvariantViolation extends Error {
  override readonly name = 'InvariantViolation';
}

export interface Observed {
  readonly id: PeerId;
  readonly disk: Disk;
  readonly initialMembership: Membership;
  readonly raft: Raft | undefined;
  readonly state: AppliedState;
}

export interface Invariants {
  /** Before and after every step. */
  beforeStep(raft: Raft): void;
  afterStep(peer: Observed, raft: Raft, events: readonly RaftEvent[], effects: readonly RaftEffect[]): void;
  /** At the moment an effect is carried out. */
  onSend(from: Observed, message: RaftMessage, to: PeerId): void;
  onCommit(peer: Observed, entries: readonly Entry[]): void;
  onRestore(peer: Observed, snapshot: Snapshot): void;
  onRestart(peer: Observed, raft: Raft): void;
  onReadAsked(readId: string): void;
  onReadReady(readId: string, index: LogIndex): void;
  onReadRefused(readId: string): void;
  onProposalRefused(proposalId: string): void;
  /** Every committed entry is still on a majority of the disks. */
  checkDisks(): void;
  committedCount(): number;
  committedMembership(): Membership;
  isCommitted(proposalId: string): boolean;
  wasRefused(readId: string): boolean;
  openReads(): readonly string[];
  forgetReadsOf(prefix: string): void;
}

export function createInvariants(peers: readonly Observed[], initial: Membership): Invariants {
  const leaders = new Map<Term, PeerId>();
  const votes = new Map<string, PeerId>();
  const links = new Map<string, { previousTerm: Term; data: string }>();
  const committed: Entry[] = [];
  /** The term of the peer that was first seen to commit it: that of the leader, or later. */
  const committedInTerm: number[] = [];
  /** The membership in force where it was first seen to be committed. */
  const committers: Membership[] = [];
  const committedIds = new Set<string>();
  const refusedIds = new Set<string>();
  /** What the replicated state is after all that is committed. */
  let latest = EMPTY_STATE;
  const askedAt = new Map<string, number>();
  const refusedReads = new Set<string>();
  const matches = new Map<string, number>();
  let before = { commitIndex: 0, term: 0, isLeader: false, lastIndex: 0, lastTerm: 0 as number | undefined };

  const fail = (property: string, detail: string): never => {
    throw new InvariantViolation(`${property}: ${detail}`);
  };
  const memberships = createMembershipInvariants(initial, fail);
  const holds = (disk: Disk, entry: Entry): boolean =>
    entry.index <= (disk.snapshot?.index ?? 0) || diskTermAt(disk, entry.index) === entry.term;
  const isDurable = (entry: Entry, { voters }: Membership): boolean =>
    peers.filter((peer) => voters.includes(peer.id) && holds(peer.disk, entry)).length >=
    majority(voters.length);
  /** On a majority of those it was committed by, or, once there is a later membership, of those. */
  const checkDurable = (entry: Entry, committedBy: Membership): void => {
    if (!isDurable(entry, committedBy) && !isDurable(entry, memberships.committed()))
      fail('CommittedIsDurableOnQuorum', `entry ${entry.index} is on too few disks`);
  };

  /** Term and predecessor's term determine an entry for ever; by induction two logs that share one share all before it. */
  const checkLink = (raft: Raft, entry: Entry): void => {
    const key = `${entry.term}:${entry.index}`;
    const previousTerm = termAt(raft.log, (entry.index - 1) as LogIndex);
    if (previousTerm === undefined) return;
    const known = links.get(key);
    const data = textOf(entry);
    if (known === undefined) links.set(key, { previousTerm, data });
    else if (known.previousTerm !== previousTerm || known.data !== data)
      fail('LogMatching', `two entries ${key} on ${raft.self}`);
  };

  const checkLeader = (peer: Observed, raft: Raft): void => {
    const known = leaders.get(raft.term);
    if (known === raft.self) return;
    if (known !== undefined) fail('ElectionSafety', `${known} and ${raft.self} lead term ${raft.term}`);
    leaders.set(raft.term, raft.self);
    const { hardState } = peer.disk;
    if (hardState.term !== raft.term || hardState.votedFor !== raft.self) {
      fail('DurableBeforeAnswer', `${raft.self} leads term ${raft.term} before its disk holds its own vote`);
    }
    // Late votes may still elect a leader of a term that is over; it need not have what later terms committed.
    for (const [position, entry] of committed.entries()) {
      const isEarlier = (committedInTerm[position] ?? 0) < raft.term;
      const isCompacted = entry.index <= raft.log.base.index;
      if (isEarlier && !isCompacted && termAt(raft.log, entry.index) !== entry.term) {
        fail(
          'LeaderCompleteness',
          `${raft.self} leads term ${raft.term} without committed entry ${entry.index}`,
        );
      }
    }
  };

  /** A leader makes room in time when its disk or its peers do not answer. Looked at on ticks, when it can know. */
  const checkFitToLead = (raft: Raft): void => {
    const { electionMs } = raft.settings;
    const oldest = raft.durability.writes[0];
    if (oldest !== undefined && raft.nowMs - oldest.issuedAtMs > 5 * electionMs)
      fail('StalledDoesNotLead', raft.self);
    const heard = [...(raft.leading?.progress ?? [])].filter(
      ([id, progress]) =>
        raft.membership.voters.includes(id) && raft.nowMs - progress.activeAtMs < 2 * electionMs,
    );
    const { voters } = raft.membership;
    if (heard.length + (voters.includes(raft.self) ? 1 : 0) < majority(voters.length))
      fail('LeaderHasContact', `${raft.self} hears ${heard.length} voters`);
  };

  const checkFlowControl = (raft: Raft): void => {
    const { maxInflightAppends, maxPendingProposals } = raft.settings;
    for (const [peer, progress] of raft.leading?.progress ?? []) {
      const key = `${raft.self}:${raft.term}:${peer}:${progress.firstRound}`;
      if (progress.match < (matches.get(key) ?? 0))
        fail('MatchMonotonic', `${peer} fell to ${progress.match}`);
      matches.set(key, progress.match);
      if (progress.match >= progress.next)
        fail('ProgressOrder', `${peer}: match ${progress.match}, next ${progress.next}`);
      if (progress.inflight.length > 2 * maxInflightAppends + 1)
        fail('BoundedQueues', `${progress.inflight.length} appends in flight`);
    }
    if (raft.durability.held.length > maxPendingProposals)
      fail('BoundedQueues', `${raft.durability.held.length} messages held`);
  };

  return {
    beforeStep: (raft) => {
      const last = lastIndex(raft.log);
      const isLeader = raft.role === 'leader';
      before = {
        commitIndex: raft.commitIndex,
        term: raft.term,
        isLeader,
        lastIndex: last,
        lastTerm: termAt(raft.log, last),
      };
    },
    afterStep: (peer, raft, events, effects) => {
      if (raft.commitIndex < before.commitIndex)
        fail('CommitMonotonic', `${raft.self}: ${before.commitIndex} -> ${raft.commitIndex}`);
      if (raft.term < before.term) fail('TermMonotonic', `${raft.self}: ${before.term} -> ${raft.term}`);
      if (before.isLeader && raft.role === 'leader' && raft.term === before.term) {
        const kept = termAt(raft.log, before.lastIndex as LogIndex);
        if (kept !== before.lastTerm && before.lastIndex >= raft.log.base.index)
          fail('LeaderAppendOnly', `${raft.self} lost entry ${before.lastIndex}`);
      }
      for (const effect of effects) {
        if (effect.kind === 'persist') for (const entry of effect.entries) checkLink(raft, entry);
      }
      if (raft.role === 'leader') {
        checkLeader(peer, raft);
        const isChanged = effects.some(({ kind }) => kind === 'membership');
        if (!isChanged && events.some((event) => event.kind === 'tick')) checkFitToLead(raft);
      }
      checkFlowControl(raft);
      memberships.afterStep(raft, effects, committed.length + countCommitted(effects, committed.length));
    },
    onSend: (from, message, to) => {
      const { disk } = from;
      const isPreVote = (message.kind === 'vote-request' || message.kind === 'vote-reply') && message.preVote;
      if (!isPreVote && message.term > disk.hardState.term)
        fail('DurableBeforeAnswer', `${from.id} spoke of term ${message.term} too early`);
      if (
        message.kind === 'append-reply' &&
        message.success &&
        message.term === disk.hardState.term &&
        message.matchIndex > diskLastIndex(disk)
      ) {
        fail(
          'DurableBeforeAnswer',
          `${from.id} answered for entry ${message.matchIndex}, its disk ends at ${diskLastIndex(disk)}`,
        );
      }
      const candidate = votedIn(message, from.id, to);
      if (candidate === undefined) return;
      const key = `${from.id}:${message.term}`;
      const known = votes.get(key) ?? candidate;
      if (known !== candidate)
        fail(
          'VoteOncePerTermAcrossCrash',
          `${from.id} voted for ${known} and ${candidate} in term ${message.term}`,
        );
      votes.set(key, candidate);
      if (disk.hardState.term === message.term && disk.hardState.votedFor !== candidate) {
        fail('DurableBeforeAnswer', `${from.id} voted for ${candidate} before its disk held the vote`);
      }
    },
    onCommit: (peer, entries) => {
      for (const entry of entries) {
        const known = committed[entry.index - 1];
        if (known !== undefined) {
          if (known.term !== entry.term || textOf(known) !== textOf(entry))
            fail('StateMachineSafety', `two entries committed at ${entry.index}`);
          continue;
        }
        const committedBy = peer.raft?.membership ?? initial;
        checkDurable(entry, committedBy);
        committers.push(committedBy);
        latest = applyEntries(latest, [entry]);
        memberships.onFirstCommit(entry, latest.digest);
        committed.push(entry);
        committedInTerm.push(peer.raft?.term ?? entry.term);
        const id = textOf(entry);
        if (entry.kind === 'command') committedIds.add(id);
        if (refusedIds.has(id)) fail('RefusedIsNeverCommitted', id);
      }
    },
    onRestore: (peer, snapshot) => {
      if (snapshot.index <= peer.state.index)
        fail('StateMachineSafety', `${peer.id} went back from ${peer.state.index} to ${snapshot.index}`);
      memberships.onRestore(snapshot);
    },
    onRestart: (peer, raft) => memberships.onRestart(raft, peer.initialMembership),
    onReadAsked: (readId) => askedAt.set(readId, committed.length),
    onReadReady: (readId, index) => {
      const least = askedAt.get(readId);
      if (least === undefined) fail('ReadAnsweredOnce', readId);
      else if (index < least)
        fail('ReadIndexNotStale', `${readId} got ${index}, ${least} was committed before it was asked`);
      askedAt.delete(readId);
    },
    onReadRefused: (readId) => {
      if (!askedAt.delete(readId)) fail('ReadAnsweredOnce', readId);
      refusedReads.add(readId);
    },
    onProposalRefused: (proposalId) => {
      refusedIds.add(proposalId);
      if (committedIds.has(proposalId)) fail('RefusedIsNeverCommitted', proposalId);
    },
    checkDisks: () => {
      for (const [position, entry] of committed.entries())
        checkDurable(entry, committers[position] ?? initial);
    },
    committedCount: () => committed.length,
    committedMembership: () => memberships.committed(),
    isCommitted: (proposalId) => committedIds.has(proposalId),
    wasRefused: (readId) => refusedReads.has(readId),
    openReads: () => [...askedAt.keys()],
    forgetReadsOf: (prefix) => {
      for (const readId of askedAt.keys()) if (readId.startsWith(prefix)) askedAt.delete(readId);
    },
  };
}

/** How many entries after the first `count` these effects commit. */
function countCommitted(effects: readonly RaftEffect[], count: number): number {
  const last = effects.findLast((effect) => effect.kind === 'commit');
  const index = last?.kind === 'commit' ? (last.entries.at(-1)?.index ?? 0) : 0;
  return Math.max(0, index - count);
}

/** For whom this message is a vote, if it is one. Asking for votes means having voted for oneself. */
function votedIn(message: RaftMessage, from: PeerId, to: PeerId): PeerId | undefined {
  if (message.kind === 'vote-request' && !message.preVote) return from;
  return message.kind === 'vote-reply' && !message.preVote && message.granted ? to : undefined;
}

const decoder = new TextDecoder();
function textOf(entry: Entry): string {
  return decoder.decode(entry.data);
}
