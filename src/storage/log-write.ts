// What one write, or several that wait together, becomes on disk: the entries that are left, chained to what stays, the keys
// that go, and the new state. Must never leave a hole, nor take back a term, a vote, or anything at or below a snapshot.
import { assert } from '../base/assert.ts';
import { logIndex } from '../base/ids.ts';
import type { LogIndex, Term } from '../base/ids.ts';
import type { Entry, HardState, PersistedSnapshot, RaftEffect } from '../raft/types.ts';
import type { Database, Operation } from './database.ts';
import { decodeEntry, encodeEntry } from './entry-codec.ts';
import { entryKey, STATE_KEY } from './keys.ts';
import { assertHardStateFollows, encodeStoreState } from './store-state.ts';
import type { HashedPosition, StoreState } from './store-state.ts';

/** As the core asks for it: the snapshot comes first and the entries follow it, where it replaces the log. */
export type LogWrite = Pick<Extract<RaftEffect, { kind: 'persist' }>, 'hardState' | 'entries'> & {
  readonly snapshot?: PersistedSnapshot | undefined;
};

/** A snapshot that leaves the log as it is, its file being durable already. */
export interface RecordedSnapshot {
  readonly file: HashedPosition;
  readonly base: PersistedSnapshot['base'];
}

export type WriteItem =
  | { readonly kind: 'write'; readonly write: LogWrite }
  | { readonly kind: 'record'; readonly recorded: RecordedSnapshot };

export interface MergedWrite {
  readonly hardState: HardState;
  /** Comes in the place of all that is stored; `entries` follow it. */
  readonly replacement: PersistedSnapshot | undefined;
  readonly entries: readonly Entry[];
  /** Comes last. Left out where a newer snapshot is there by then. */
  readonly recorded: RecordedSnapshot | undefined;
}

/** Several writes as one: the last hard state, the newest snapshot, and the entries that later ones have not replaced. */
export function mergeWrites(
  current: Pick<StoreState, 'hardState' | 'lastIndex' | 'snapshot'>,
  items: readonly WriteItem[],
): MergedWrite {
  let { hardState, lastIndex } = current;
  let snapshotIndex = current.snapshot?.index ?? 0;
  let replacement: PersistedSnapshot | undefined;
  let recorded: RecordedSnapshot | undefined;
  let entries: Entry[] = [];
  for (const item of items) {
    if (item.kind === 'record') {
      // One that was installed meanwhile is newer than what this peer wrote down itself.
      if (item.recorded.file.index <= snapshotIndex) continue;
      recorded = item.recorded;
      snapshotIndex = recorded.file.index;
      continue;
    }
    const { write } = item;
    assertHardStateFollows(hardState, write.hardState);
    hardState = write.hardState;
    if (write.snapshot?.replacesLog === true) {
      assertReplaces(write.snapshot, snapshotIndex);
      replacement = write.snapshot;
      recorded = undefined;
      snapshotIndex = lastIndex = replacement.base.index;
      entries = [];
    }
    const first = write.entries[0];
    if (first === undefined) continue;
    assert(
      first.index <= lastIndex + 1,
      () => `refused to write entry ${first.index} after entry ${lastIndex}`,
    );
    assert(
      first.index > snapshotIndex,
      () => `refused to replace entry ${first.index}: the snapshot at ${snapshotIndex} stands for it`,
    );
    while ((entries.at(-1)?.index ?? 0) >= first.index) entries.pop();
    for (const entry of write.entries) entries.push(entry);
    lastIndex = entries.at(-1)?.index ?? lastIndex;
  }
  return { hardState, replacement, entries, recorded };
}

/**
 * The operations of one write, and the state that they leave; `replacementFile` belongs to `write.replacement`. Entries at
 * or below the base are not among what is deleted: they have no meaning any more, and may go later.
 */
