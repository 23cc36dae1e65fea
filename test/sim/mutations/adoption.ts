// Mutations of groups that are made of servers which run already.
import type { Mutation } from './types.ts';

export const ADOPTION_MUTATIONS: readonly Mutation[] = [
  {
    id: '54-unprotected-fails-over',
    title:
      'a group whose primary is being adopted, and acknowledges alone, fails over on the word of its standbys',
    file: 'src/cluster/candidate.ts',
    find: 'reportsSuffice(group.rule, group.next?.rule, cut) && !(isAsync && isPlanned)',
    replace:
      'group.toAdopt.includes(phase.primary) || (reportsSuffice(group.rule, group.next?.rule, cut) && !(isAsync && isPlanned))',
    also: [
      {
        file: 'src/cluster/apply-failover.ts',
        find: "phase.kind === 'running' && isUnprotected(group)",
        replace: 'false',
      },
      {
        file: 'src/failover/decide.ts',
        find: 'failoverObstacle(state, group, view) !== undefined',
        replace:
          '!group.toAdopt.includes(group.phase.primary) && failoverObstacle(state, group, view) !== undefined',
      },
    ],
    invariants: ['NoAcknowledgedWriteLost', 'AtMostOneAcknowledger'],
    profiles: ['adoption'],
  },
];
