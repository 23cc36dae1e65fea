// The replicated state on one peer, its session, and what becomes of its proposals.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { logIndex, term } from '../base/ids.ts';
import { decodeEnvelope, encodeEnvelope, encodeMembership } from '../cluster/codec.ts';
import type { Command } from '../cluster/commands.ts';
import { encodeState } from '../cluster/snapshot-codec.ts';
import {
  A,
  B,
  GROUP,
  MEMBERSHIP,
  P1,
  P2,
  P3,
  membershipOf,
  opening,
  registration,
  running,
} from '../cluster/testing/example.ts';
import type { Entry, Snapshot } from '../raft/types.ts';
import { createReplica } from './replica.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const CREATE: Command = { kind: 'create-group', group: GROUP, primary: A };

function begin(options: { readonly snapshot?: Snapshot; readonly storeId?: string } = {}) {
  const submitted: { readonly id: string; readonly data: Uint8Array }[] = [];
  let index: number = options.snapshot?.index ?? 0;
  const replica = createReplica({
    self: P1,
    membership: MEMBERSHIP,
    snapshot: options.snapshot,
    storeId: options.storeId ?? 'p1-store',
    features: 1,
    clock: { monotonicMs: () => 0, wallMs: () => 5000 },
    submit: (id, data) => void submitted.push({ id, data }),
  });
  const entry = (kind: Entry['kind'], data: Uint8Array): Entry => ({
    index: logIndex((index += 1)),
    term: term(1),
    kind,
    data,
  });
  const noop = () => entry('noop', new Uint8Array());
  return {
    replica,
    /** Copies of proposals and of what opens sessions, as handed to Raft. */
    submitted,
    /** Those of proposals alone. */
    proposals: () => submitted.filter(({ data }) => decodeEnvelope(data).command.kind !== 'open-session'),
    openings: () => submitted.filter(({ data }) => decodeEnvelope(data).command.kind === 'open-session'),
    command: (data: Uint8Array) => entry('command', data),
    config: (membership = MEMBERSHIP) => entry('config', encodeMembership(membership)),
    noop,
    /** Goes on at a later place in the log. */
    skipTo: (to: number) => void (index = to),
  };
}

/** With its session open, at index 2. */
function open() {
  const peer = begin();
  peer.replica.commit([peer.noop()]);
  peer.replica.commit([peer.command(nth(peer.submitted, 0).data)]);
  return peer;
}

/** For proposals of which the outcome does not matter. */
const ignore = (outcome: Promise<unknown>): void => {
  outcome.catch(() => undefined);
};

const nth = <T>(items: readonly T[], place: number): T => {
  const item = items.at(place);
  if (item === undefined) throw new Error(`no item ${place}`);
  return item;
};

/** The state of another peer's log, as a leader sends it. */
const snapshotOf = (log: ReturnType<typeof running>): Snapshot => ({
  index: log.state.appliedIndex,
  term: term(1),
  membership: log.state.membership,
  data: encodeState(log.state),
});

