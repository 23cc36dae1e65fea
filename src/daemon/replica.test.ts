// The replicated state on one peer, and what becomes of its proposals.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { logIndex, term } from '../base/ids.ts';
import { decodeEnvelope, encodeEnvelope } from '../cluster/codec.ts';
import type { Command } from '../cluster/commands.ts';
import type { Entry } from '../raft/types.ts';
import { A, B, GROUP, P1, P2, P3, registration } from '../cluster/testing/example.ts';
import { createReplica } from './replica.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const CREATE: Command = { kind: 'create-group', group: GROUP, primary: A };

function open() {
  const submitted: { readonly id: string; readonly data: Uint8Array }[] = [];
  let index = 0;
  const replica = createReplica({
    self: P1,
    voters: [P1, P2, P3],
    clock: { monotonicMs: () => 0, wallMs: () => 5000 },
    submit: (id, data) => void submitted.push({ id, data }),
  });
  const entry = (kind: Entry['kind'], data: Uint8Array): Entry => ({
    index: logIndex((index += 1)),
    term: term(1),
    kind,
    data,
  });
  return {
    replica,
    submitted,
    command: (data: Uint8Array) => entry('command', data),
    noop: () => entry('noop', new Uint8Array()),
  };
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

describe('a proposal', () => {
  test('is applied: its index', async () => {
    const { replica, submitted, command, noop } = open();
    const outcome = replica.propose(registration(A), 2000);
    replica.commit([noop(), command(nth(submitted, 0).data)]);
    expect(await outcome).toEqual({ kind: 'applied', index: 2 });
    expect(replica.state).toMatchObject({ appliedIndex: 2 });
    expect(replica.state.nodes.get(A)?.host).toBe('a');
  });

  test('is refused by apply: why', async () => {
    const { replica, submitted, command } = open();
    const outcome = replica.propose(CREATE, 2000);
    replica.commit([command(nth(submitted, 0).data)]);
    expect(await outcome).toMatchObject({
      kind: 'refused',
      reason: expect.stringMatching(/is not registered/),
    });
  });

  test('is of unknown outcome when nobody answers in time, and may still be applied later', async () => {
    const { replica, submitted, command } = open();
    const outcome = replica.propose(registration(A), 2000);
    await vi.advanceTimersByTimeAsync(2000);
    expect(await outcome).toEqual({ kind: 'unknown' });
    replica.commit([command(nth(submitted, 0).data)]);
    expect(replica.state.nodes.size).toBe(1);
  });

  test('is sent again with the same id and content, in case the leader that had it died', async () => {
    const { replica, submitted } = open();
    ignore(replica.propose(registration(A), 2000));
    await vi.advanceTimersByTimeAsync(1700);
    expect(submitted).toHaveLength(4);
    for (const copy of submitted) expect(copy).toEqual(submitted[0]);
  });

  test('is sent again soon after it was refused by Raft, but not once it has an outcome', async () => {
    const { replica, submitted, command } = open();
    const outcome = replica.propose(registration(A), 2000);
    const { id, data } = nth(submitted, 0);
    replica.proposalRefused(id, 'not-leader' as never);
    await vi.advanceTimersByTimeAsync(50);
    expect(submitted).toHaveLength(2);
    replica.proposalRefused(id, 'not-leader' as never);
    replica.commit([command(data)]);
    await outcome;
    await vi.advanceTimersByTimeAsync(5000);
    expect(submitted).toHaveLength(2);
    replica.proposalRefused('of somebody else', 'not-leader' as never);
  });

  test('that is committed twice counts once and is told once', async () => {
    const { replica, submitted, command } = open();
    const told: number[] = [];
    replica.subscribe((_, events) => void told.push(events.length));
    const outcome = replica.propose(registration(A), 2000);
    const { data } = nth(submitted, 0);
    replica.commit([command(data)]);
    replica.commit([command(data)]);
    expect(await outcome).toEqual({ kind: 'applied', index: 1 });
    expect(told).toEqual([1, 0]);
    expect(replica.state.appliedIndex).toBe(2);
  });

  test('has an id that no other start of this peer gives again', () => {
    const first = open();
    const second = open();
    ignore(first.replica.propose(registration(A), 10));
    ignore(first.replica.propose(registration(B), 10));
    ignore(second.replica.propose(registration(A), 10));
    const ids = [...first.submitted, ...second.submitted].map(({ data }) => decodeEnvelope(data).proposalId);
    expect(new Set(ids).size).toBe(3);
  });

  test('is not taken where a thousand wait already', async () => {
    const { replica, submitted } = open();
    for (let count = 0; count < 1000; count += 1) ignore(replica.propose(registration(A), 2000));
    expect(await replica.propose(registration(B), 2000)).toEqual({ kind: 'unknown' });
    expect(submitted).toHaveLength(1000);
  });

  test('of unknown outcome when the peer closes', async () => {
    const { replica, submitted } = open();
    const outcome = replica.propose(registration(A), 2000);
    replica.close();
    expect(await outcome).toEqual({ kind: 'unknown' });
    await vi.advanceTimersByTimeAsync(5000);
    expect(submitted).toHaveLength(1);
  });
});

describe('listeners', () => {
  test('are told once for each batch, with what was refused and why, and not of entries without a command', () => {
    const { replica, command, noop } = open();
    const told: (readonly { readonly index: number; readonly refused: string | undefined }[])[] = [];
    const end = replica.subscribe((_, events) => void told.push(events));
    const data = (id: string, of: Command) =>
      encodeEnvelope({ proposalId: id, proposedAtMs: 7, command: of });
    replica.commit([
      noop(),
      command(data('1', registration(A))),
      command(data('2', registration(A))),
      command(data('3', { ...registration(B), host: 'a' })),
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
    const { replica, noop } = open();
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
