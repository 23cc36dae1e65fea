// A log that takes out whom it must not, to see that the model notices. Never used outside tests.
import { apply } from '../../cluster/apply.ts';
import type { Apply } from './life-options.ts';
import { GROUP } from './life-parts.ts';

/** A member that acknowledged commits may rest on is taken out of the rule together with the group. */
export const memberRemoved: Apply = (state, index, envelope) => {
  const { command } = envelope;
  const group = state.groups.get(GROUP);
  const member = command.kind === 'remove-node' ? state.nodes.get(command.node)?.member : undefined;
  if (group === undefined || member === undefined || !group.rule.members.includes(member))
    return apply(state, index, envelope);
  const members = group.rule.members.filter((other) => other !== member);
  const rule = { ...group.rule, members, acks: Math.min(group.rule.acks, members.length) };
  const next = { ...group, rule, next: undefined };
  const result = apply({ ...state, groups: new Map([[GROUP, next]]) }, index, envelope);
  return result.refused === undefined ? result : apply(state, index, envelope);
};
