// The durable Raft log of one peer: snapshot, entries, term and vote, on LevelDB and in files beside it. Order of every write:
// snapshot file, synchronous LevelDB batch, side file, answer; only then does anything old go. Must never answer earlier,
// never write again after a failure, never repair, and never open a store that holds less than was answered for.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { logIndex, term } from '../base/ids.ts';
import type { LogIndex, PeerId, Term } from '../base/ids.ts';
import type { Entry, HardState, MembershipCodec, PersistedSnapshot, Snapshot } from '../raft/types.ts';
import { createBackground } from './background.ts';
import { damageOf, openDatabase, writeBatch } from './database.ts';
import type { Database } from './database.ts';
import { createDurableDirectory } from './directories.ts';
import { CHAIN_START } from './entry-codec.ts';
import { StoreDamagedError, StoreFailedError, StoreFormatError } from './errors.ts';
import { createGroupCommit } from './group-commit.ts';
import { entryKey } from './keys.ts';
import { findDamagedTable } from './leveldb-tables.ts';
import { encodeWrite, mergeWrites, stateOperation } from './log-write.ts';
import type { LogWrite, WriteItem } from './log-write.ts';
import { recover } from './recovery.ts';
import type { Recovered } from './recovery.ts';
import { createSideFile, openSideFile } from './side-file.ts';
import type { SideFile } from './side-file.ts';
import {
  listSnapshotFiles,
  removeSnapshotFile,
  snapshotFileName,
  writeSnapshotFile,
} from './snapshot-file.ts';
import { STORE_FORMAT } from './store-state.ts';
import type { StoreState } from './store-state.ts';

export interface LogStore {
  /** As found on opening. */
  readonly hardState: HardState;
  /** As found on opening: the entry after which `entries` begin; index 0 and term 0 where nothing was compacted yet. */
  readonly base: { readonly index: LogIndex; readonly term: Term };
  /** As found on opening: from `base` on, without a hole, and as far as `snapshot` at least. */
  readonly entries: readonly Entry[];
  /** As found on opening. */
  readonly snapshot: Snapshot | undefined;
  /** 16 random hexadecimal digits, made when the store was: it changes when the disk is replaced. */
  readonly storeId: string;
  /**
   * Resolves when durable, in the order of the calls. Rejects with `StoreFailedError`, and from then on always. A snapshot that
   * leaves the log as it is does not hold up the answer: the entries that it stands for are durable then, and stay until it is.
   */
  write(write: LogWrite): Promise<void>;
  /** Ends when all that was accepted so far is on disk, snapshots included. */
  close(): Promise<void>;
}

export interface LogStoreOptions {
  readonly directory: string;
  readonly clusterId: string;
  readonly self: PeerId;
  /** Snapshot files hold the membership as this writes it. */
  readonly membershipCodec: MembershipCodec;
  /** Told at once when a snapshot beside the log cannot be recorded, for which no write is rejected: the process must end. */
  readonly onFailure?: (error: StoreFailedError) => void;
}

interface OpenStore {
  readonly database: Database;
  readonly sideFile: SideFile;
  readonly recovered: Recovered;
}

/**
 * Opens the store in `directory`, creating it where there is none. Throws `StoreDamagedError`, `StoreFormatError`,
 * `StoreIdentityError` or `StoreLockedError`, each with a message that says what to do.
 */
export async function openLogStore(options: LogStoreOptions): Promise<LogStore> {
  const { directory } = options;
  await createDurableDirectory(directory);
  const mayCreate = !(await hasReadableSideFile(options));
  const damage = await findDamagedTable(join(directory, 'log'));
  if (damage !== undefined) throw new StoreDamagedError(options, damage);
  const database = await openDatabase(options, { mayCreate });
  let sideFile: SideFile | undefined;
  try {
    // Only now, with LevelDB's lock held, may the side file be trusted to stand still.
    sideFile = await openSideFile(sideFilePath(directory));
    const recovered = (await recover(database, sideFile?.state, options)) ?? unused(options);
    if (sideFile === undefined) {
      await writeBatch(database, [stateOperation(recovered.state)]);
      sideFile = await createSideFile(sideFilePath(directory), recovered.state);
    }
    // LevelDB has made durable what it found when it opened; into the slot that is due, never into the newest.
    if (recovered.isAhead) await sideFile.write(recovered.state);
    await removeLeftovers(database, recovered, directory);
    return createLogStore({ database, sideFile, recovered }, options);
  } catch (error) {
    await sideFile?.close();
    await database.close();
    throw damageOf(options, error);
  }
}

