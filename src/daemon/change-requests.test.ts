import { describe, expect, test } from 'vitest';
import { peerId } from '../base/ids.ts';
import type { Membership, MembershipChange } from '../raft/types.ts';
import { createChangeRequests, isMade } from './change-requests.ts';

const [A, B, C] = [peerId('a'), peerId('b'), peerId('c')];
const membership = (voters: readonly string[], learners: readonly string[] = []): Membership => ({
  voters: voters.map(peerId),
  learners: learners.map(peerId),
  addresses: new Map([...voters, ...learners].map((peer) => [peerId(peer), `${peer}:1`])),
  incarnation: 1,
});

test.each<[MembershipChange, Membership, boolean]>([
  [{ kind: 'add-learner', peer: C, address: 'c:1' }, membership(['a', 'b'], ['c']), true],
  [{ kind: 'add-learner', peer: C, address: 'c:1' }, membership(['a', 'b']), false],
  [{ kind: 'promote', peer: C }, membership(['a', 'b', 'c']), true],
  [{ kind: 'promote', peer: C }, membership(['a', 'b'], ['c']), false],
  [{ kind: 'remove', peer: C }, membership(['a', 'b']), true],
  [{ kind: 'remove', peer: C }, membership(['a', 'b'], ['c']), false],
  [{ kind: 'move', peer: B, address: 'b:1' }, membership(['a', 'b']), true],
  [{ kind: 'move', peer: B, address: 'b:2' }, membership(['a', 'b']), false],
])('%j in %j is made: %s', (change, found, expected) => {
  expect(isMade(change, found)).toBe(expected);
});

describe('a change that somebody waits for', () => {
  const begin = (timeoutMs = 10_000) => {
    const requests = createChangeRequests();
    const request = requests.begin((found) => isMade({ kind: 'promote', peer: C }, found), timeoutMs);
    return { requests, ...request };
  };

  test('is done when a membership with it is committed, not by an earlier one', async () => {
    const { requests, outcome } = begin();
    requests.committed(membership(['a', 'b'], ['c']));
    requests.committed(membership(['a', 'b', 'c']));
    expect(await outcome).toMatchObject({ kind: 'done', membership: { voters: ['a', 'b', 'c'] } });
  });

  test('is refused by the core with its reason, and only that change', async () => {
    const { requests, changeId, outcome } = begin();
    const other = requests.begin(() => true, 10_000);
    requests.refused(changeId, 'learner-behind');
    requests.committed(membership(['a']));
    expect(await outcome).toEqual({ kind: 'refused', reason: 'learner-behind' });
    expect(await other.outcome).toMatchObject({ kind: 'done' });
  });

  test('is of unknown outcome when another peer leads, when it takes too long, and at the end', async () => {
    const led = begin();
    led.requests.ledBy(B);
    const late = begin(1);
    const closed = begin();
    closed.requests.close();
    for (const { outcome } of [led, late, closed]) expect(await outcome).toEqual({ kind: 'unknown' });
  });
});

test('a hand-over ends with whoever leads next, or with nobody in time', async () => {
  const requests = createChangeRequests();
  const next = requests.awaitLeader(10_000);
  requests.ledBy(A);
  expect(await next).toBe(A);
  expect(await requests.awaitLeader(1)).toBeUndefined();
});
