// Whether a host may leave its cluster, and what its PostgreSQL may then be. Pure. Must never let a primary go while anybody could promote
// another node of its group: both would take writes.
import type { ClusterState } from '../cluster/state.ts';

/** What another peer says of the cluster. */
export interface Answer {
  readonly kind: 'answer';
  /** It led, or had read through a leader that a majority confirmed, before it said this. Without that it may be stale. */
  readonly isVouched: boolean;
  readonly incarnation: number;
  readonly term: number;
  readonly appliedIndex: number;
  /** Voters and learners. */
  readonly members: readonly string[];
  readonly groups: readonly {
    readonly group: string;
    readonly primary: string | undefined;
    readonly nodes: readonly string[];
  }[];
}

/** Another peer, and what it says now. */
export interface Other {
  readonly peer: string;
  readonly address: string;
  readonly said:
    | Answer
    /** Nothing listens there, or no way leads there. */
    | { readonly kind: 'silent' }
    /** Something is there, and may be a member. `reason`: in words, what became of the question. */
    | { readonly kind: 'unclear'; readonly reason: string };
}

export interface Leaving {
  readonly self: string;
  /** Undefined on a witness. */
  readonly node: { readonly name: string; readonly group: string } | undefined;
  /** Of this peer's own log, as far as it goes; its last entries need not be committed. */
  readonly state: ClusterState | undefined;
  /** The last entry of its own log; undefined where there is none. */
  readonly last: { readonly index: number; readonly term: number } | undefined;
  /** Why its own log cannot be read. */
  readonly problem: string | undefined;
  readonly others: readonly Other[];
  /** What the data directory would be started as, or runs as; undefined where there is none. */
  readonly data: { readonly role: 'primary' | 'standby'; readonly isRunning: boolean } | undefined;
  /** A person's word that no other sentineld of the cluster runs, or will. */
  readonly areOthersGone: boolean;
}

export type Leave =
  | { readonly kind: 'refused'; readonly reason: string }
  /** `primary`: it may go on taking writes. `standby`: it must not begin to. `note`: for a person, one sentence. */
  | {
      readonly kind: 'may';
      readonly role: 'primary' | 'standby';
      readonly primary: string | undefined;
      readonly note?: string | undefined;
    };

/** Whether this peer's own log says that nobody else decides: whoever else there was can elect nobody without it. */
function isSoleMember({ state, self }: Leaving): boolean {
  const { voters = [], learners = [] } = state?.membership ?? {};
  return voters.length === 1 && voters[0] === self && learners.length === 0;
}

export function mayLeave(leaving: Leaving): Leave {
  const { others, areOthersGone } = leaving;
  const there = others.filter(({ said }) => said.kind !== 'silent');
  if (areOthersGone && there.length > 0)
    return refused(`the others are not gone: ${list(there)} answers; leave --others-are-gone out`);
  const unclear = whatIsUnclear(there);
  if (unclear !== undefined) return refused(unclear);
  const answers = there.flatMap(({ peer, address, said }) =>
    said.kind === 'answer' ? [{ peer, address, said }] : [],
  );
  const current = currentOf(leaving, answers);
  const later = answers.find(
    ({ said }) =>
      said.incarnation > (current[0]?.said.incarnation ?? leaving.state?.membership.incarnation ?? 0),
  );
  // Recovered elsewhere: it counts on whom it likes, and what is known here does not bind it.
  if (later !== undefined && (current.length > 0 || leaving.state !== undefined))
    return refused(unconfirmed([later]));
  for (const each of current) {
    const reason = whatCounts(leaving, each);
    if (reason !== undefined) return refused(reason);
  }
  if (current.length > 0) return asPrimaryOf(leaving, primaryByAnswers(leaving, current));
  if (isSoleMember(leaving)) return asPrimaryOf(leaving, primaryByLog(leaving));
  if (answers.length > 0) return refused(unconfirmed(answers));
  return inSilence(leaving);
}

/** Nobody answers, and others have decided, or may have: what its own log says of them may be old, or never committed. */
function inSilence(leaving: Leaving): Leave {
  const { self, state, problem, others, data, areOthersGone } = leaving;
  const isAlone = others.length === 0 && state === undefined && problem === undefined;
  if (isAlone || areOthersGone) return asPrimaryOf(leaving, primaryByLog(leaving));
  const promoted = data?.role === 'primary' ? ' and promote another primary beside it' : '';
  const who =
    others.length === 0
      ? 'who else takes part is not known here'
      : `none of the other peers answers (${list(others)}), and they may still count on this host${promoted}`;
  return refused(
    `${who}: ask one of them to take it out (sentinelctl peer remove ${self}), and let this host reach it. ` +
      `Where none of their sentineld runs any more, nor ever will, say so with --others-are-gone`,
  );
}

