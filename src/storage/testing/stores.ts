// Small stores in temporary directories, for tests.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logIndex, peerId, term } from '../../base/ids.ts';
import type { PeerId } from '../../base/ids.ts';
import type { Entry, HardState, Membership, MembershipCodec, PersistedSnapshot } from '../../raft/types.ts';
import { openLogStore } from '../log-store.ts';
import type { LogStore, LogStoreOptions } from '../log-store.ts';

export const SELF: PeerId = peerId('p1');

export const MEMBERSHIP: Membership = {
  voters: [peerId('p1'), peerId('p2')],
  learners: [peerId('p3')],
  addresses: new Map([[peerId('p1'), '127.0.0.1:7001']]),
  incarnation: 1,
};

export const membershipCodec: MembershipCodec = {
  encode: (membership) =>
    new TextEncoder().encode(JSON.stringify({ ...membership, addresses: [...membership.addresses] })),
  decode: (data) => {
    const membership = JSON.parse(new TextDecoder().decode(data)) as Membership & {
      readonly addresses: [PeerId, string][];
    };
    return { ...membership, addresses: new Map(membership.addresses) };
  },
};

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

/** A snapshot after which the log begins at `base`: its own place, where none is given. */
export function persisted(
  index: number,
  ofTerm: number,
  options: { base?: { index: number; term: number }; replacesLog?: boolean; data?: Uint8Array } = {},
): PersistedSnapshot {
  const base = options.base ?? { index, term: ofTerm };
  return {
    snapshot: {
      index: logIndex(index),
      term: term(ofTerm),
      membership: MEMBERSHIP,
      data: options.data ?? new TextEncoder().encode(`state at ${index}`),
    },
    base: { index: logIndex(base.index), term: term(base.term) },
    replacesLog: options.replacesLog ?? false,
  };
}

export function open(
  directory: string,
  options: { clusterId?: string; self?: PeerId; onFailure?: LogStoreOptions['onFailure'] } = {},
): Promise<LogStore> {
  const { clusterId = 'blue', self = SELF, onFailure } = options;
  return openLogStore({
    directory,
    clusterId,
    self,
    membershipCodec,
    ...(onFailure === undefined ? {} : { onFailure }),
  });
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
