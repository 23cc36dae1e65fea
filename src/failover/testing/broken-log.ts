// Logs that accept what they must not: each breaks one rule of apply, to see that the model notices. Never used outside tests.
import type { LogIndex } from '../../base/ids.ts';
import { type ApplyResult, apply } from '../../cluster/apply.ts';
import type { Command, Envelope } from '../../cluster/commands.ts';
import type { ClusterState, GroupState } from '../../cluster/state.ts';
import type { Apply } from './life-options.ts';
import { GROUP } from './life-parts.ts';

const change = (state: ClusterState, with_: (group: GroupState) => GroupState): ClusterState => {
  const group = state.groups.get(GROUP);
  return group === undefined ? state : { ...state, groups: new Map([[GROUP, with_(group)]]) };
};

const onlyFor =
  (
    kind: Command['kind'],
    broken: (state: ClusterState, index: LogIndex, envelope: Envelope) => ApplyResult,
  ): Apply =>
  (state, index, envelope) =>
    envelope.command.kind === kind ? broken(state, index, envelope) : apply(state, index, envelope);

/** After a promotion nobody asks whether its switch point was reached. */
export const floorIgnored: Apply = onlyFor('promote', (state, index, envelope) => {
  const result = apply(state, index, envelope);
  return { ...result, state: change(result.state, (group) => ({ ...group, floor: undefined })) };
});

/** The older promotions that a floor stands on are forgotten. */
export const nestedFloorIgnored: Apply = onlyFor('promote', (state, index, envelope) => {
  const result = apply(state, index, envelope);
  const flatten = (group: GroupState): GroupState => ({
    ...group,
    floor: group.floor && { ...group.floor, before: undefined },
  });
  return { ...result, state: change(result.state, flatten) };
});

/** A failover during a change of the rule asks for the present rule only. */
export const pendingRuleIgnored: Apply = onlyFor('promote', (state, index, envelope) =>
  apply(
    change(state, (group) => ({ ...group, next: undefined })),
    index,
    envelope,
  ),
);

/** A change of the rule counts before the primary has confirmed it. */
export const jointPhaseSkipped: Apply = onlyFor('begin-failover', (state, index, envelope) =>
  apply(
    change(state, (group) =>
      group.next === undefined ? group : { ...group, rule: group.next.rule, next: undefined },
    ),
    index,
    envelope,
  ),
);

/** One report fewer than needed is taken for enough: `|members \ Q| <= acks`. */
export const oneReportFewer: Apply = onlyFor('promote', (state, index, envelope) => {
  const acks = (by: number) => (group: GroupState) => ({
    ...group,
    rule: { ...group.rule, acks: group.rule.acks + by },
  });
  const result = apply(change(state, acks(1)), index, envelope);
  return result.refused === undefined ? result : { ...result, state: change(result.state, acks(-1)) };
});

/** Any node that reported may be promoted, not only the best of them. */
export const anyCandidate: Apply = onlyFor('promote', (state, index, envelope) => {
  const { command } = envelope;
  const phase = state.groups.get(GROUP)?.phase;
  const chosen =
    phase?.kind === 'fencing' && command.kind === 'promote'
      ? phase.reports.find((report) => report.node === command.candidate)
      : undefined;
  if (phase?.kind !== 'fencing' || chosen === undefined) return apply(state, index, envelope);
  const level = phase.reports.map((report) => ({
    ...report,
    timeline: chosen.timeline,
    position: chosen.position,
  }));
  const result = apply(
    change(state, (group) => ({ ...group, phase: { ...phase, reports: level } })),
    index,
    envelope,
  );
  return result.refused === undefined
    ? result
    : { ...result, state: change(result.state, (group) => ({ ...group, phase })) };
});

/** Reports and outcomes of an earlier epoch are taken for the present one. */
export const oldEpochAccepted: Apply = (state, index, envelope) => {
  const epoch = state.groups.get(GROUP)?.epoch;
  const { command } = envelope;
  const isLate =
    command.kind === 'cut-report' || command.kind === 'commit-rule' || command.kind === 'promoted';
  return apply(
    state,
    index,
    isLate && epoch !== undefined ? { ...envelope, command: { ...command, epoch } } : envelope,
  );
};

/** A change between two rules may be replaced before it has ended. */
export const pendingRuleReplaced: Apply = onlyFor('begin-rule-change', (state, index, envelope) => {
  const result = apply(
    change(state, (group) => ({ ...group, next: undefined })),
    index,
    envelope,
  );
  return result.refused === undefined
    ? result
    : {
        ...result,
        state: change(result.state, (group) => ({ ...group, next: state.groups.get(GROUP)?.next })),
      };
});

/** A promotion may take a number that was given out before. */
export const timelineRepeated: Apply = onlyFor('promote', (state, index, envelope) => {
  const result = apply(state, index, envelope);
  const last = state.groups.get(GROUP)?.highestTimeline;
  return last === undefined
    ? result
    : { ...result, state: change(result.state, (group) => ({ ...group, highestTimeline: last })) };
});
