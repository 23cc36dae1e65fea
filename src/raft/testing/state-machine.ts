// A replicated state for the simulator: a digest of everything applied, so that two that applied the same are equal and a
// snapshot can be checked against the log it stands for. Never used outside tests.
import { logIndex } from '../../base/ids.ts';
import type { LogIndex } from '../../base/ids.ts';
import type { Entry, Snapshot } from '../types.ts';

export interface AppliedState {
  readonly index: LogIndex;
  readonly digest: number;
}

export const EMPTY_STATE: AppliedState = { index: logIndex(0), digest: 0 };

export function applyEntries(state: AppliedState, entries: readonly Entry[]): AppliedState {
  let { index, digest } = state;
  for (const entry of entries) {
    if (entry.index !== index + 1) throw new Error(`applied ${entry.index} after ${index}`);
    index = entry.index;
    digest = mix(digest, entry.index * 31 + entry.term);
    for (const byte of entry.data) digest = mix(digest, byte);
  }
  return { index, digest };
}

export function writeState({ index, digest }: AppliedState): Uint8Array {
  return new TextEncoder().encode(`${index} ${digest}`);
}

export function appliedFrom(snapshot: Snapshot | undefined): AppliedState {
  if (snapshot === undefined) return EMPTY_STATE;
  const [index, digest] = new TextDecoder().decode(snapshot.data).split(' ').map(Number);
  return { index: logIndex(index ?? 0), digest: digest ?? 0 };
}

function mix(digest: number, value: number): number {
  return Math.imul(digest ^ value, 0x01000193) >>> 0;
}
