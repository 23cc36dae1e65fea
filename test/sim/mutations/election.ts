// Mutations of elections: what is voted for, what of it is written down, and how votes are counted.
import type { Mutation } from './types.ts';

export const ELECTION_MUTATIONS: readonly Mutation[] = [
  {
    id: '01-vote-not-persisted',
    title: 'a vote is granted, but not written down',
    file: 'src/raft/election.ts',
    find: 'raft.durability.hardStateDirty = true;',
    replace: '',
    as: 'statements',
    invariants: ['VoteOncePerTermAcrossCrash', 'ElectionSafety'],
  },
  {
    // The promise waits for the first of the two writes, as that of one write would do.
    id: '02-term-and-vote-in-two-writes',
    title: 'term and vote are written one after the other, and a crash may come between',
    file: 'src/raft/durability.ts',
    find: 'durability.issuedTicket += 1;',
    replace: `durability.issuedTicket += 1;
      if (hardStateDirty && raft.votedFor !== undefined) {
        const { issuedTicket: ticket, durableIndex } = durability;
        durability.writes.push({ ticket, issuedAtMs: raft.nowMs, snapshotBytes: 0, lastIndex: durableIndex });
        const hardState = { term: raft.term, votedFor: undefined };
        raft.effects.push({ kind: 'persist', ticket, hardState, entries: [], snapshot: undefined });
        durability.issuedTicket += 1;
      }`,
    as: 'statements',
    also: [
      {
        file: 'src/raft/durability.ts',
        find: 'durability.hardStateTicket = durability.issuedTicket',
        replace: `durability.hardStateTicket = durability.issuedTicket - (raft.votedFor === undefined ? 0 : 1)`,
      },
    ],
    invariants: ['VoteOncePerTermAcrossCrash', 'ElectionSafety'],
  },
  {
    id: '03-vote-erased-on-step-down',
    title: 'a step-down within a term forgets the vote of that term',
    file: 'src/raft/role.ts',
    find: "raft.role = 'follower';",
    replace: `raft.role = 'follower';
      if (newTerm === before.term && raft.votedFor !== undefined) {
        raft.votedFor = undefined;
        raft.durability.hardStateDirty = true;
      }`,
    as: 'statements',
    invariants: ['VoteOncePerTermAcrossCrash', 'ElectionSafety'],
  },
  {
    id: '04a-pre-vote-counted-as-vote',
    title: 'the reply to a pre-vote counts as a vote of the term it asked for',
    file: 'src/raft/election.ts',
    find: "reply.preVote !== (raft.role === 'pre-candidate')",
    replace: "!reply.preVote && raft.role === 'pre-candidate'",
    also: [
      {
        file: 'src/raft/election.ts',
        find: 'reply.preVote && reply.granted ? raft.term + 1 : raft.term',
        replace:
          "reply.preVote && reply.granted && raft.role === 'pre-candidate' ? raft.term + 1 : raft.term",
      },
    ],
    invariants: ['ElectionSafety', 'LeaderCompleteness', 'LogMatching', 'StateMachineSafety'],
  },
  {
    id: '04b-pre-vote-resets-vote',
    title: 'granting a pre-vote resets the vote of the present term',
    file: 'src/raft/election.ts',
    find: "send(raft, from, { kind: 'vote-reply', term: request.term, preVote: true, granted: true });",
    replace: `send(raft, from, { kind: 'vote-reply', term: request.term, preVote: true, granted: true });
      if (raft.votedFor !== undefined) {
        raft.votedFor = undefined;
        raft.durability.hardStateDirty = true;
      }`,
    as: 'statements',
    invariants: ['VoteOncePerTermAcrossCrash', 'ElectionSafety'],
  },
  {
    id: '05-own-vote-not-recorded',
    title: 'a candidate counts its own vote without recording it',
    file: 'src/raft/role.ts',
    find: 'enterTerm(raft, term(raft.term + 1), raft.self);',
    replace: 'enterTerm(raft, term(raft.term + 1), undefined);',
    as: 'statements',
    also: [
      // The assertion of this implementation, which others lack.
      { file: 'src/raft/role.ts', find: 'raft.votedFor === raft.self', replace: 'true' },
    ],
    invariants: ['VoteOncePerTermAcrossCrash', 'ElectionSafety'],
  },
  {
    // Votes are kept by voter; a mere count is what this makes of them.
    id: '06-duplicate-votes-counted',
    title: 'a vote that arrives twice counts twice',
    file: 'src/raft/election.ts',
    find: 'if (!raft.ballot.has(from)) raft.ballot.set(from, reply.granted);',
    replace: `const { ballot } = raft;
      const counted = ballot.has(from) ? raft.membership.voters.find((voter) => !ballot.has(voter)) : from;
      if (counted !== undefined) ballot.set(counted, reply.granted);`,
    as: 'statements',
    invariants: ['ElectionSafety', 'LeaderCompleteness', 'LogMatching', 'StateMachineSafety'],
    profiles: ['echoes'],
  },
  {
    id: '07-logs-compared-by-index',
    title: 'the longer log wins, whatever its last term',
    file: 'src/raft/log.ts',
    find: 'lastLogTerm > ownTerm || (lastLogTerm === ownTerm && index >= lastIndex(log))',
    replace: 'index >= lastIndex(log)',
    invariants: ['LeaderCompleteness', 'StateMachineSafety', 'AckedNeverLost'],
    profiles: ['short-reigns', 'storm'],
  },
  {
    id: '31a-pre-vote-reply-local-term',
    title: 'a granted pre-vote speaks for the term of the voter, and is taken for an old one',
    file: 'src/raft/election.ts',
    find: "{ kind: 'vote-reply', term: request.term, preVote: true, granted: true }",
    replace: "{ kind: 'vote-reply', term: raft.term, preVote: true, granted: true }",
    invariants: ['LivenessAfterHeal'],
  },
  {
    id: '31b-pre-vote-rejection-ignored',
    title: 'a pre-candidate does not learn of a higher term from a rejection',
    file: 'src/raft/raft.ts',
    find: "message.kind === 'vote-reply' && message.preVote && message.granted",
    replace: "message.kind === 'vote-reply' && message.preVote",
    invariants: ['LivenessAfterHeal'],
  },
];
