// Small stores in temporary directories, for tests.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logIndex, peerId, term } from '../../base/ids.ts';
import type { PeerId } from '../../base/ids.ts';
import type { Entry, HardState } from '../../raft/types.ts';
import { openLogStore } from '../log-store.ts';
import type { LogStore } from '../log-store.ts';

export const SELF: PeerId = peerId('p1');

export function entry(index: number, ofTerm: number, text = `entry ${index} of term ${ofTerm}`): Entry {
  return {
    index: logIndex(index),
    term: term(ofTerm),
    kind: 'command',
    data: new TextEncoder().encode(text),
  };
}

export function hardState(ofTerm: number, votedFor?: string): HardState {
  return { term: term(ofTerm), votedFor: votedFor === undefined ? undefined : peerId(votedFor) };
}

export function open(
  directory: string,
  identity: { clusterId?: string; self?: PeerId } = {},
): Promise<LogStore> {
  return openLogStore({ directory, clusterId: identity.clusterId ?? 'blue', self: identity.self ?? SELF });
}

/** Runs `body` with a directory that does not exist yet, and removes it afterwards. */
export async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const parent = await mkdtemp(join(tmpdir(), 'pg-sentinel-store-'));
  try {
    await body(join(parent, 'raft'));
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

export function texts(entries: readonly Entry[]): string[] {
  return entries.map(
    ({ index, term: ofTerm, data }) => `${index}/${ofTerm} ${new TextDecoder().decode(data)}`,
  );
}
