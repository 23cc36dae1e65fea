// Whether a host may leave its cluster, and what its PostgreSQL may then be. Pure. Must never let a primary go while anybody could promote
// another node of its group: both would take writes.
import type { ClusterState } from '../cluster/state.ts';

/** Another peer, and what it says now; no answer: it is silent. */
export interface Other {
  readonly peer: string;
  readonly address: string;
  readonly answer:
    | {
        /** Voters and learners; undefined where it could not say. */
        readonly members: readonly string[] | undefined;
        readonly groups: readonly {
          readonly group: string;
          readonly primary: string | undefined;
          readonly nodes: readonly string[];
        }[];
      }
    | undefined;
}

export interface Leaving {
  readonly self: string;
  /** Undefined on a witness. */
  readonly node: { readonly name: string; readonly group: string } | undefined;
  /** Of this peer's own log, as far as it goes. */
  readonly state: ClusterState | undefined;
  readonly others: readonly Other[];
  /** What the data directory would be started as, or runs as; undefined where there is none. */
  readonly data: { readonly role: 'primary' | 'standby'; readonly isRunning: boolean } | undefined;
  /** A person's word that no other sentineld of the cluster runs, or will. */
  readonly areOthersGone: boolean;
}

export type Leave =
  | { readonly kind: 'refused'; readonly reason: string }
  /** `primary`: it may go on taking writes. `standby`: it must not begin to. */
  | { readonly kind: 'may'; readonly role: 'primary' | 'standby'; readonly primary: string | undefined };

/** Whether this peer's own log says that nobody else decides: whoever else there was can elect nobody without it. */
export const isSoleMember = (state: ClusterState | undefined, self: string): boolean => {
  const { voters = [], learners = [] } = state?.membership ?? {};
  return voters.length === 1 && voters[0] === self && learners.length === 0;
};

export function mayLeave(leaving: Leaving): Leave {
  const { self, state, others, areOthersGone } = leaving;
  const answering = others.filter(({ answer }) => answer !== undefined);
  if (isSoleMember(state, self)) return asPrimaryOf(leaving, primaryByLog(leaving));
  if (areOthersGone) {
    if (answering.length > 0)
      return refused(`the others are not gone: ${list(answering)} answers; leave --others-are-gone out`);
    return asPrimaryOf(leaving, undefined);
  }
  for (const each of answering) {
    const reason = whatCounts(leaving, each);
    if (reason !== undefined) return refused(reason);
  }
  if (answering.length > 0) return asPrimaryOf(leaving, primaryByOthers(leaving));
  // A removed peer may never be told: then only the others know.
  const isMember = state === undefined || isMemberOf(state, self);
  if (!isMember) return asPrimaryOf(leaving, primaryByLog(leaving));
  if (others.length === 0) return asPrimaryOf(leaving, undefined);
  return refused(
    `none of the other peers answers (${list(others)}), and they may still count on this host${leaving.data?.role === 'primary' ? ' and promote another primary beside it' : ''}: ` +
      `ask one of them to take it out (sentinelctl peer remove ${self}). Where none of their sentineld runs any more, nor ever will, say so with --others-are-gone`,
  );
}

const refused = (reason: string): Leave => ({
  kind: 'refused',
  reason: `${reason}; nothing was changed`,
});
const list = (others: readonly Other[]): string =>
  others.map(({ peer, address }) => `${peer} at ${address}`).join(', ');

const isMemberOf = ({ membership }: ClusterState, self: string): boolean =>
  [...membership.voters, ...membership.learners].some((peer) => peer === self);

/** What that peer still counts on, and how to end it; undefined: nothing. */
function whatCounts({ self, node }: Leaving, { peer, address, answer }: Other): string | undefined {
  const ask = `sentinelctl --peers ${address}`;
  if (answer?.members === undefined)
    return `peer ${peer} at ${address} answers, but does not say who takes part: try again in a moment`;
  const group = node && answer.groups.find(({ nodes }) => nodes.includes(node.name));
  if (node !== undefined && group?.primary === node.name)
    return group.nodes.length > 1
      ? `${node.name} is the primary of group ${group.group}, and peer ${peer} would promote another one: ${ask} failover ${group.group}, or take the other hosts out first, and this one last`
      : `${node.name} is the primary of group ${group.group}, and peer ${peer} still takes part: take the other peers out first (${ask} peer remove ${peer}), and this host last`;
  if (node !== undefined && group !== undefined)
    return `peer ${peer} counts on node ${node.name} of group ${group.group}; take it out first: ${ask} node unregister ${node.name}; ${ask} peer remove ${self}`;
  if (answer.members.includes(self))
    return `peer ${peer} counts on peer ${self}; take it out first: ${ask} peer remove ${self}`;
  return undefined;
}

function primaryByLog({ node, state }: Leaving): string | undefined {
  return [...(state?.groups.values() ?? [])].find(({ id }) => id === node?.group)?.phase.primary;
}

function primaryByOthers({ node, others }: Leaving): string | undefined {
  const groups = others.flatMap(({ answer }) => answer?.groups ?? []);
  return groups.find(({ group, primary }) => group === node?.group && primary !== undefined)?.primary;
}

/** `primary`: of the group, as far as anybody knows of one. */
function asPrimaryOf({ node, data }: Leaving, primary: string | undefined): Leave {
  const mayBePrimary = primary === undefined || primary === node?.name;
  if (mayBePrimary) return { kind: 'may', role: data?.role ?? 'standby', primary };
  if (data?.role === 'primary' && data.isRunning)
    return refused(
      `PostgreSQL runs as a primary here, and ${primary} is the primary of group ${node?.group ?? ''}: stop it first`,
    );
  return { kind: 'may', role: 'standby', primary };
}
