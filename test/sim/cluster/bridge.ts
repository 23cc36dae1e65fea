// From entries to states and back. Peers of one life share what they decode and apply: the same entry on the same state gives the
// same object, so that each entry is applied once and compared by identity. Some lives use the real codec, the rest a token.
// Must never share anything between two lives: what is remembered hangs on objects of the life.
import { logIndex, term } from '../../../src/base/ids.ts';
import { apply, applyNothing, emptyState } from '../../../src/cluster/apply.ts';
import type { ApplyResult } from '../../../src/cluster/apply.ts';
import { applyMembership } from '../../../src/cluster/apply-membership.ts';
import {
  decodeEnvelope,
  decodeMembership,
  encodeEnvelope,
  encodeMembership,
} from '../../../src/cluster/codec.ts';
import type { Envelope } from '../../../src/cluster/commands.ts';
import type { ClusterState } from '../../../src/cluster/state.ts';
import {
  decodeState as decodeRealState,
  encodeState as encodeRealState,
} from '../../../src/cluster/snapshot-codec.ts';
import type { Entry, Membership, MembershipCodec, Snapshot } from '../../../src/raft/types.ts';
import type { World } from '../world.ts';

const envelopes = new WeakMap<Uint8Array, Envelope>();
const memberships = new WeakMap<Uint8Array, Membership>();
const states = new WeakMap<Uint8Array, ClusterState>();
const written = new WeakMap<ClusterState, Uint8Array>();
const empty = new WeakMap<Membership, ClusterState>();
const successors = new WeakMap<ClusterState, Applied>();

/** One entry applied to one state. */
export interface Applied {
  readonly entry: Entry;
  readonly state: ClusterState;
  /** Of a command. */
  readonly envelope: Envelope | undefined;
  readonly result: ApplyResult | undefined;
}

let usesRealCodec = false;
let tokenCount = 0;

/** At the beginning of a life. */
export function chooseCodec(isReal: boolean): void {
  usesRealCodec = isReal;
  tokenCount = 0;
}

/** Bytes of about the length that the real ones have, each different from all others. */
function token(length: number): Uint8Array {
  tokenCount += 1;
  const data = new Uint8Array(length);
  data[0] = tokenCount;
  data[1] = tokenCount >> 8;
  data[2] = tokenCount >> 16;
  return data;
}

/** @public The real proposer encodes by it in the test build. */
export function encode(envelope: Envelope): Uint8Array {
  if (usesRealCodec) return encodeEnvelope(envelope);
  const data = token(56);
  envelopes.set(data, envelope);
  return data;
}

export function decode(data: Uint8Array): Envelope {
  const known = envelopes.get(data);
  if (known !== undefined) return known;
  const envelope = decodeEnvelope(data);
  envelopes.set(data, envelope);
  return envelope;
}

export const MEMBERSHIP_CODEC: MembershipCodec = {
  encode(membership) {
    const data = usesRealCodec ? encodeMembership(membership) : token(48);
    memberships.set(data, usesRealCodec ? decodeMembership(data) : membership);
    return data;
  },
  decode(data) {
    const membership = memberships.get(data);
    if (membership === undefined) throw new Error('a membership that nobody wrote');
    return membership;
  },
};

export function encodeState(state: ClusterState): Uint8Array {
  const known = written.get(state);
  if (known !== undefined) return known;
  const data = usesRealCodec ? encodeRealState(state) : token(400);
  if (usesRealCodec) {
    // What is read back goes on as if it were the same object, where it says the same.
    const back = encodeRealState(decodeRealState(data));
    if (back.length !== data.length || back.some((byte, place) => byte !== data[place]))
      throw new Error(`the snapshot of ${state.appliedIndex} is read back as something else`);
  }
  states.set(data, state);
  written.set(state, data);
  return data;
}

export function decodeState(data: Uint8Array): ClusterState {
  const state = states.get(data);
  if (state === undefined) throw new Error('a snapshot that nobody wrote');
  return state;
}

/** Where the log of a new cluster begins, on all of its first peers alike (src/daemon/beginning.ts). */
export function firstSnapshot(membership: Membership): Snapshot {
  const index = logIndex(1);
  return {
    index,
    term: term(1),
    membership,
    data: encodeState({ ...emptyState(membership), appliedIndex: index }),
  };
}

/** What a process begins with. */
export function startingState(snapshot: Snapshot | undefined, initial: Membership): ClusterState {
  if (snapshot !== undefined) return decodeState(snapshot.data);
  let state = empty.get(initial);
  if (state === undefined) {
    state = emptyState(initial);
    empty.set(initial, state);
  }
  return state;
}

/** Called once for each entry that is applied to a state for the first time in a life. */
export type OnFirstApplied = (world: World, before: ClusterState, applied: Applied) => void;

/** The state after `entry`. */
export function applyEntry(
  world: World,
  state: ClusterState,
  entry: Entry,
  onFirst: OnFirstApplied,
): Applied {
  const known = successors.get(state);
  if (known !== undefined && known.entry === entry) return known;
  const applied = applyAnew(state, entry);
  successors.set(state, applied);
  onFirst(world, state, applied);
  return applied;
}

/** The state after an entry that is not known to be committed. */
export function applyAhead(state: ClusterState, entry: Entry): ClusterState {
  const known = successors.get(state);
  return known?.entry === entry ? known.state : applyAnew(state, entry).state;
}

function applyAnew(state: ClusterState, entry: Entry): Applied {
  switch (entry.kind) {
    case 'noop':
      return { entry, state: applyNothing(state, entry.index), envelope: undefined, result: undefined };
    case 'config': {
      const membership = MEMBERSHIP_CODEC.decode(entry.data);
      return {
        entry,
        state: applyMembership(state, entry.index, membership),
        envelope: undefined,
        result: undefined,
      };
    }
    case 'command': {
      const envelope = decode(entry.data);
      const result = apply(state, entry.index, envelope);
      return { entry, state: result.state, envelope, result };
    }
  }
}
