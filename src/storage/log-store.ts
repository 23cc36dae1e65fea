// The durable Raft log of one peer: entries, term and vote on LevelDB, guarded by a side file of its own.
// Order of every write: synchronous LevelDB batch, then the side file, then the answer. Must never answer earlier, never
// write again after a failure, never repair, and never open a store that holds less than was answered for.
import { join } from 'node:path';
import { Level } from 'level';
import { assert } from '../base/assert.ts';
import { logIndex, term } from '../base/ids.ts';
import type { PeerId } from '../base/ids.ts';
import type { Entry, HardState, RaftEffect } from '../raft/types.ts';
import { createDurableDirectory, syncDirectory } from './directories.ts';
import { CHAIN_START, encodeEntry, hashOfEncoded } from './entry-codec.ts';
import { StoreDamagedError, StoreLockedError } from './errors.ts';
import { createGroupCommit } from './group-commit.ts';
import { entryKey, STATE_KEY } from './keys.ts';
import { findDamagedTable } from './leveldb-tables.ts';
import { recover } from './recovery.ts';
import type { Identity } from './recovery.ts';
import { createSideFile, openSideFile } from './side-file.ts';
import type { SideFile } from './side-file.ts';
import { assertHardStateFollows, encodeStoreState } from './store-state.ts';
import type { StoreState } from './store-state.ts';

export type LogWrite = Pick<Extract<RaftEffect, { kind: 'persist' }>, 'hardState' | 'entries'>;

export interface LogStore {
  /** As found on opening. */
  readonly hardState: HardState;
  /** As found on opening: from index 1, without a hole. */
  readonly entries: readonly Entry[];
  /** Resolves when durable, in the order of the calls. Rejects with `StoreFailedError`, and from then on always. */
  write(write: LogWrite): Promise<void>;
  /** Ends when the writes accepted so far have ended. */
  close(): Promise<void>;
}

export interface LogStoreOptions {
  readonly directory: string;
  readonly clusterId: string;
  readonly self: PeerId;
}

type Operation = { type: 'put'; key: Buffer; value: Buffer } | { type: 'del'; key: Buffer };

/**
 * Opens the store in `directory`, creating it where there is none. Throws `StoreDamagedError`, `StoreIdentityError` or
 * `StoreLockedError`, each with a message that says what to do.
 */
export async function openLogStore(options: LogStoreOptions): Promise<LogStore> {
  const { directory } = options;
  await createDurableDirectory(directory);
  const damage = await findDamagedTable(join(directory, 'log'));
  if (damage !== undefined) throw new StoreDamagedError(directory, damage);
  const database = await openDatabase(directory, { sideFileExists: await sideFileExists(directory) });
  let sideFile: SideFile | undefined;
  try {
    // Only now, with LevelDB's lock held, may the side file be trusted to stand still.
    const opened = await openSideFile(sideFilePath(directory));
    sideFile = opened;
    if (opened !== undefined && opened.state === undefined) {
      throw new StoreDamagedError(directory, 'neither slot of the file "hard-state" is readable');
    }
    const recovered = await recover(database, opened?.state, options);
    const state = recovered?.state ?? unusedState(options);
    if (recovered === undefined) await putBatch(database, stateOperation(state));
    sideFile ??= await createSideFile(sideFilePath(directory), state);
    const store = createLogStore({ database, sideFile, state, entries: recovered?.entries ?? [] });
    if (recovered?.isAhead === true) await store.write({ hardState: state.hardState, entries: [] });
    return store;
  } catch (error) {
    await sideFile?.close();
    await database.close();
    throw damageOf(directory, error);
  }
}

function createLogStore(opened: {
  readonly database: Level<Buffer, Buffer>;
  readonly sideFile: SideFile;
  readonly state: StoreState;
  readonly entries: readonly Entry[];
}): LogStore {
  const { database, sideFile } = opened;
  let current = opened.state;
  let closing: Promise<void> | undefined;

  const commit = async (writes: readonly LogWrite[]): Promise<void> => {
    const { next, operations } = await encodeWrite(database, current, mergeWrites(current, writes));
    await putBatch(database, ...operations);
    await sideFile.write(next);
    current = next;
  };
  const group = createGroupCommit(commit);
  const close = async (): Promise<void> => {
    await group.close();
    await sideFile.close();
    await database.close();
  };
  return {
    hardState: opened.state.hardState,
    entries: opened.entries,
    write: (write) => group.write(write),
    close: () => (closing ??= close()),
  };
}

