// What a peer begins with. A new store is given a snapshot with the membership of the configuration: from then on the store says
// who the voters are, so that an edited configuration cannot change them on one host alone; and since the log begins after it, a
// peer that joins is sent a snapshot first and never has to guess under which membership the first entries were applied.
import { existsSync } from 'node:fs';
import { type PeerId, logIndex, term } from '../base/ids.ts';
import { emptyState } from '../cluster/apply.ts';
import { encodeState } from '../cluster/snapshot-codec.ts';
import type { Membership, Snapshot } from '../raft/types.ts';
import type { LogStore } from '../storage/log-store.ts';

/** Of a peer that was told of no membership yet. */
export const NOBODY: Membership = { voters: [], learners: [], addresses: new Map(), incarnation: 0 };

/** Where the log of a new cluster begins, on all of its first peers alike. */
const FIRST = { index: logIndex(1), term: term(1) };

export interface Beginning extends Pick<LogStore, 'hardState' | 'base' | 'entries' | 'snapshot'> {
  /** In force where neither snapshot nor log says otherwise. */
  readonly membership: Membership;
}

/**
 * `configured` counts for a new store only; the first snapshot is durable on return. Throws where the store is new, but `before`,
 * a file that only a peer that took part could have left, is there: such a peer has forgotten what it voted for.
 */
export async function beginWith(
  store: LogStore,
  configured: Membership,
  before?: { readonly peer: PeerId; readonly path: string },
): Promise<Beginning> {
  const { hardState, base, entries, snapshot } = store;
  if (snapshot !== undefined) return { hardState, base, entries, snapshot, membership: snapshot.membership };
  // A log of the first version, which began without a snapshot.
  if (entries.length > 0) return { hardState, base, entries, snapshot, membership: configured };
  const isNew = hardState.term === 0;
  // Only a peer that joins has a store without a snapshot, until it is sent one: whatever the configuration says by now.
  if (!isNew || configured.incarnation === 0)
    return { hardState, base, entries, snapshot, membership: NOBODY };
  if (before !== undefined && existsSync(before.path)) throw new Error(forgotten(before));
  const data = encodeState({ ...emptyState(configured), appliedIndex: FIRST.index });
  const first: Snapshot = { ...FIRST, membership: configured, data };
  const begun = { hardState: { term: FIRST.term, votedFor: undefined }, base: FIRST, entries: [] };
  // As one that replaces the (empty) log, it is durable before the answer.
  await store.write({ ...begun, snapshot: { snapshot: first, base: FIRST, replacesLog: true } });
  return { ...begun, snapshot: first, membership: configured };
}

function forgotten({ peer, path }: { readonly peer: PeerId; readonly path: string }): string {
  return `the Raft log of peer ${peer} is empty, but ${path} says that it has taken part before: it has forgotten what it voted for and must not vote again. Run "sentinelctl peer remove ${peer}" on another peer, set "join: true" in this host's configuration, start sentineld, and run "sentinelctl peer add ${peer} HOST:PORT". For a new cluster, remove that file`;
}
