// Mutations of durability: what is answered for before the disk holds it, and which write is credited with what.
import type { Mutation } from './types.ts';

export const DURABILITY_MUTATIONS: readonly Mutation[] = [
  {
    id: '13-acknowledged-before-fsync',
    title: 'a follower answers for entries before they are durable',
    file: 'src/raft/follow.ts',
    find: 'sendAfterDurable(raft, to, reply, matchIndex)',
    replace: 'send(raft, to, reply)',
    invariants: ['AckedNeverLost', 'CommittedIsDurableOnQuorum', 'LeaderCompleteness'],
  },
  {
    id: '14-single-voter-commits-early',
    title: 'a single voter commits before it has persisted',
    file: 'src/raft/commit.ts',
    find: 'raft.durability.durableIndex',
    replace: 'raft.membership.voters.length === 1 ? lastIndex(raft.log) : raft.durability.durableIndex',
    invariants: ['CommittedIsDurableOnQuorum', 'AckedNeverLost'],
    profiles: ['few'],
  },
  {
    id: '15-counts-unflushed-no-op',
    title: 'a new leader counts its no-op before that is flushed',
    file: 'src/raft/commit.ts',
    find: 'raft.durability.durableIndex',
    replace: 'Math.max(raft.durability.durableIndex, leading.termStartIndex)',
    invariants: ['CommittedIsDurableOnQuorum', 'AckedNeverLost', 'LeaderCompleteness'],
  },
  {
    id: '16-older-completion-credited',
    title: 'a write that ends is credited with entries that were replaced meanwhile (ABA)',
    file: 'src/raft/durability.ts',
    find: 'write.lastIndex = kept;',
    replace: '',
    as: 'statements',
    also: [
      // The assertion of this implementation, which others lack.
      {
        file: 'src/raft/durability.ts',
        find: 'durability.durableIndex <= lastIndex(raft.log)',
        replace: 'true',
      },
    ],
    invariants: ['AckedNeverLost', 'CommittedIsDurableOnQuorum'],
    profiles: ['short-reigns', 'storm'],
  },
  {
    id: '17-completion-dropped',
    title: 'the end of a write is credited only where it is that of the oldest one',
    file: 'src/raft/durability.ts',
    find: 'durability.writes[0].ticket <= ticket',
    replace: 'durability.writes[0].ticket === ticket',
    invariants: ['LivenessAfterHeal', 'BoundedQueues'],
  },
  {
    // Stands for src/storage/log-write.ts, which puts both in one batch.
    id: '19-entry-before-its-term',
    title: 'entries are written first, the term they belong to afterwards',
    file: 'test/sim/raft/process.ts',
    find: 'host.store?.waiting.push(effect);',
    replace: `if (host.store !== undefined) {
        const before = host.store.waiting.at(-1) ?? host.store.writing?.effects.at(-1) ?? host.disk.state;
        const hardState = before?.hardState ?? effect.hardState;
        if (effect.entries.length > 0 && hardState.term < effect.hardState.term) {
          host.store.waiting.push({ ...effect, ticket: effect.ticket - 1, hardState });
          if (host.store.writing === undefined) startWriting(world, host);
          host.store.waiting.push({ ...effect, entries: [], snapshot: undefined });
        } else {
          host.store.waiting.push(effect);
        }
      }`,
    as: 'statements',
    invariants: ['TermMonotonic', 'VoteOncePerTermAcrossCrash', 'ElectionSafety'],
  },
  {
    id: '33-leads-on-a-hung-disk',
    title: 'heartbeats go on while the disk of the leader hangs',
    file: 'src/raft/raft.ts',
    find: 'raft.durability.stalled || !hasQuorumContact(raft, raft.leading)',
    replace: '!hasQuorumContact(raft, raft.leading)',
    invariants: ['LivenessAfterHeal', 'BoundedQueues'],
    profiles: ['disks'],
  },
];