export async function encodeWrite(
  database: Database,
  current: StoreState,
  write: MergedWrite,
  replacementFile: HashedPosition | undefined,
): Promise<{ readonly next: StoreState; readonly operations: readonly Operation[] }> {
  const start = replacementFile === undefined ? current : replaced(current, replacementFile);
  const operations: Operation[] = [];
  const fresh = new Map<LogIndex, HashedPosition>();
  let { lastIndex, chainHead } = start;
  const first = write.entries[0];
  if (first !== undefined) {
    if (first.index !== lastIndex + 1)
      chainHead = (await positionAt(database, start, logIndex(first.index - 1))).hash;
    lastIndex = logIndex(first.index - 1);
    for (const entry of write.entries) {
      assert(
        entry.index === lastIndex + 1,
        () => `refused to write entry ${entry.index} after entry ${lastIndex}`,
      );
      const encoded = encodeEntry(entry, chainHead);
      operations.push({ type: 'put', key: entryKey(entry.index), value: encoded.bytes });
      fresh.set(entry.index, { index: entry.index, term: entry.term, hash: encoded.hash });
      chainHead = encoded.hash;
      lastIndex = entry.index;
    }
  }
  for (let index = current.lastIndex; index > lastIndex; index = logIndex(index - 1)) {
    operations.push({ type: 'del', key: entryKey(index) });
  }
  const ending = { ...start, lastIndex };
  const compacted =
    write.recorded === undefined
      ? undefined
      : await compact(ending, write.recorded, (index) =>
          Promise.resolve(fresh.get(index) ?? positionAt(database, start, index)),
        );
  const next: StoreState = {
    ...ending,
    ...compacted,
    sequence: current.sequence + 1,
    hardState: write.hardState,
    chainHead,
  };
  operations.push(stateOperation(next));
  return { next, operations };
}

export function stateOperation(state: StoreState): Operation {
  return { type: 'put', key: STATE_KEY, value: encodeStoreState(state) };
}

/** The log is empty after a snapshot that replaced it; its first entry will name the snapshot's hash as its predecessor's. */
function replaced(current: StoreState, file: HashedPosition): StoreState {
  return { ...current, base: file, lastIndex: file.index, chainHead: file.hash, snapshot: file };
}

/** The base and snapshot of a state, after the log was found to agree with both. */
async function compact(
  state: StoreState,
  { file, base }: RecordedSnapshot,
  find: (index: LogIndex) => Promise<HashedPosition>,
): Promise<Pick<StoreState, 'base' | 'snapshot'>> {
  assert(
    state.base.index <= base.index && base.index <= file.index && file.index <= state.lastIndex,
    () =>
      `refused a snapshot at ${file.index} with base ${base.index}: the log holds ${state.base.index} to ${state.lastIndex}`,
  );
  assertTerm('the snapshot', file, await find(file.index));
  const found = await find(base.index);
  assertTerm('the base', base, found);
  return { base: found, snapshot: file };
}

function assertTerm(
  what: string,
  claimed: { readonly index: LogIndex; readonly term: Term },
  found: HashedPosition,
): void {
  assert(
    claimed.term === found.term,
    () => `refused ${what} at ${claimed.index} of term ${claimed.term}: the log has term ${found.term} there`,
  );
}

function assertReplaces({ snapshot, base }: PersistedSnapshot, snapshotIndex: number): void {
  assert(
    base.index === snapshot.index && base.term === snapshot.term,
    () =>
      `refused a snapshot at ${snapshot.index} that replaces the log: its base is ${base.index}, not its own index`,
  );
  assert(
    snapshot.index > snapshotIndex,
    () => `refused to replace the snapshot at ${snapshotIndex} by one at ${snapshot.index}`,
  );
}

/** Term and hash of a stored entry, or of the base. */
async function positionAt(database: Database, state: StoreState, index: LogIndex): Promise<HashedPosition> {
  if (index === state.base.index) return state.base;
  const bytes: Buffer | undefined = await database.get(entryKey(index));
  assert(bytes !== undefined, () => `refused to go on from entry ${index}: it is gone`);
  const decoded = decodeEntry(bytes, index);
  assert(decoded.kind === 'entry', () =>
    decoded.kind === 'damaged' ? `refused to go on: ${decoded.reason}` : '',
  );
  return { index, term: decoded.entry.term, hash: Buffer.from(decoded.hash) };
}