function createLogStore(opened: OpenStore, options: LogStoreOptions): LogStore {
  const { database, sideFile, recovered } = opened;
  const { directory, membershipCodec } = options;
  let current: StoreState = recovered.state;
  let pendingSnapshot: PersistedSnapshot | undefined;
  let closing: Promise<void> | undefined;

  const commit = async (items: readonly WriteItem[]): Promise<void> => {
    const write = mergeWrites(current, items);
    const replacementFile =
      write.replacement === undefined
        ? undefined
        : await writeSnapshotFile(directory, write.replacement.snapshot, membershipCodec);
    const { next, operations } = await encodeWrite(database, current, write, replacementFile);
    await writeBatch(database, operations);
    await sideFile.write(next);
    const previous = current;
    current = next;
    if (next.snapshot !== previous.snapshot)
      background.run(() => removeReplaced(database, directory, previous, next));
  };
  const group = createGroupCommit(commit);
  const background = createBackground((error) => {
    options.onFailure?.(error instanceof StoreFailedError ? error : group.fail(error));
  });

  /** Writes the newest of the snapshots that wait, and only then has the log name it. */
  const recordSnapshot = async (): Promise<void> => {
    const { snapshot, base } = pendingSnapshot ?? {};
    pendingSnapshot = undefined;
    if (snapshot === undefined || base === undefined || snapshot.index <= (current.snapshot?.index ?? 0))
      return;
    const file = await writeSnapshotFile(directory, snapshot, membershipCodec);
    await group.write({ kind: 'record', recorded: { file, base } });
    if (current.snapshot?.index !== file.index)
      await removeSnapshotFile(directory, snapshotFileName(file.index));
  };
  const write = (asked: LogWrite): Promise<void> => {
    if (closing !== undefined) return Promise.reject(new StoreFailedError('the Raft log is closed'));
    const written = group.write({ kind: 'write', write: asked });
    if (asked.snapshot !== undefined) {
      // One that replaces the log is written with it; a snapshot that still waited for its turn is of no use then.
      pendingSnapshot = asked.snapshot.replacesLog ? undefined : asked.snapshot;
      background.run(recordSnapshot);
    }
    return written;
  };
  const close = async (): Promise<void> => {
    await background.settled();
    await group.close();
    await background.settled();
    await sideFile.close();
    await database.close();
  };
  return {
    hardState: recovered.state.hardState,
    base: { index: recovered.state.base.index, term: recovered.state.base.term },
    entries: recovered.entries,
    snapshot: recovered.snapshot,
    storeId: recovered.state.storeId,
    write,
    close: () => (closing ??= close()),
  };
}

/** What the write from `previous` to `next` left behind: not synchronous, since whatever stays has no meaning. */
async function removeReplaced(
  database: Database,
  directory: string,
  previous: StoreState,
  next: StoreState,
): Promise<void> {
  if (previous.snapshot !== undefined)
    await removeSnapshotFile(directory, snapshotFileName(previous.snapshot.index));
  await database.clear({ gt: entryKey(previous.base.index), lte: entryKey(next.base.index) });
}

/** What a crash left behind. Only after the store was found sound: until then it may be evidence. */
async function removeLeftovers(database: Database, recovered: Recovered, directory: string): Promise<void> {
  const { base, snapshot } = recovered.state;
  const inForce = snapshot === undefined ? undefined : snapshotFileName(snapshot.index);
  for (const name of await listSnapshotFiles(directory)) {
    if (name !== inForce) await removeSnapshotFile(directory, name);
  }
  if (recovered.hasEntriesBelowBase) await database.clear({ lte: entryKey(base.index) });
}

function unused(options: LogStoreOptions): Recovered {
  const state: StoreState = {
    sequence: 1,
    clusterId: options.clusterId,
    self: options.self,
    storeId: randomBytes(8).toString('hex'),
    hardState: { term: term(0), votedFor: undefined },
    base: { index: logIndex(0), term: term(0), hash: CHAIN_START },
    lastIndex: logIndex(0),
    chainHead: CHAIN_START,
    snapshot: undefined,
  };
  return { state, entries: [], snapshot: undefined, isAhead: false, hasEntriesBelowBase: false };
}

/** Whether there is a side file. Throws where no slot of it can be read, before LevelDB touches anything. */
async function hasReadableSideFile(options: LogStoreOptions): Promise<boolean> {
  const sideFile = await openSideFile(sideFilePath(options.directory));
  await sideFile?.close();
  if (sideFile === undefined || sideFile.state !== undefined) return sideFile !== undefined;
  if (sideFile.foreignFormat !== undefined)
    throw new StoreFormatError(options, sideFile.foreignFormat, STORE_FORMAT);
  throw new StoreDamagedError(options, 'neither slot of the file "hard-state" is readable');
}

function sideFilePath(directory: string): string {
  return join(directory, 'hard-state');
}
