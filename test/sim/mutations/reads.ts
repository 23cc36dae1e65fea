// Mutations of linearizable reads.
import type { Mutation } from './types.ts';

export const READ_MUTATIONS: readonly Mutation[] = [
  {
    id: '25-read-before-own-term',
    title: 'a new leader serves reads before it has committed an entry of its own term',
    file: 'src/raft/read-index.ts',
    find: 'leading.reads.length === 0 || !hasCommittedInTerm(raft)',
    replace: 'leading.reads.length === 0',
    also: [{ file: 'src/raft/read-index.ts', find: '(!hasCommittedInTerm(raft))', replace: 'false' }],
    invariants: ['ReadIndexNotStale', 'Linearizability'],
  },
  {
    id: '26-old-heartbeat-confirms',
    title: 'the answer to an old heartbeat confirms a read that came after it',
    file: 'src/raft/heartbeat.ts',
    find: 'if (reply.round > progress.answeredRound) progress.answeredRound = reply.round;',
    replace: 'progress.answeredRound = leading.round;',
    as: 'statements',
    invariants: ['ReadIndexNotStale', 'Linearizability'],
    profiles: ['coups', 'short-reigns'],
  },
  {
    id: '27-one-index-for-a-batch',
    title: 'a read that comes while others wait to be confirmed shares their index',
    file: 'src/raft/read-index.ts',
    find: '{ readId, from, deadlineMs: deadlineMs(raft), confirm: undefined }',
    replace: `{
      readId,
      from,
      deadlineMs: deadlineMs(raft),
      confirm: leading.reads.find((other) => other.confirm !== undefined)?.confirm,
    }`,
    invariants: ['ReadIndexNotStale', 'Linearizability'],
  },
  {
    // The lease of a primary (durability `async`, src/actions/guarding.ts) has no part in these lives, which are too short for it:
    // guarding.test.ts says from when it counts. This is the same rule for a leader's reads. It is right but for the moment it counts
    // from: a majority that answered a request withholds its votes for an election timeout after the request came, so a lease from
    // the moment of sending, with a margin for clocks and none during a hand-over, would be safe.
    id: '40-lease-from-the-reply',
    title: 'a leader reads under a lease that it counts from the replies instead of the requests',
    file: 'src/raft/heartbeat.ts',
    find: 'voter === raft.self ? leading.round : (leading.progress.get(voter)?.answeredRound ?? 0)',
    replace: `voter === raft.self ||
      (leading.transfer === undefined &&
        (leading.progress.get(voter)?.match ?? 0) > 0 &&
        raft.nowMs - (leading.progress.get(voter)?.activeAtMs ?? 0) < 0.75 * raft.settings.electionMs)
        ? leading.round
        : (leading.progress.get(voter)?.answeredRound ?? 0)`,
    invariants: ['ReadIndexNotStale', 'Linearizability'],
    profiles: ['coups', 'short-reigns'],
  },
];
