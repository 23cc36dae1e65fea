// Elections of real cores whose messages take long: nobody may stand for ever because all stand at once.
import { beforeEach, describe, expect, test } from 'vitest';
import { type PeerId, peerId } from '../base/ids.ts';
import { createRaft, stepAll } from './raft.ts';
import type { Raft } from './state.ts';
import { at, of, P1, P2, P3, P4, type PeerUnderTest, peerUnderTest } from './testing/peer.ts';
import { JSON_CODEC, membershipOf } from './testing/codec.ts';
import { seededRandom } from './testing/random.ts';
import { createTimeline } from './testing/timeline.ts';
import { DEFAULT_RAFT_SETTINGS, type RaftEvent, type RaftMessage } from './types.ts';

const VOTERS = [P1, P2, P3];
const TICK_MS = 10;
const GIVE_UP_MS = 60_000;
/** One way: there and back takes less than `electionMs`, so that a leader can stay, and more than `electionSpreadMs`. */
const SLOW_MS = 200;

/** Virtual milliseconds from a start without a leader until all follow one. */
function electionMs(seed: number, latencyMs: number): number {
  const random = seededRandom(seed);
  const timeline = createTimeline();
  const cores = new Map<PeerId, Raft>();
  const step = (peer: PeerId, event: (now: { nowMs: number; random: number }) => RaftEvent): void => {
    const core = cores.get(peer);
    if (core === undefined) return;
    for (const effect of stepAll(core, [event({ nowMs: timeline.nowMs(), random: random.next() })])) {
      if (effect.kind === 'send')
        timeline.after(latencyMs, () => step(effect.to, receive(peer, effect.message)));
      if (effect.kind === 'persist') {
        const { ticket } = effect;
        timeline.after(1, () => step(peer, ({ nowMs }) => ({ kind: 'persisted', nowMs, ticket })));
      }
    }
  };
  const receive = (from: PeerId, message: RaftMessage) => (now: { nowMs: number; random: number }) =>
    ({ kind: 'receive', ...now, from, message }) as const;
  const tick = (peer: PeerId): void => {
    step(peer, (now) => ({ kind: 'tick', ...now }));
    timeline.after(TICK_MS, () => tick(peer));
  };
  for (const self of VOTERS) {
    cores.set(
      self,
      createRaft({
        ...{ self, membership: membershipOf(VOTERS), codec: JSON_CODEC, settings: DEFAULT_RAFT_SETTINGS },
        hardState: { term: of(0), votedFor: undefined },
        snapshot: undefined,
        base: { index: at(0), term: of(0) },
        entries: [],
        nowMs: 0,
        random: random.next(),
      }),
    );
    tick(self);
  }
  const isOver = (): boolean => {
    const [leader, ...more] = new Set([...cores.values()].map((core) => core.leader));
    return leader !== undefined && more.length === 0;
  };
  while (!isOver() && timeline.nowMs() < GIVE_UP_MS) timeline.advance(GIVE_UP_MS);
  return timeline.nowMs();
}

const timesOf = (latencyMs: number): number[] =>
  Array.from({ length: 500 }, (_, seed) => electionMs(seed, latencyMs)).toSorted((a, b) => a - b);

test('ends soon however many stand at once, because they wait for longer and longer by chance', () => {
  const times = timesOf(SLOW_MS);
  expect(times.at(-1), `the median is ${times[250]} ms`).toBeLessThan(12_000);
});

test('where messages are fast the first election ends it', () => {
  expect(timesOf(1).at(-1)).toBeLessThan(3000);
});

test('the random part grows to eight times what it is, and no further', () => {
  const peer = peerUnderTest({ term: 2 });
  const waits: number[] = [];
  for (let round = 0; round < 6; round += 1) {
    peer.wait(5000);
    const sinceMs = peer.raft.nowMs + 5000;
    stepAll(peer.raft, [{ kind: 'tick', nowMs: sinceMs, random: 1 }]);
    waits.push(peer.raft.electionDeadlineMs - sinceMs);
    peer.wait(5000);
    peer.receive(P2, { kind: 'vote-reply', term: of(2), preVote: true, granted: false });
  }
  expect(waits).toEqual([800, 1100, 1700, 2900, 2900, 2900]);
});

test('a peer that hears of nobody waits no longer than before, to be there at once when it is heard again', () => {
  const peer = peerUnderTest({});
  for (let round = 0; round < 5; round += 1) {
    peer.wait(1000);
    peer.tick();
  }
  expect(peer.raft.role).toBe('pre-candidate');
  expect(peer.raft.undecided).toBe(0);
});

/** Stands, and is refused its vote by one of the others. */
function standInVain(peer: PeerUnderTest): void {
  peer.wait(1000);
  peer.tick();
  peer.receive(P2, { kind: 'vote-reply', term: of(2), preVote: true, granted: false });
}

test('a minority that talks to each other waits no longer than before', () => {
  const peer = peerUnderTest({ term: 2, voters: [P1, P2, P3, P4, peerId('p5')] });
  for (let round = 0; round < 5; round += 1) standInVain(peer);
  expect(peer.raft.undecided).toBe(0);
});

describe('an election is a first one again', () => {
  let peer: PeerUnderTest;
  beforeEach(() => {
    peer = peerUnderTest({ term: 2 });
    for (let round = 0; round < 3; round += 1) standInVain(peer);
  });

  test('which it is not before', () => {
    expect(peer.raft.undecided).toBe(2);
  });

  test('after a leader was heard', () => {
    peer.receive(P3, { kind: 'heartbeat-request', term: of(3), commitIndex: at(0), round: 1 });
    expect(peer.raft.undecided).toBe(0);
  });

  test('after this peer has won one', () => {
    peer.receive(P3, { kind: 'vote-reply', term: of(3), preVote: true, granted: true });
    peer.persist();
    peer.receive(P3, { kind: 'vote-reply', term: of(3), preVote: false, granted: true });
    expect([peer.raft.role, peer.raft.undecided]).toEqual(['leader', 0]);
  });
});