describe('a session', () => {
  test('is opened once, as soon as the log is applied further than before', () => {
    const { replica, submitted, noop, command } = begin();
    expect(submitted).toEqual([]);
    replica.commit([noop()]);
    expect(decodeEnvelope(nth(submitted, 0).data).command).toMatchObject({
      kind: 'open-session',
      peer: P1,
      store: 'p1-store',
      seenIndex: 1,
    });
    replica.commit([noop(), command(nth(submitted, 0).data), noop()]);
    expect(submitted).toHaveLength(1);
    expect(replica.state.peers.get(P1)?.openedAt).toBe(3);
  });

  test('is opened also where nothing is committed, and asked for again until it is', async () => {
    const { replica, submitted, command } = begin();
    await vi.advanceTimersByTimeAsync(1100);
    expect(submitted).toHaveLength(2);
    expect(submitted[1]).toEqual(submitted[0]);
    replica.commit([command(nth(submitted, 0).data)]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(submitted).toHaveLength(2);
  });

  test('is asked for again soon after Raft refused it', async () => {
    const { replica, submitted, noop } = begin();
    replica.commit([noop()]);
    replica.proposalRefused(nth(submitted, 0).id, 'no-leader');
    await vi.advanceTimersByTimeAsync(50);
    expect(submitted).toHaveLength(2);
  });

  test('comes before the proposals that wait for it, which keep their order', async () => {
    const { replica, submitted, noop, command } = begin();
    const outcomes = [replica.propose(registration(A), 2000), replica.propose(CREATE, 2000)];
    replica.commit([noop()]);
    expect(submitted).toHaveLength(1);
    replica.commit([command(nth(submitted, 0).data)]);
    expect(submitted.map(({ data }) => decodeEnvelope(data)).map(({ sequence }) => sequence)).toEqual([
      0, 1, 2,
    ]);
    replica.commit(submitted.slice(1).map(({ data }) => command(data)));
    expect(await Promise.all(outcomes)).toEqual([
      { kind: 'applied', index: 3 },
      { kind: 'applied', index: 4 },
    ]);
  });

  test('that was replaced is followed by another; what waits for the old one is of unknown outcome', async () => {
    const { replica, submitted, proposals, command, noop } = open();
    const lost = replica.propose(registration(A), 2000);
    const thief = opening(running(), P1, { session: 'thief', seenIndex: logIndex(2) });
    const from = { session: 'thief', sequence: 0, answeredBelow: 0, proposedAtMs: 0 };
    replica.commit([command(encodeEnvelope({ ...from, command: thief }))]);
    expect(await lost).toEqual({ kind: 'unknown' });
    const outcome = replica.propose(registration(B), 2000);
    replica.commit([command(nth(proposals(), 0).data), command(nth(submitted, -1).data), noop()]);
    expect(replica.state.nodes.size).toBe(0);
    expect(nth(proposals(), -1).id).not.toBe(nth(proposals(), 0).id);
    replica.commit([command(nth(proposals(), -1).data)]);
    expect(await outcome).toMatchObject({ kind: 'applied' });
    expect([...replica.state.nodes.keys()]).toEqual([B]);
  });

  test('is not asked for by a peer that is no member, or came with another disk', async () => {
    const peer = begin();
    peer.replica.commit([peer.config(membershipOf([P2, P3]))]);
    await vi.advanceTimersByTimeAsync(5000);
    expect(peer.submitted).toEqual([]);
    expect(peer.replica.obstacle()).toMatch(/p1 is not a member/);
    peer.replica.commit([peer.config(membershipOf([P2, P3], { learners: [P1] }))]);
    expect(peer.submitted).toHaveLength(1);
    expect(peer.replica.obstacle()).toBeUndefined();

    const log = running();
    log.must(opening(log));
    const wiped = begin({ snapshot: snapshotOf(log), storeId: 'new' });
    wiped.replica.commit([wiped.noop()]);
    await vi.advanceTimersByTimeAsync(5000);
    expect(wiped.submitted).toEqual([]);
    expect(wiped.replica.obstacle()).toMatch(/its disk was replaced/);
  });
});

describe('a proposal', () => {
  test('is applied: its index', async () => {
    const { replica, proposals, command, noop } = open();
    const outcome = replica.propose(registration(A), 2000);
    replica.commit([noop(), command(nth(proposals(), 0).data)]);
    expect(await outcome).toEqual({ kind: 'applied', index: 4 });
    expect(replica.state).toMatchObject({ appliedIndex: 4 });
    expect(replica.state.nodes.get(A)?.host).toBe('a');
  });

  test('is refused by apply: why', async () => {
    const { replica, proposals, command } = open();
    const outcome = replica.propose(CREATE, 2000);
    replica.commit([command(nth(proposals(), 0).data)]);
    expect(await outcome).toMatchObject({
      kind: 'refused',
      reason: expect.stringMatching(/is not registered/),
    });
  });

  test('is of unknown outcome when nobody answers in time, and may still be applied later', async () => {
    const { replica, proposals, command } = open();
    const outcome = replica.propose(registration(A), 2000);
    await vi.advanceTimersByTimeAsync(2000);
    expect(await outcome).toEqual({ kind: 'unknown' });
    replica.commit([command(nth(proposals(), 0).data)]);
    expect(replica.state.nodes.size).toBe(1);
  });

  test('of unknown outcome is not applied any more once a later one was', async () => {
    const { replica, proposals, command } = open();
    ignore(replica.propose(registration(A), 2000));
    await vi.advanceTimersByTimeAsync(2000);
    const outcome = replica.propose(registration(B), 2000);
    replica.commit([command(nth(proposals(), -1).data), command(nth(proposals(), 0).data)]);
    expect(await outcome).toMatchObject({ kind: 'applied' });
    expect([...replica.state.nodes.keys()]).toEqual([B]);
  });

  test('is sent again with the same id and content, in case the leader that had it died', async () => {
    const { replica, proposals } = open();
    ignore(replica.propose(registration(A), 2000));
    await vi.advanceTimersByTimeAsync(1700);
    expect(proposals()).toHaveLength(4);
    for (const copy of proposals()) expect(copy).toEqual(proposals()[0]);
  });

  test('is sent again soon after it was refused by Raft, but not once it has an outcome', async () => {
    const { replica, proposals, command } = open();
    const outcome = replica.propose(registration(A), 2000);
    const { id, data } = nth(proposals(), 0);
    replica.proposalRefused(id, 'not-leader');
    await vi.advanceTimersByTimeAsync(50);
    expect(proposals()).toHaveLength(2);
    replica.proposalRefused(id, 'not-leader');
    replica.commit([command(data)]);
    await outcome;
    await vi.advanceTimersByTimeAsync(5000);
    expect(proposals()).toHaveLength(2);
    replica.proposalRefused('of somebody else', 'not-leader');
  });

  test('that is committed twice counts once and is told once', async () => {
    const { replica, proposals, command } = open();
    const told: number[] = [];
    replica.subscribe((_, events) => void told.push(events.length));
    const outcome = replica.propose(registration(A), 2000);
    const { data } = nth(proposals(), 0);
    replica.commit([command(data)]);
    replica.commit([command(data)]);
    expect(await outcome).toEqual({ kind: 'applied', index: 3 });
    expect(told).toEqual([1, 0]);
    expect(replica.state.appliedIndex).toBe(4);
  });

  test('has an id that no other start of this peer gives again', () => {
    const starts = [open(), open()];
    const ids = starts.flatMap(({ replica, submitted }) => {
      ignore(replica.propose(registration(A), 10));
      ignore(replica.propose(registration(B), 10));
      return submitted.map(({ id }) => id);
    });
    expect(new Set(ids).size).toBe(6);
  });

  test('is not taken where a thousand wait already', async () => {
    const { replica, proposals } = open();
    for (let count = 0; count < 1000; count += 1) ignore(replica.propose(registration(A), 2000));
    expect(await replica.propose(registration(B), 2000)).toEqual({ kind: 'unknown' });
    expect(proposals()).toHaveLength(1000);
  });

  test('waits where the oldest that is not answered is a thousand back, and goes out when that is given up', async () => {
    const { replica, proposals, command } = open();
    ignore(replica.propose(registration(A), 1000));
    for (let count = 1; count < 1000; count += 1) ignore(replica.propose(registration(A), 9000));
    replica.commit(
      proposals()
        .slice(1)
        .map(({ data }) => command(data)),
    );
    const outcome = replica.propose(registration(B), 9000);
    expect(proposals()).toHaveLength(1000);
    await vi.advanceTimersByTimeAsync(1600);
    replica.commit([command(nth(proposals(), -1).data)]);
    expect(await outcome).toMatchObject({ kind: 'applied' });
    expect(replica.state.nodes.has(B)).toBe(true);
  });

  test('of unknown outcome when the peer closes', async () => {
    const { replica, proposals, noop } = open();
    const outcome = replica.propose(registration(A), 2000);
    replica.close();
    expect(await outcome).toEqual({ kind: 'unknown' });
    expect(await replica.propose(registration(A), 2000)).toEqual({ kind: 'unknown' });
    replica.commit([noop()]);
    await vi.advanceTimersByTimeAsync(5000);
    expect(proposals()).toHaveLength(1);
  });
});

describe('a snapshot', () => {
  test('taken here gives the same state elsewhere', () => {
    const { replica, proposals, command } = open();
    ignore(replica.propose(registration(A), 2000));
    replica.commit([command(nth(proposals(), 0).data)]);
    const taken = replica.takeSnapshot();
    expect(taken.index).toBe(3);
    const snapshot: Snapshot = { ...taken, term: term(1), membership: MEMBERSHIP };
    expect(begin({ snapshot }).replica.state).toEqual(replica.state);
  });

  test('is where a peer begins; it opens a session of its own after it', () => {
    const log = running();
    log.must(opening(log));
    const { replica, submitted, noop, command } = begin({ snapshot: snapshotOf(log) });
    expect(replica.state).toEqual(log.state);
    replica.commit([noop()]);
    replica.commit([command(nth(submitted, 0).data)]);
    expect(replica.state.peers.get(P1)?.session).not.toBe('p1-run1');
    expect(replica.state.peers.get(P1)?.openedAt).toBe(replica.state.appliedIndex);
  });

  test('from the leader replaces the state, and listeners and those who wait for an index are told', async () => {
    const { replica } = open();
    let told = 0;
    replica.subscribe((state, events) => void (told += state.groups.size - events.length));
    const applied = replica.appliedUpTo(logIndex(5), 1000);
    replica.restore(snapshotOf(running()));
    expect(await applied).toBe(true);
    expect(told).toBe(1);
  });

  test('of a state in which a proposal was applied: whether it was taken is not known', async () => {
    const { replica, proposals, command, skipTo } = open();
    const [first, second] = [replica.propose(registration(A), 2000), replica.propose(registration(B), 2000)];
    const [one, two] = proposals();
    const other = begin();
    other.replica.restore({ ...replica.takeSnapshot(), term: term(1), membership: MEMBERSHIP });
    other.skipTo(2);
    other.replica.commit([other.command(nth(proposals(), 0).data)]);
    replica.restore({ ...other.replica.takeSnapshot(), term: term(1), membership: MEMBERSHIP });
    skipTo(3);
    expect(await first).toEqual({ kind: 'unknown' });
    replica.commit([command(two?.data ?? new Uint8Array())]);
    expect(await second).toEqual({ kind: 'applied', index: 4 });
    expect(one?.id).not.toBe(two?.id);
  });

  test('of a log in which the session was replaced: another is opened', async () => {
    const { replica, openings } = open();
    const lost = replica.propose(registration(A), 2000);
    const log = running();
    log.must(opening(log, P1, { session: 'p1-run9' }));
    replica.restore(snapshotOf(log));
    expect(await lost).toEqual({ kind: 'unknown' });
    expect(openings()).toHaveLength(2);
  });

  test('that is older than the state, or of another index than it says, is a broken invariant', () => {
    const { replica, noop } = open();
    const early = { ...replica.takeSnapshot(), term: term(1), membership: MEMBERSHIP };
    replica.commit([noop()]);
    expect(() => replica.restore(early)).toThrow(/snapshot 2 is older than the state/);
    expect(() => replica.restore({ ...early, index: logIndex(9) })).toThrow(/holds the state of index 2/);
  });
});

test('a membership is in force from where it is applied', () => {
  const { replica, config } = open();
  replica.commit([config(membershipOf([P1, P2]))]);
  expect(replica.state.membership.voters).toEqual([P1, P2]);
  expect(replica.state.membershipIndex).toBe(3);
});

describe('listeners', () => {
  test('are told once for each batch, with what was refused and why, and not of entries without a command', () => {
    const { replica, command, noop } = begin();
    const told: (readonly { readonly index: number; readonly refused: string | undefined }[])[] = [];
    const end = replica.subscribe((_, events) => void told.push(events));
    const data = (of: Command) =>
      encodeEnvelope({ session: '', sequence: 0, answeredBelow: 0, proposedAtMs: 7, command: of });
    replica.commit([
      noop(),
      command(data(registration(A))),
      command(data(registration(A))),
      command(data({ ...registration(B), host: 'a' })),
    ]);
    expect(told).toHaveLength(1);
    expect(told[0]).toMatchObject([
      { index: 2, refused: undefined },
      { index: 3 },
      { index: 4, refused: expect.stringMatching(/address a:5432/) },
    ]);
    end();
    replica.commit([noop()]);
    expect(told).toHaveLength(1);
  });
});

describe('applied up to an index', () => {
  test('at once, later, or not in time', async () => {
    const { replica, noop } = begin();
    replica.commit([noop()]);
    expect(await replica.appliedUpTo(logIndex(1), 100)).toBe(true);
    const later = replica.appliedUpTo(logIndex(3), 100);
    replica.commit([noop()]);
    replica.commit([noop()]);
    expect(await later).toBe(true);
    const never = replica.appliedUpTo(logIndex(4), 100);
    await vi.advanceTimersByTimeAsync(100);
    expect(await never).toBe(false);
  });
});
