// Reads a store back and decides whether it may be used: contiguity, checksums, the chain of hashes, the snapshot, and the
// two records of where the log ends. A store one write ahead of the side file crashed between the two; anything else that
// differs is damage. Must never repair, and never return less than this peer has answered for.
import { logIndex } from '../base/ids.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
import type { Entry, MembershipCodec, Snapshot } from '../raft/types.ts';
import type { Database } from './database.ts';
import { decodeEntry } from './entry-codec.ts';
import { StoreDamagedError, StoreIdentityError } from './errors.ts';
import { ENTRY_KEY_BYTES, indexOfEntryKey, isEntryKey, STATE_KEY } from './keys.ts';
import { listSnapshotFiles, readSnapshotFile } from './snapshot-file.ts';
import { decodeStoreState, encodeStoreState } from './store-state.ts';
import type { StoreState } from './store-state.ts';

export interface Identity {
  readonly directory: string;
  readonly clusterId: string;
  readonly self: PeerId;
  readonly membershipCodec: MembershipCodec;
}

export interface Recovered {
  readonly state: StoreState;
  readonly entries: readonly Entry[];
  readonly snapshot: Snapshot | undefined;
  /** The last write reached LevelDB only: the side file has to be brought up before anybody is answered. */
  readonly isAhead: boolean;
  /** A crash came between the record of a snapshot and the removal of the entries that it stands for. */
  readonly hasEntriesBelowBase: boolean;
}

interface Contents {
  readonly entries: readonly Entry[];
  readonly chainHead: Buffer;
  readonly hasEntriesBelowBase: boolean;
}

/**
 * Checks LevelDB against the newest good slot of the side file (`undefined`: there is no side file). Returns `undefined` for
 * a store that was never used. Throws {@link StoreDamagedError} or {@link StoreIdentityError}.
 */
export async function recover(
  database: Database,
  sideState: StoreState | undefined,
  identity: Identity,
): Promise<Recovered | undefined> {
  const state = await readState(database, identity);
  for (const found of [sideState, state]) {
    if (found !== undefined) checkIdentity(found, identity);
  }
  if (state === undefined || (sideState === undefined && isUnused(state))) {
    if (sideState !== undefined)
      throw new StoreDamagedError(identity, `the log lost its record of write ${sideState.sequence}`);
    await checkUnused(database, identity);
    return state === undefined
      ? undefined
      : { state, entries: [], snapshot: undefined, isAhead: false, hasEntriesBelowBase: false };
  }
  checkAnswered(state, sideState, identity);
  const { entries, chainHead, hasEntriesBelowBase } = await readEntries(database, state, identity);
  const lastIndex = state.base.index + entries.length;
  if (state.lastIndex !== lastIndex) {
    throw new StoreDamagedError(
      identity,
      `the log should end at entry ${state.lastIndex}, but ends at ${lastIndex}`,
    );
  }
  if (!state.chainHead.equals(chainHead)) {
    throw new StoreDamagedError(identity, `entry ${lastIndex} is not the one that was written last`);
  }
  const snapshot = await readSnapshot(state, identity);
  return { state, entries, snapshot, isAhead: sideState?.sequence !== state.sequence, hasEntriesBelowBase };
}

async function readState(database: Database, identity: Identity): Promise<StoreState | undefined> {
  const bytes: Buffer | undefined = await database.get(STATE_KEY);
  if (bytes === undefined) return undefined;
  const state = decodeStoreState(bytes);
  if (state === undefined)
    throw new StoreDamagedError(identity, 'the record of the last write is unreadable');
  return state;
}

/** Compares where the log ends with up to where this peer has answered. */
function checkAnswered(state: StoreState, sideState: StoreState | undefined, identity: Identity): void {
  const damaged = (found: string): StoreDamagedError => new StoreDamagedError(identity, found);
  if (sideState === undefined) throw damaged('the file "hard-state" is missing');
  if (sideState.storeId !== state.storeId) {
    throw damaged(
      `the log is of store ${state.storeId}, the file "hard-state" of store ${sideState.storeId}: they do not belong together`,
    );
  }
  const answered = sideState.sequence;
  if (state.sequence < answered) {
    throw damaged(
      `the log ends at entry ${state.lastIndex} (write ${state.sequence}), but this peer has answered for entry ` +
        `${sideState.lastIndex} (write ${answered}): a tail was lost`,
    );
  }
  if (state.sequence > answered + 1) {
    throw damaged(
      `the file "hard-state" stands at write ${answered}, the log at write ${state.sequence}: the file is an old copy`,
    );
  }
  if (answered === state.sequence && !encodeStoreState(sideState).equals(encodeStoreState(state))) {
    throw damaged(`the log and the file "hard-state" differ about write ${state.sequence}`);
  }
}

/** A store that was never written to has no entry and no snapshot; otherwise its record and side file were lost. */
async function checkUnused(database: Database, identity: Identity): Promise<void> {
  const keys = (await database.keys().all()).filter((key) => !key.equals(STATE_KEY));
  if (keys.length > 0) {
    throw new StoreDamagedError(
      identity,
      `${keys.length} entries without a record of their writing were found`,
    );
  }
  const snapshots = await listSnapshotFiles(identity.directory);
  if (snapshots.length > 0) {
    throw new StoreDamagedError(
      identity,
      `the log and the file "hard-state" are gone, but a snapshot is there (${snapshots.join(', ')})`,
    );
  }
}

async function readEntries(database: Database, state: StoreState, identity: Identity): Promise<Contents> {
  const damaged = (found: string): StoreDamagedError => new StoreDamagedError(identity, found);
  const entries: Entry[] = [];
  let chainHead = state.base.hash;
  let hasEntriesBelowBase = false;
  for await (const [key, value] of database.iterator()) {
    if (key.equals(STATE_KEY)) continue;
    if (!isEntryKey(key))
      throw damaged(`an unknown key was found (${key.toString('hex', 0, ENTRY_KEY_BYTES)})`);
    const index = indexOfEntryKey(key);
    if (index <= state.base.index) {
      hasEntriesBelowBase = true;
      continue;
    }
    const expected: LogIndex = logIndex(state.base.index + entries.length + 1);
    if (index !== expected) throw damaged(`entry ${expected} is missing; the next one is ${index}`);
    const decoded = decodeEntry(value, index);
    if (decoded.kind === 'damaged') throw damaged(decoded.reason);
    if (!decoded.previousHash.equals(chainHead))
      throw damaged(`entry ${index} does not follow the entry before it`);
    entries.push(decoded.entry);
    chainHead = Buffer.from(decoded.hash);
  }
  return { entries, chainHead, hasEntriesBelowBase };
}

async function readSnapshot(state: StoreState, identity: Identity): Promise<Snapshot | undefined> {
  if (state.snapshot === undefined) return undefined;
  const read = await readSnapshotFile(identity.directory, state.snapshot, identity.membershipCodec);
  if (read.kind === 'damaged') throw new StoreDamagedError(identity, read.reason);
  return read.snapshot;
}

function checkIdentity(state: StoreState, identity: Identity): void {
  if (state.clusterId !== identity.clusterId) {
    throw new StoreIdentityError(identity.directory, 'cluster', state.clusterId, identity.clusterId);
  }
  if (state.self !== identity.self)
    throw new StoreIdentityError(identity.directory, 'peer', state.self, identity.self);
}

/** Only the write that creates a store has this number: a crash before the side file existed leaves just that. */
function isUnused(state: StoreState): boolean {
  return state.sequence === 1;
}
