// Mutations of log replication: what is appended, what is committed, and how much is sent.
import type { Mutation } from './types.ts';

export const REPLICATION_MUTATIONS: readonly Mutation[] = [
  {
    id: '08-commits-earlier-term',
    title: 'entries of an earlier term are committed by counting copies',
    file: 'src/raft/commit.ts',
    find: '!matchesAt(raft.log, candidate, raft.term)',
    replace: 'false',
    invariants: ['LeaderCompleteness', 'StateMachineSafety', 'AckedNeverLost'],
    profiles: ['coups'],
  },
  {
    id: '09-commits-unverified-tail',
    title: 'a follower commits up to the end of its log instead of the last verified index',
    file: 'src/raft/follow.ts',
    find: 'advanceFollowerCommit(raft, request.commitIndex, verified)',
    replace: 'advanceFollowerCommit(raft, request.commitIndex, lastIndex(raft.log))',
    also: [
      // A heartbeat tells no more than the follower is known to hold: that is the last verified index, too.
      {
        file: 'src/raft/heartbeat.ts',
        find: 'Math.min(raft.commitIndex, progress.match)',
        replace: 'raft.commitIndex',
      },
      { file: 'src/raft/follow.ts', find: 'request.commitIndex <= lastIndex(raft.log)', replace: 'true' },
      {
        file: 'src/raft/follow.ts',
        find: 'advanceFollowerCommit(raft, request.commitIndex, request.commitIndex)',
        replace: 'advanceFollowerCommit(raft, request.commitIndex, lastIndex(raft.log))',
      },
    ],
    invariants: ['StateMachineSafety', 'LogMatching', 'LeaderCompleteness'],
  },
  {
    // What is committed here is spared, as an assertion would end the process.
    id: '10-truncates-matching-entries',
    title: 'a late append removes entries that match',
    file: 'src/raft/follow.ts',
    find: 'matchesAt(raft.log, entry.index, entry.term)',
    replace: 'entry.index <= raft.commitIndex && matchesAt(raft.log, entry.index, entry.term)',
    invariants: ['AckedNeverLost', 'CommittedIsDurableOnQuorum', 'LeaderCompleteness', 'StateMachineSafety'],
  },
  {
    id: '11-compacted-prev-is-conflict',
    title: 'an append that follows a compacted entry is refused as a conflict',
    file: 'src/raft/follow.ts',
    find: 'request.prevIndex >= base.index && !matchesAt(raft.log, request.prevIndex, request.prevTerm)',
    replace: '!matchesAt(raft.log, request.prevIndex, request.prevTerm)',
    also: [
      // The hint lies below the base, too.
      {
        file: 'src/raft/follow.ts',
        find: 'termAt(raft.log, hintIndex)',
        replace: 'termAt(raft.log, hintIndex) ?? raft.log.base.term',
      },
    ],
    invariants: ['LivenessAfterHeal', 'LogMatching'],
  },
  {
    // What would leave a hole is dropped, since this log cannot hold one; what was sent is answered for all the same.
    id: '12-missing-term-matches',
    title: 'the term of a missing entry is read as 0, and 0 matches',
    file: 'src/raft/follow.ts',
    find: '!matchesAt(raft.log, request.prevIndex, request.prevTerm)',
    replace: '![0, request.prevTerm].includes(termAt(raft.log, request.prevIndex) ?? 0)',
    also: [
      {
        file: 'src/raft/follow.ts',
        find: 'takeEntries(raft, request.entries);',
        replace: 'if (request.prevIndex <= lastIndex(raft.log)) takeEntries(raft, request.entries);',
        as: 'statements',
      },
      {
        file: 'src/raft/follow.ts',
        find: 'advanceFollowerCommit(raft, request.commitIndex, verified);',
        replace: 'advanceFollowerCommit(raft, request.commitIndex, Math.min(verified, lastIndex(raft.log)));',
        as: 'statements',
      },
      {
        file: 'src/raft/follow.ts',
        find: 'sendAfterDurable(raft, to, reply, matchIndex);',
        replace: 'sendAfterDurable(raft, to, reply, Math.min(matchIndex, lastIndex(raft.log)));',
        as: 'statements',
      },
    ],
    invariants: ['AckedNeverLost', 'CommittedIsDurableOnQuorum', 'LeaderCompleteness', 'StateMachineSafety'],
  },
  {
    // The commit index is computed from the match indexes alone: nothing else kept it from going back.
    id: '18-match-moves-back',
    title: 'a stale reply takes the match index of a follower back, and the commit index with it',
    file: 'src/raft/progress.ts',
    find: 'matchIndex < progress.match',
    replace: 'false',
    also: [
      {
        file: 'src/raft/commit.ts',
        find: 'candidate <= raft.commitIndex',
        replace: 'candidate === raft.commitIndex',
      },
    ],
    invariants: ['CommitMonotonic', 'StateMachineSafety', 'LivenessAfterHeal'],
  },
  {
    id: '30-flow-control-leaks',
    title: 'what was answered for is not given back to the budget of bytes under way',
    file: 'src/raft/progress.ts',
    find: 'progress.inflightBytes -= progress.inflight[answered]?.bytes ?? 0;',
    replace: '',
    as: 'statements',
    invariants: ['LivenessAfterHeal', 'BoundedQueues'],
  },
  {
    id: '32-stuck-in-probing',
    title: 'the answer that shows a follower to be caught up leaves it in probing',
    file: 'src/raft/replicate.ts',
    find: 'recordMatch(progress, reply.matchIndex);',
    replace: `if (progress.mode === 'probe' && reply.matchIndex === lastIndex(raft.log)) {
        progress.match = reply.matchIndex;
        progress.next = logIndex(reply.matchIndex + 1);
        progress.inflight = progress.inflight.slice(-1);
        progress.inflightBytes = progress.inflight[0]?.bytes ?? 0;
      } else {
        recordMatch(progress, reply.matchIndex);
      }`,
    as: 'statements',
    invariants: ['LivenessAfterHeal'],
  },
];
