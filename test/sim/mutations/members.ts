// Mutations of membership changes.
import type { Mutation } from './types.ts';

export const MEMBER_MUTATIONS: readonly Mutation[] = [
  {
    id: '23-change-before-own-term',
    title:
      'a leader changes the membership before it has committed an entry of its own term (the bug of 2015)',
    file: 'src/raft/change.ts',
    find: '!hasCommittedInTerm(raft)',
    replace: 'false',
    invariants: ['AtMostOneUncommittedConfig', 'ElectionSafety', 'LeaderCompleteness', 'StateMachineSafety'],
    profiles: ['members'],
  },
  {
    id: '24-uncommitted-config-forgotten',
    title: 'a membership that is not committed yet is forgotten on restart',
    file: 'src/raft/raft.ts',
    find: 'for (const entry of log.entries) noteAppended(raft, entry);',
    replace:
      'for (const entry of log.entries) if (entry.index <= raft.commitIndex) noteAppended(raft, entry);',
    as: 'statements',
    invariants: ['ConfigFromDurableLog', 'ElectionSafety', 'LeaderCompleteness'],
    profiles: ['members'],
  },
];