/** Several writes as one: the last hard state, and the entries that are left once later ones have replaced earlier ones. */
export function mergeWrites(
  current: Pick<StoreState, 'hardState' | 'lastIndex'>,
  writes: readonly LogWrite[],
): LogWrite {
  let { hardState } = current;
  const entries: Entry[] = [];
  for (const write of writes) {
    assertHardStateFollows(hardState, write.hardState);
    hardState = write.hardState;
    const first = write.entries[0];
    if (first === undefined) continue;
    const last = entries.at(-1)?.index ?? current.lastIndex;
    assert(first.index <= last + 1, () => `refused to write entry ${first.index} after entry ${last}`);
    while ((entries.at(-1)?.index ?? 0) >= first.index) entries.pop();
    for (const entry of write.entries) entries.push(entry);
  }
  return { hardState, entries };
}

/** The operations of one write: entries chained to what stays, removal of what lies beyond, and the new state. */
async function encodeWrite(
  database: Level<Buffer, Buffer>,
  current: StoreState,
  write: LogWrite,
): Promise<{ next: StoreState; operations: Operation[] }> {
  const operations: Operation[] = [];
  const first = write.entries[0];
  let { lastIndex, chainHead } = current;
  if (first !== undefined) {
    chainHead = first.index === lastIndex + 1 ? chainHead : await hashBefore(database, first);
    for (let index = lastIndex; index >= first.index + write.entries.length; index = logIndex(index - 1)) {
      operations.push({ type: 'del', key: entryKey(index) });
    }
    lastIndex = logIndex(first.index - 1);
    for (const entry of write.entries) {
      assert(
        entry.index === lastIndex + 1,
        () => `refused to write entry ${entry.index} after entry ${lastIndex}`,
      );
      const encoded = encodeEntry(entry, chainHead);
      operations.push({ type: 'put', key: entryKey(entry.index), value: encoded.bytes });
      chainHead = encoded.hash;
      lastIndex = entry.index;
    }
  }
  const next: StoreState = {
    ...current,
    sequence: current.sequence + 1,
    hardState: write.hardState,
    lastIndex,
    chainHead,
  };
  operations.push(stateOperation(next));
  return { next, operations };
}

async function hashBefore(database: Level<Buffer, Buffer>, entry: Entry): Promise<Buffer> {
  if (entry.index === 1) return CHAIN_START;
  const previous: Buffer | undefined = await database.get(entryKey(logIndex(entry.index - 1)));
  assert(
    previous !== undefined,
    () => `refused to replace entry ${entry.index}: the entry before it is gone`,
  );
  return hashOfEncoded(previous);
}

async function putBatch(database: Level<Buffer, Buffer>, ...operations: readonly Operation[]): Promise<void> {
  await database.batch([...operations], { sync: true });
}

function stateOperation(state: StoreState): Operation {
  return { type: 'put', key: STATE_KEY, value: encodeStoreState(state) };
}

function unusedState(identity: Identity): StoreState {
  return {
    sequence: 1,
    clusterId: identity.clusterId,
    self: identity.self,
    hardState: { term: term(0), votedFor: undefined },
    lastIndex: logIndex(0),
    chainHead: CHAIN_START,
  };
}

/** With a side file there was a log: LevelDB must then not create an empty one in its place. */
async function openDatabase(
  directory: string,
  found: { readonly sideFileExists: boolean },
): Promise<Level<Buffer, Buffer>> {
  const database = new Level<Buffer, Buffer>(join(directory, 'log'), {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    createIfMissing: !found.sideFileExists,
    compression: false,
    cacheSize: 1 << 20,
  });
  try {
    await database.open();
  } catch (error) {
    const cause = (error as { cause?: { code?: string; message?: string } }).cause;
    if (cause?.code === 'LEVEL_LOCKED') throw new StoreLockedError(directory, { cause: error });
    if (cause?.code === 'LEVEL_IO_ERROR') {
      throw new Error(
        `cannot open the Raft log in ${directory}: ${cause.message}; check the disk and the permissions`,
        { cause: error },
      );
    }
    throw new StoreDamagedError(
      directory,
      `LevelDB refused to open it (${cause?.message ?? String(error)})`,
      { cause: error },
    );
  }
  await syncDirectory(directory);
  return database;
}

async function sideFileExists(directory: string): Promise<boolean> {
  const sideFile = await openSideFile(sideFilePath(directory));
  await sideFile?.close();
  return sideFile !== undefined;
}

function sideFilePath(directory: string): string {
  return join(directory, 'hard-state');
}

/** LevelDB's own complaints while reading are damage too. */
function damageOf(directory: string, error: unknown): unknown {
  const code = (error as { code?: unknown }).code;
  if (code !== 'LEVEL_CORRUPTION') return error;
  return new StoreDamagedError(directory, `LevelDB could not read it (${String(error)})`, { cause: error });
}
