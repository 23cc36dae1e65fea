// What a store must hold after given writes, worked out on plain arrays; and the comparison of a store with that.
import assert from 'node:assert/strict';
import type { LogIndex, Term } from '../../base/ids.ts';
import type { Entry, HardState, PersistedSnapshot } from '../../raft/types.ts';
import type { LogStore } from '../log-store.ts';
import type { LogWrite } from '../log-write.ts';
import { texts } from './stores.ts';

export interface Model {
  readonly hardState: HardState | undefined;
  /** All entries since the log was last replaced, those compacted away included. */
  readonly log: readonly Entry[];
  /** Oldest first, from the one that replaced the log last. */
  readonly snapshots: readonly PersistedSnapshot[];
}

export function modelOf(writes: readonly LogWrite[]): Model {
  let hardState: HardState | undefined;
  let log: Entry[] = [];
  let snapshots: PersistedSnapshot[] = [];
  for (const write of writes) {
    ({ hardState } = write);
    if (write.snapshot?.replacesLog === true) {
      log = [];
      snapshots = [];
    }
    const first = write.entries[0];
    if (first !== undefined) log = [...log.filter(({ index }) => index < first.index), ...write.entries];
    if (write.snapshot !== undefined) snapshots = [...snapshots, write.snapshot];
  }
  return { hardState, log, snapshots };
}

/** Summary of everything a store holds, for comparison. */
export function contentOf(store: LogStore): string {
  const { hardState, base, entries, snapshot, storeId } = store;
  return JSON.stringify([
    hardState,
    base,
    entries.map(({ kind }) => kind).join(),
    texts(entries),
    snapshot && [
      snapshot.index,
      snapshot.term,
      snapshot.membership,
      [...snapshot.membership.addresses],
      Buffer.from(snapshot.data).toString('latin1'),
    ],
    storeId,
  ]);
}

/**
 * Throws unless `store` holds what the model says. A snapshot that leaves the log as it is may be missing after a crash, and
 * then the log reaches back to the one before it; after an orderly end (`isNewest`) it may not.
 */
export function assertHolds(store: LogStore, model: Model, options: { readonly isNewest: boolean }): void {
  if (model.hardState !== undefined) assert.deepEqual(store.hardState, model.hardState);
  const { snapshot } = store;
  const found = model.snapshots.find((candidate) => candidate.snapshot.index === snapshot?.index);
  const replacesAll = model.snapshots[0]?.replacesLog === true;
  if (options.isNewest) assert.equal(snapshot?.index, model.snapshots.at(-1)?.snapshot.index);
  if (snapshot === undefined) assert.ok(!replacesAll, 'the snapshot that replaced the log is missing');
  else assert.ok(found !== undefined, `a snapshot at ${snapshot.index} was never written or is out of date`);
  if (snapshot !== undefined && found !== undefined) {
    assert.deepEqual({ ...snapshot, data: undefined }, { ...found.snapshot, data: undefined });
    assert.ok(
      Buffer.from(snapshot.data).equals(Buffer.from(found.snapshot.data)),
      `other data at ${snapshot.index}`,
    );
  }
  const base: { index: LogIndex | 0; term: Term | 0 } = found?.base ?? { index: 0, term: 0 };
  assert.deepEqual({ ...store.base }, { ...base });
  assert.deepEqual(texts(store.entries), texts(model.log.filter(({ index }) => index > base.index)));
}