type Answering = Omit<Other, 'said'> & { readonly said: Answer };

/** Those that tell of the cluster as it is now: confirmed by a leader, of members, and of the latest incarnation, which is not before ours. */
function currentOf(leaving: Leaving, answers: readonly Answering[]): Answering[] {
  const good = answers.filter(
    ({ peer, said }) => said.isVouched && said.members.includes(peer) && knowsOurLog(leaving, said),
  );
  const latest = Math.max(...good.map(({ said }) => said.incarnation));
  return good.filter(({ said }) => said.incarnation === latest);
}

/**
 * Whether it has all of this host's own log that was ever committed. Entries of an earlier term that a confirmed leader lacks were not (Leader
 * Completeness); in the term of our last one it has to have come as far.
 */
function knowsOurLog({ state, last }: Leaving, { incarnation, term, appliedIndex }: Answer): boolean {
  const own = state?.membership.incarnation ?? 0;
  if (incarnation !== own || last === undefined) return incarnation >= own;
  return term > last.term || (term === last.term && appliedIndex >= last.index);
}

function whatIsUnclear(others: readonly Other[]): string | undefined {
  for (const { peer, address, said } of others)
    if (said.kind === 'unclear')
      return `peer ${peer} at ${address} cannot be asked whether it counts on this host (${said.reason}): try again in a moment, or stop what listens there; where it is no peer of this cluster any more, take it out of \`peers\` in the configuration`;
  return undefined;
}

const unconfirmed = (others: readonly Answering[]): string =>
  `no answer that a Raft leader confirms: ${list(others)} may have been removed, cut off or begun anew, and what it says cannot be relied on; look at sentinelctl status there, then try again, or stop its sentineld where it is not needed any more`;

const refused = (reason: string): Leave => ({
  kind: 'refused',
  reason: `${reason}; nothing was changed`,
});
const list = (others: readonly Omit<Other, 'said'>[]): string =>
  others.map(({ peer, address }) => `${peer} at ${address}`).join(', ');

/** What that peer still counts on, and how to end it; undefined: nothing. */
function whatCounts({ self, node }: Leaving, { peer, address, said }: Answering): string | undefined {
  const ask = `sentinelctl --peers ${address}`;
  const group = node && said.groups.find(({ nodes }) => nodes.includes(node.name));
  if (node !== undefined && group?.primary === node.name)
    return group.nodes.length > 1
      ? `${node.name} is the primary of group ${group.group}, and peer ${peer} would promote another one: ${ask} failover ${group.group}, or take the other hosts out first, and this one last`
      : `${node.name} is the primary of group ${group.group}, and peer ${peer} still takes part: take the other peers out first (${ask} peer remove ${peer}), and this host last`;
  if (node !== undefined && group !== undefined)
    return `peer ${peer} counts on node ${node.name} of group ${group.group}; take it out first: ${ask} node unregister ${node.name}; ${ask} peer remove ${self}`;
  if (said.members.includes(self))
    return `peer ${peer} counts on peer ${self}; take it out first: ${ask} peer remove ${self}`;
  return undefined;
}

function primaryByLog({ node, state }: Leaving): string | undefined {
  return [...(state?.groups.values() ?? [])].find(({ id }) => id === node?.group)?.phase.primary;
}

function primaryByAnswers(leaving: Leaving, answers: readonly Answering[]): string | undefined {
  const groups = answers.flatMap(({ said }) => said.groups);
  const found = groups.find(({ group, primary }) => group === leaving.node?.group && primary !== undefined);
  return found?.primary ?? primaryByLog(leaving);
}

/** `primary`: of the group, as far as anybody knows of one. */
function asPrimaryOf({ node, data }: Leaving, primary: string | undefined): Leave {
  const mayBePrimary = primary === undefined || primary === node?.name;
  if (mayBePrimary) return { kind: 'may', role: data?.role ?? 'standby', primary };
  if (data?.role !== 'primary') return { kind: 'may', role: 'standby', primary };
  const missing = `${primary} is the primary of group ${node?.group ?? ''} by the log: writes of ${primary} are missing here`;
  if (data.isRunning) return refused(`PostgreSQL runs as a primary here, and ${missing}; stop it first`);
  return { kind: 'may', role: 'standby', primary, note: `${missing}, so it is left as a standby` };
}
