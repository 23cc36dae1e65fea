// Reads a store back and decides whether it may be used: contiguity, checksums, the chain of hashes, and the two records of
// where the log ends. A store one write ahead of the side file crashed between the two; anything else that differs is damage.
// Must never repair, and never return fewer entries than this peer has answered for.
import type { Level } from 'level';
import { logIndex } from '../base/ids.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
import type { Entry } from '../raft/types.ts';
import { CHAIN_START, decodeEntry } from './entry-codec.ts';
import { StoreDamagedError, StoreIdentityError } from './errors.ts';
import { ENTRY_KEY_BYTES, indexOfEntryKey, isEntryKey, STATE_KEY } from './keys.ts';
import { decodeStoreState } from './store-state.ts';
import type { StoreState } from './store-state.ts';

export interface Identity {
  readonly directory: string;
  readonly clusterId: string;
  readonly self: PeerId;
}

export interface Recovered {
  readonly state: StoreState;
  readonly entries: readonly Entry[];
  /** The last write reached LevelDB only: the side file has to be brought up before anybody is answered. */
  readonly isAhead: boolean;
}

interface Contents {
  readonly entries: Entry[];
  readonly chainHead: Buffer;
  readonly state: StoreState | undefined;
}

/**
 * Checks LevelDB against the newest good slot of the side file (`undefined`: there is no side file). Returns `undefined` for
 * a store that was never used. Throws {@link StoreDamagedError} or {@link StoreIdentityError}.
 */
export async function recover(
  database: Level<Buffer, Buffer>,
  sideState: StoreState | undefined,
  identity: Identity,
): Promise<Recovered | undefined> {
  const damaged = (found: string): StoreDamagedError => new StoreDamagedError(identity.directory, found);
  const { entries, chainHead, state } = await readContents(database, identity.directory);
  for (const found of [sideState, state]) {
    if (found !== undefined) checkIdentity(found, identity);
  }
  if (state === undefined) {
    if (sideState !== undefined) throw damaged(`the log lost its record of write ${sideState.sequence}`);
    if (entries.length > 0)
      throw damaged(`${entries.length} entries without a record of their writing were found`);
    return undefined;
  }
  if (sideState === undefined && !isUnused(state)) throw damaged('the file "hard-state" is missing');
  const answered = sideState?.sequence ?? state.sequence - 1;
  if (state.sequence < answered) {
    throw damaged(
      `the log ends at entry ${state.lastIndex} (write ${state.sequence}), but this peer has answered for entry ` +
        `${sideState?.lastIndex} (write ${answered}): a tail was lost`,
    );
  }
  if (state.sequence > answered + 1) {
    throw damaged(
      `the file "hard-state" stands at write ${answered}, the log at write ${state.sequence}: the file is an old copy`,
    );
  }
  const lastIndex = entries.length;
  if (state.lastIndex !== lastIndex)
    throw damaged(`the log should end at entry ${state.lastIndex}, but ends at ${lastIndex}`);
  if (!state.chainHead.equals(chainHead))
    throw damaged(`entry ${lastIndex} is not the one that was written last`);
  if (sideState?.sequence === state.sequence && !isSame(sideState, state)) {
    throw damaged(`the log and the file "hard-state" differ about write ${state.sequence}`);
  }
  return { state, entries, isAhead: sideState?.sequence !== state.sequence };
}

async function readContents(database: Level<Buffer, Buffer>, directory: string): Promise<Contents> {
  const entries: Entry[] = [];
  let chainHead = CHAIN_START;
  let state: StoreState | undefined;
  for await (const [key, value] of database.iterator()) {
    if (key.equals(STATE_KEY)) {
      state = decodeStoreState(value);
      if (state === undefined)
        throw new StoreDamagedError(directory, 'the record of the last write is unreadable');
      continue;
    }
    if (!isEntryKey(key)) {
      throw new StoreDamagedError(
        directory,
        `an unknown key was found (${key.toString('hex', 0, ENTRY_KEY_BYTES)})`,
      );
    }
    const expected: LogIndex = logIndex(entries.length + 1);
    const index = indexOfEntryKey(key);
    if (index !== expected)
      throw new StoreDamagedError(directory, `entry ${expected} is missing; the next one is ${index}`);
    const decoded = decodeEntry(value, index);
    if (decoded.kind === 'damaged') throw new StoreDamagedError(directory, decoded.reason);
    if (!decoded.previousHash.equals(chainHead)) {
      throw new StoreDamagedError(directory, `entry ${index} does not follow the entry before it`);
    }
    entries.push(decoded.entry);
    chainHead = Buffer.from(decoded.hash);
  }
  return { entries, chainHead, state };
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

function isSame(a: StoreState, b: StoreState): boolean {
  return (
    a.hardState.term === b.hardState.term &&
    a.hardState.votedFor === b.hardState.votedFor &&
    a.lastIndex === b.lastIndex &&
    a.chainHead.equals(b.chainHead)
  );
}
