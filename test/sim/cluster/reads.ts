// Linearizable reads of one process: an index from the core, then a state here that is applied up to it.
// Must never call a read ready before the state is.
import type { LogIndex } from '../../../src/base/ids.ts';
import { put } from '../raft/inbox.ts';
import type { Host, ReadHandle, World } from '../world.ts';

/** Asks for an index from which a read is not stale, and waits until the state here is applied up to it. */
export function startRead(world: World, host: Host, onSettled: ReadHandle['onSettled']): ReadHandle {
  const handle: ReadHandle = { index: undefined, state: 'pending', onSettled };
  if (host.raft === undefined) {
    handle.state = 'refused';
    return handle;
  }
  host.readCount += 1;
  const readId = `${host.id}.${host.boot}.${host.readCount}`;
  host.reads.set(readId, handle);
  world.logChecks.readsAsked.set(readId, world.logChecks.committed.length);
  put(world, host, { kind: 'read', nowMs: 0, readId });
  return handle;
}

/** The core's answer; without an index it was refused. */
export function readSettled(_world: World, host: Host, readId: string, index: LogIndex | undefined): void {
  const handle = host.reads.get(readId);
  if (handle === undefined) return;
  handle.index = index;
  if (index !== undefined && (host.replica?.state.appliedIndex ?? 0) < index) return;
  host.reads.delete(readId);
  settleRead(handle);
}

export function settleRead(handle: ReadHandle): void {
  handle.state = handle.index === undefined ? 'refused' : 'ready';
  handle.onSettled?.(handle);
}
