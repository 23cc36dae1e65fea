// Mutations of snapshots and of the replicated state: what stands for the log, and what is applied of it.
import type { Mutation } from './types.ts';

export const SNAPSHOT_MUTATIONS: readonly Mutation[] = [
  {
    id: '20-conflicting-tail-kept',
    title: 'a snapshot is installed, and what lay behind it in another log is kept',
    file: 'src/raft/install.ts',
    find: 'restartAt(raft.log, base);',
    replace: `const tail = raft.log.entries.filter((entry) => entry.index > base.index);
      restartAt(raft.log, base);
      raft.log.entries.push(...tail);`,
    as: 'statements',
    invariants: ['LogMatching', 'LeaderCompleteness', 'StateMachineSafety', 'AckedNeverLost'],
  },
  {
    // The log does not know the term of an entry it has compacted away; any term does for the bug.
    id: '21-own-snapshot-rewinds',
    title: 'a snapshot of our own state that ends after one was installed takes its place',
    file: 'src/raft/snapshot.ts',
    find: 'index <= (raft.snapshot?.index ?? 0)',
    replace: 'index === raft.snapshot?.index',
    also: [
      {
        file: 'src/raft/snapshot.ts',
        find: 'termAt(raft.log, index)',
        replace: 'termAt(raft.log, index) ?? raft.log.base.term',
      },
    ],
    invariants: ['CommitMonotonic', 'StateMachineSafety', 'AckedNeverLost'],
  },
  {
    id: '22-snapshot-keeps-stale-membership',
    title: 'a snapshot keeps the membership of the one before',
    file: 'src/raft/snapshot.ts',
    find: 'membershipAt(raft, index)',
    replace: 'raft.snapshot?.membership ?? raft.initialMembership',
    invariants: [
      'ConfigFromDurableLog',
      'ElectionSafety',
      'LeaderCompleteness',
      'CommittedIsDurableOnQuorum',
    ],
    profiles: ['members'],
  },
  {
    // One page of what was committed is handed over, and the next begins where the whole of it ended.
    id: '28-apply-skips-when-paging',
    title: 'what does not fit on a page of committed entries is never applied',
    file: 'src/raft/commit.ts',
    find: 'entriesBetween(raft.log, from, index)',
    replace: 'entriesBetween(raft.log, from, index).slice(0, 16)',
    invariants: ['StateMachineSafety', 'Linearizability'],
  },
  {
    // Stands for src/daemon/replica.ts, which writes the state down at the index it says.
    id: '29-applied-index-not-atomic',
    title:
      'a snapshot holds the state of the moment it is written in, under the index of the moment it was due',
    file: 'test/sim/raft/process.ts',
    find: "{ kind: 'snapshot-taken', nowMs: 0, index, data: encodeState(replica.state) }",
    replace: `{
      kind: 'snapshot-taken',
      nowMs: 0,
      index,
      get data() {
        return encodeState(host.replica?.state ?? replica.state);
      },
    }`,
    invariants: ['StateMachineSafety', 'ExactlyOncePerSession', 'Linearizability'],
  },
  {
    id: '34-retry-applied-twice',
    title: 'a proposal that was tried again is applied again',
    file: 'src/cluster/apply-peers.ts',
    find: 'sequence < settled.floor || settled.done.includes(sequence)',
    replace: 'false',
    invariants: ['ExactlyOncePerSession', 'Linearizability'],
  },
];
