// Mutations of the failover protocol: of the log's rules (src/cluster, src/failover) and of what agents do by them. What agents
// do is modelled in test/sim/postgres; each of those says which production file it stands for.
import type { Mutation } from './types.ts';

const LOSS = ['NoAcknowledgedWriteLost', 'AtMostOneAcknowledger'] as const;

export const FAILOVER_MUTATIONS: readonly Mutation[] = [
  {
    id: '35-floor-ignored',
    title: 'a candidate may stand below the switch point of the last promotion',
    file: 'src/cluster/candidate.ts',
    find: 'respectsFloor(candidate, group.floor, cut)',
    replace: 'true',
    invariants: LOSS,
    profiles: ['ambushes'],
  },
  {
    id: '36-joint-rule-skipped',
    title: 'a new sync rule takes the place of the old one at once',
    file: 'src/cluster/apply-rule.ts',
    find: '{ ...group, next, absent: withoutMembers(group.absent, members) }',
    replace: '{ ...group, rule: command.next, next: undefined }',
    invariants: LOSS,
    profiles: ['failovers'],
  },
  {
    id: '37-one-report-too-few',
    title: 'a promotion goes ahead where as many members are missing as there are acknowledgements',
    file: 'src/cluster/quorum.ts',
    find: 'missingCount < acks',
    replace: 'missingCount <= acks',
    invariants: LOSS,
    profiles: ['failovers'],
  },
  {
    // Stands for src/actions/instance.ts, which keeps the cut in files that the next start reads.
    id: '38-cut-not-kept',
    title: 'a node that is cut off streams again after its agent was restarted',
    file: 'test/sim/postgres/duty-steps.ts',
    find: 'hasReported(pass, duty.group) || localMember(node) === undefined',
    replace: `(() => {
      if (localMember(node) === undefined) return true;
      if (!hasReported(pass, duty.group)) return false;
      if (agent.cutAt === undefined && node.upstream === undefined && node.role === 'standby') {
        node.upstream = node.formerUpstream;
        beginStreaming(pass.world, node, 0);
      }
      return true;
    })()`,
    invariants: LOSS,
    profiles: ['ambushes'],
  },
  {
    // Stands for src/actions/agent.ts and primary-duty.ts, which start nothing as a primary before the log was read through a leader.
    id: '39-started-from-memory',
    title: 'an old primary is started as a primary because it was one',
    file: 'test/sim/postgres/agent.ts',
    find: '(!isCaughtUp(pass))',
    replace: `(() => {
      if (isCaughtUp(pass)) return false;
      if (!node.isFit || node.endedAs !== 'primary') return true;
      const rule = node.fileNames.kind === 'any' ? node.fileNames.rule : { members: [], acks: 0 };
      const remembered = { timeline: timelineOf(node.wal), rule, next: undefined, floor: undefined, slots: [] };
      carryOut(pass, { kind: 'primary', group: GROUP, ...node.fence, ...remembered });
      return true;
    })()`,
    also: [
      {
        file: 'test/sim/postgres/duty-steps.ts',
        find: 'localMember(node) === undefined || state.nodes.get(node.name)?.member !== node.member',
        replace: 'localMember(node) === undefined',
      },
      {
        file: 'test/sim/postgres/duty-steps.ts',
        find: "(confirms(pass, 'primary', duty.epoch) !== true)",
        replace: 'pass.agent.isCaughtUp && confirms(pass, duty.kind, duty.epoch) !== true',
      },
    ],
    invariants: [...LOSS, 'NoPromotionWithoutCommittedFailover', 'AtMostOnePrimaryPerEpoch'],
    profiles: ['failovers'],
  },
  {
    // What PostgreSQL takes by itself: one more than its own. Two nodes promoted from the same timeline share a number.
    id: '41-timeline-picked-by-postgresql',
    title: 'PostgreSQL picks the timeline of a promotion, so that two share a number',
    file: 'src/failover/choose.ts',
    find: 'nextTimeline(group)',
    replace: 'timeline(candidate.timeline + 1)',
    also: [
      {
        file: 'src/cluster/apply-failover.ts',
        find: 'command.timeline > group.highestTimeline',
        replace: 'true',
      },
    ],
    invariants: [...LOSS, 'AtMostOnePrimaryPerEpoch'],
    profiles: ['failovers'],
  },
  {
    // Stands for src/actions/failover-duties.ts, which waits for the end of the replay.
    id: '42-reports-before-replay',
    title: 'a node reports what it has replayed, before it has replayed all it holds',
    file: 'test/sim/postgres/duty-steps.ts',
    find: 'if (!bringToCut(pass, duty, wasPrimary)) return true;',
    replace: `const { replayed } = node;
      if (!bringToCut(pass, duty, wasPrimary)) return true;
      node.replayed = replayed;`,
    as: 'statements',
    also: [
      {
        file: 'test/sim/postgres/duty-steps.ts',
        find: 'report(pass, duty, node.wal.length, false)',
        replace: 'report(pass, duty, node.replayed, false)',
      },
    ],
    invariants: LOSS,
    profiles: ['failovers'],
  },
  {
    // Stands for src/actions/rule-change.ts.
    id: '43-one-walsender-late',
    title: 'a sync rule is committed while one walsender still goes by the old one',
    file: 'test/sim/postgres/rule-change.ts',
    find: 'node.senders.every((sender) => hasTaken(sender, duty.rule, next.rule, change.seenAt))',
    replace:
      'node.senders.filter((sender) => !hasTaken(sender, duty.rule, next.rule, change.seenAt)).length <= 1',
    invariants: LOSS,
    profiles: ['ambushes'],
  },
  {
    // Stands for src/actions/follow-duty.ts, which gives each new data directory an id of its own.
    id: '44-member-id-kept',
    title: 'a standby that was wiped and cloned anew keeps its member id',
    file: 'test/sim/postgres/pass.ts',
    find: "makeMemberId(node.name, world.counter.toString(16).padStart(8, '0'))",
    replace: "makeMemberId(node.name, '00000001')",
    invariants: LOSS,
    profiles: ['ambushes'],
  },
  {
    // Stands for src/actions/agent.ts: neither the fence file nor a read through the leader is asked.
    id: '45-older-epoch-obeyed',
    title: 'a duty of an older epoch is obeyed after a restart',
    file: 'test/sim/postgres/agent.ts',
    find: '(duty.incarnation === fence.incarnation && duty.epoch < fence.epoch)',
    replace: 'false',
    also: [{ file: 'test/sim/postgres/agent.ts', find: '(!isCaughtUp(pass))', replace: 'false' }],
    invariants: [
      ...LOSS,
      'FenceTokenMonotonic',
      'NoPromotionWithoutCommittedFailover',
      'AtMostOnePrimaryPerEpoch',
    ],
    profiles: ['failovers'],
  },
  {
    // Stands for PostgreSQL with a slot of its own for each member, and src/actions/slots.ts.
    id: '46-half-open-connection-counts',
    title: 'a member counts twice through a connection that is half open',
    file: 'test/sim/postgres/postgres.ts',
    find: 'upstream.senders = upstream.senders.filter((other) => other.member !== member);',
    replace: '',
    as: 'statements',
    invariants: LOSS,
    profiles: ['ambushes'],
  },
  {
    id: '47-fetch-not-awaited',
    title: 'a candidate that fetches WAL is promoted as if it held that already',
    file: 'src/cluster/candidate.ts',
    find: 'comparePositions(report, candidate) > 0 && !isPassedOver(state, group, report)',
    replace:
      'phase.fetches?.some(({ node }) => node === candidate.node) !== true && comparePositions(report, candidate) > 0 && !isPassedOver(state, group, report)',
    also: [
      {
        file: 'src/cluster/candidate.ts',
        find: 'fetching !== undefined && !fetching.isOver && fetching.failed === undefined',
        replace: 'false',
      },
      {
        file: 'src/failover/decide.ts',
        find: "fetch === 'wait' ? undefined : fetch",
        replace: `(() => {
          if (fetch !== 'wait') return fetch;
          const taker = phase.reports.find(({ node }) => node === phase.fetches?.at(-1)?.node);
          return taker && promotion(state, group, phase, taker);
        })()`,
      },
    ],
    invariants: LOSS,
    profiles: ['standbys'],
  },
];
