// Mutations of what people ask of groups and nodes: fences, pauses, removals, what is scheduled, and failovers whatever is lost.
import type { Mutation } from './types.ts';

const LOSS = ['NoAcknowledgedWriteLost', 'AtMostOneAcknowledger'] as const;

export const REQUEST_MUTATIONS: readonly Mutation[] = [
  {
    id: '48-forced-without-proof',
    title: "a failover on a person's word does not wait for proof that the old primary is stopped",
    file: 'src/cluster/candidate.ts',
    find: 'isKnownOff(phase, phase.primary) || reportsSuffice(group.rule, group.next?.rule, cut)',
    replace: 'true',
    invariants: LOSS,
    profiles: ['requests'],
  },
  {
    id: '49-counted-member-removed',
    title:
      'a node is taken out together with its place in the sync rule, while commits rest on what it holds',
    file: 'src/cluster/apply-removal.ts',
    find: 'isCounted(group, node)',
    replace: 'false',
    also: [
      {
        file: 'src/cluster/apply-removal.ts',
        find: 'withGroup(next, forgetting(group, node))',
        replace: `(() => {
          const members = group.rule.members.filter((other) => other !== member);
          const rule = { ...group.rule, members, acks: Math.min(group.rule.acks, members.length) };
          return withGroup(next, { ...forgetting(group, node), rule, next: undefined });
        })()`,
      },
    ],
    invariants: LOSS,
    profiles: ['requests'],
  },
  {
    id: '50-kept-aside-counts-as-cut',
    title:
      'a member that is fenced, paused or in maintenance counts as one that has cut its streams and reported',
    file: 'src/cluster/candidate.ts',
    find: 'new Set(others.map((report) => report.member))',
    replace: `new Set([
      ...others.map((report) => report.member),
      ...nodesOfGroup(state, group.id).flatMap(({ node, member }) =>
        member !== undefined && asideReason(group, node) !== undefined ? [member] : [],
      ),
    ])`,
    invariants: LOSS,
    profiles: ['requests'],
  },
  {
    id: '51-schedule-never-ends',
    title: 'a switchover that has come to where it was to lead stays scheduled',
    file: 'src/failover/decide.ts',
    find: 'scheduled.to === group.phase.primary',
    replace: 'false',
    invariants: ['LivenessAfterHeal'],
    profiles: ['requests'],
  },
  {
    // Stands for src/daemon/restart-runner.ts, which leaves a server alone that started later than the one that the log names.
    id: '52-restarts-whatever-runs',
    title: 'a scheduled restart is carried out again and again',
    file: 'test/sim/postgres/person-steps.ts',
    find: 'restart.serverStartedAtS !== node.startCount',
    replace: 'false',
    invariants: ['LivenessAfterHeal'],
    profiles: ['requests'],
  },
  {
    id: '53-pause-does-not-end',
    title: 'the end of a pause of a node has no effect',
    file: 'src/cluster/apply-pauses.ts',
    find: 'withGroup(state, { ...group, pausedNodes: without(group, node) })',
    replace: 'withGroup(state, group)',
    invariants: ['LivenessAfterHeal'],
    profiles: ['requests'],
  },
  {
    id: '55-site-of-running-group-promoted',
    title:
      'a group that follows no other site is promoted as if it did: nobody proves that its primary has stopped',
    file: 'src/cluster/apply-site.ts',
    find: 'promotionRefusal(group, to !== undefined)',
    replace: 'undefined',
    invariants: LOSS,
    profiles: ['requests'],
  },
];
