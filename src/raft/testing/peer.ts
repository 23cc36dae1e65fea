// One core under test, with a clock and a disk worked by hand. Never used outside tests.
import { logIndex, peerId, term } from '../../base/ids.ts';
import type { LogIndex, PeerId, Term } from '../../base/ids.ts';
import type { LogBase } from '../log.ts';
import { createRaft, stepAll } from '../raft.ts';
import type { Raft } from '../state.ts';
import { DEFAULT_RAFT_SETTINGS } from '../types.ts';
import type {
  Entry,
  Membership,
  RaftEffect,
  RaftEvent,
  RaftMessage,
  RaftSettings,
  Snapshot,
} from '../types.ts';
import { JSON_CODEC, membershipOf } from './codec.ts';

export const P1: PeerId = peerId('p1');
export const P2: PeerId = peerId('p2');
export const P3: PeerId = peerId('p3');
export const P4: PeerId = peerId('p4');

export const at = (value: number): LogIndex => logIndex(value);
export const of = (value: number): Term => term(value);

export function entry(index: number, ofTerm: number, text = `e${index}`): Entry {
  return { index: at(index), term: of(ofTerm), kind: 'command', data: new TextEncoder().encode(text) };
}

export function configEntry(index: number, ofTerm: number, membership: Membership): Entry {
  return { index: at(index), term: of(ofTerm), kind: 'config', data: JSON_CODEC.encode(membership) };
}

export function snapshotAt(index: number, ofTerm: number, membership = membershipOf([P1, P2, P3])): Snapshot {
  return { index: at(index), term: of(ofTerm), membership, data: new Uint8Array([index]) };
}

/** Entries from index 1 on with these terms. */
export function logOf(...terms: readonly number[]): Entry[] {
  return terms.map((ofTerm, position) => entry(position + 1, ofTerm));
}

export interface PeerUnderTest {
  readonly raft: Raft;
  wait(durationMs: number): void;
  step(...bodies: readonly EventBody[]): RaftEffect[];
  tick(): RaftEffect[];
  receive(from: PeerId, message: RaftMessage): RaftEffect[];
  /** All writes up to now are durable. */
  persist(): RaftEffect[];
}

type EventBody = RaftEvent extends infer Each
  ? Each extends RaftEvent
    ? Omit<Each, 'nowMs' | 'random'>
    : never
  : never;

export function peerUnderTest(options: {
  readonly voters?: readonly PeerId[];
  readonly learners?: readonly PeerId[];
  /** Takes the place of `voters` and `learners`. */
  readonly membership?: Membership;
  readonly snapshot?: Snapshot;
  /** What `log` follows; the snapshot where it is not given. */
  readonly base?: LogBase;
  readonly log?: readonly Entry[];
  readonly term?: number;
  readonly votedFor?: PeerId;
  readonly settings?: Partial<RaftSettings>;
}): PeerUnderTest {
  let nowMs = 0;
  const entries = options.log ?? [];
  const base = options.base ?? {
    index: options.snapshot?.index ?? at(0),
    term: options.snapshot?.term ?? of(0),
  };
  const raft = createRaft({
    self: P1,
    membership: options.membership ?? membershipOf(options.voters ?? [P1, P2, P3], options.learners),
    codec: JSON_CODEC,
    settings: { ...DEFAULT_RAFT_SETTINGS, heartbeatMs: 100, ...options.settings },
    hardState: { term: of(options.term ?? entries.at(-1)?.term ?? base.term), votedFor: options.votedFor },
    snapshot: options.snapshot,
    base,
    entries,
    nowMs,
    random: 0,
  });
  const step = (...bodies: readonly EventBody[]): RaftEffect[] =>
    stepAll(
      raft,
      bodies.map((body) => ({ ...body, nowMs, random: 0 }) as RaftEvent),
    );
  return {
    raft,
    wait: (durationMs) => {
      nowMs += durationMs;
    },
    step,
    tick: () => step({ kind: 'tick' }),
    receive: (from, message) => step({ kind: 'receive', from, message }),
    persist: () => step({ kind: 'persisted', ticket: raft.durability.issuedTicket }),
  };
}

/** A peer that has just been elected; its no-op is appended, durable here, and on its way to the others. */
export function leaderUnderTest(options: Parameters<typeof peerUnderTest>[0] = {}): PeerUnderTest {
  const peer = peerUnderTest(options);
  peer.wait(DEFAULT_RAFT_SETTINGS.electionMs);
  peer.tick();
  for (const preVote of [true, false]) {
    const ofTerm = of(peer.raft.term + (preVote ? 1 : 0));
    for (const voter of peer.raft.membership.voters) {
      if (voter !== P1 && peer.raft.role !== 'leader') {
        peer.receive(voter, { kind: 'vote-reply', term: ofTerm, preVote, granted: true });
      }
      if (preVote && peer.raft.role === 'candidate') break;
    }
    peer.persist();
  }
  if (peer.raft.role !== 'leader') throw new Error(`not elected, but ${peer.raft.role}`);
  peer.persist();
  return peer;
}

/** The follower says that its log is durable and equal up to `index`. */
export function acknowledges(peer: PeerUnderTest, from: PeerId, index: number): RaftEffect[] {
  const hint = { hintIndex: at(0), hintTerm: of(0) };
  return peer.receive(from, {
    kind: 'append-reply',
    term: peer.raft.term,
    round: Math.max(1, peer.raft.leading?.progress.get(from)?.firstRound ?? 1),
    success: true,
    matchIndex: at(index),
    ...hint,
  });
}

export function appendRequest(
  ofTerm: number,
  previous: readonly [index: number, term: number],
  entries: readonly Entry[],
  commitIndex = 0,
): Extract<RaftMessage, { kind: 'append-request' }> {
  const [prevIndex, prevTerm] = previous;
  return {
    kind: 'append-request',
    term: of(ofTerm),
    prevIndex: at(prevIndex),
    prevTerm: of(prevTerm),
    entries,
    commitIndex: at(commitIndex),
    round: 1,
  };
}

export function sentTo(effects: readonly RaftEffect[], to: PeerId): RaftMessage[] {
  return effects.flatMap((effect) => (effect.kind === 'send' && effect.to === to ? [effect.message] : []));
}

export function snapshotRequest(
  ofTerm: number,
  snapshot: Snapshot,
  round = 1,
): Extract<RaftMessage, { kind: 'snapshot-request' }> {
  return { kind: 'snapshot-request', term: of(ofTerm), snapshot, round };
}

/** The first effect of that kind. */
export function effectOf<Kind extends RaftEffect['kind']>(
  effects: readonly RaftEffect[],
  kind: Kind,
): Extract<RaftEffect, { kind: Kind }> | undefined {
  return effects.find((effect): effect is Extract<RaftEffect, { kind: Kind }> => effect.kind === kind);
}

export function committedIn(effects: readonly RaftEffect[]): number[] {
  return effects.flatMap((effect) =>
    effect.kind === 'commit' ? effect.entries.map(({ index }) => index) : [],
  );
}

export function termsOf(raft: Raft): number[] {
  return raft.log.entries.map((each) => each.term);
}
