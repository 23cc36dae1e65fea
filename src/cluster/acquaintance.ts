// Whom a peer talks to, by what its log says. What is committed binds; what may still be truncated only adds: a peer that an
// uncommitted entry removes may be the leader that truncates it, and one that it adds may be the leader that commits it.
// Must never forget, on a restart, a store that the log has registered: a peer with a replaced disk has forgotten its votes.
import type { LogIndex, PeerId } from '../base/ids.ts';
import type { Entry, Membership } from '../raft/types.ts';
import type { ClusterState } from './state.ts';

/** The stores that the log has registered for a peer: more than one only while it is not known which of them is committed. */
export type Stores = ReadonlyMap<PeerId, ReadonlySet<string>>;

/** What entries that were not applied yet register: for each peer its stores, each with the index of the entry that does. */
export interface StoresAhead {
  readonly stores: ReadonlyMap<PeerId, ReadonlyMap<string, LogIndex>>;
  /** Of peers that are added again by a later entry: where they were removed. What was registered before is gone with that. */
  readonly left: ReadonlyMap<PeerId, LogIndex>;
  /** The last of these entries was read; a state applied up to there says all itself. */
  readonly upTo: LogIndex;
}

/** What the receiver of a call goes by. */
export interface Acquaintance {
  /** Of the latest committed membership: a recovery counts from when it is durable. 0: told of none yet. */
  readonly incarnation: number;
  /** Log index of the entry or snapshot that the latest committed membership comes from; 0: the initial one. */
  readonly membershipIndex: number;
  /** Up to where we know the log to be committed. */
  readonly commitIndex: number;
  readonly isMember: (peer: PeerId) => boolean;
  readonly storesOf: (peer: PeerId) => ReadonlySet<string> | undefined;
}

/** What the caller says of itself. */
export interface Caller {
  readonly peer: PeerId;
  readonly incarnation: number;
  readonly membershipIndex: number;
  /** Log index of the latest membership in its log, which it may not know to be committed; 0: the initial one. */
  readonly logMembershipIndex: number;
  readonly store: string;
}

/** `ahead`, `behind`: of another incarnation. `another-store`: its disk was replaced. */
export type Reception = 'welcome' | 'ahead' | 'behind' | 'stranger' | 'another-store';

/** Whether a peer of our cluster that means us is let in. */
export function receive(caller: Caller, { incarnation, ...us }: Acquaintance): Reception {
  if (incarnation === 0) return 'welcome';
  if (caller.incarnation > incarnation) return 'ahead';
  if (caller.incarnation < incarnation && caller.incarnation > 0) return 'behind';
  if (caller.incarnation === incarnation && caller.membershipIndex > us.membershipIndex) {
    // A later membership than ours: we were away when it was made, and this may be the leader that has to tell us (§4.1).
    return 'welcome';
  }
  if (!us.isMember(caller.peer) && !isPerhapsMember(caller, { incarnation, ...us })) return 'stranger';
  const stores = us.storesOf(caller.peer);
  return stores === undefined || stores.has(caller.store) ? 'welcome' : 'another-store';
}

/**
 * Its log holds a membership beyond what we know to be committed. A peer that starts again does not know either what of its log is,
 * and where others are away for good it may take our vote to find out (thesis §4.1). One that was removed meanwhile is passed by when it
 * calls once we know the log that far.
 */
export function isPerhapsMember(
  caller: Pick<Caller, 'incarnation' | 'logMembershipIndex'>,
  us: Pick<Acquaintance, 'incarnation' | 'commitIndex'>,
): boolean {
  return caller.incarnation === us.incarnation && caller.logMembershipIndex > us.commitIndex;
}

/** Voters and learners of any of these. */
export function isMemberOf(memberships: readonly Membership[], peer: PeerId): boolean {
  return memberships.some(({ voters, learners }) => voters.includes(peer) || learners.includes(peer));
}

/**
 * The stores that the entries above the applied state will register where they are committed: after a restart the state is
 * that of the last snapshot, and until somebody commits something the log is all that this peer has to go by.
 */
export function storesAhead(
  state: ClusterState,
  entries: readonly Entry[],
  applyEntry: (state: ClusterState, entry: Entry) => ClusterState,
): StoresAhead {
  const stores = new Map<PeerId, Map<string, LogIndex>>();
  const removed = new Map<PeerId, LogIndex>();
  const left = new Map<PeerId, LogIndex>();
  let ahead = state;
  for (const entry of entries) {
    if (entry.index <= ahead.appliedIndex) continue;
    const { peers, membership } = ahead;
    ahead = applyEntry(ahead, entry);
    if (ahead.membership !== membership) {
      for (const peer of membersOf(membership))
        if (!isMemberOf([ahead.membership], peer)) removed.set(peer, entry.index);
      // A change is begun only once the one before it is committed (raft/change.ts): a peer that is added again had left for good.
      for (const [peer, index] of removed) {
        if (!isMemberOf([ahead.membership], peer)) continue;
        stores.delete(peer);
        left.set(peer, index);
        removed.delete(peer);
      }
    }
    if (ahead.peers === peers) continue;
    for (const { peer, store } of ahead.peers.values())
      if (peers.get(peer)?.store !== store) add(stores, peer, store, entry.index);
  }
  return { stores, left, upTo: ahead.appliedIndex };
}

/**
 * The stores that are registered for `peer` now, and those ahead while they are; undefined where there are none. What is applied
 * says itself what has become of a registration: by an entry that it has passed, or that another one took the place of. What the
 * state knows of a peer that is certain to be removed yet does not count; what it knows from then on does, whatever is ahead.
 */
export function storesOf(
  state: ClusterState,
  ahead: StoresAhead,
  peer: PeerId,
): ReadonlySet<string> | undefined {
  const isToLeave = (ahead.left.get(peer) ?? 0) > state.appliedIndex;
  const present = isToLeave ? undefined : state.peers.get(peer)?.store;
  const known = new Set(present === undefined ? [] : [present]);
  for (const [store, index] of ahead.stores.get(peer) ?? []) if (index > state.appliedIndex) known.add(store);
  return known.size === 0 ? undefined : known;
}

function membersOf({ voters, learners }: Membership): readonly PeerId[] {
  return [...voters, ...learners];
}

function add(stores: Map<PeerId, Map<string, LogIndex>>, peer: PeerId, store: string, index: LogIndex): void {
  const known = stores.get(peer);
  if (known === undefined) stores.set(peer, new Map([[store, index]]));
  else known.set(store, index);
}
