import { beforeEach, describe, expect, test } from 'vitest';
import { logIndex, peerId, term, type PeerId } from '../base/ids.ts';
import { P1, P2, running } from '../cluster/testing/example.ts';
import type { ClusterState } from '../cluster/state.ts';
import type { ChangeRefusal, Membership, MembershipChange } from '../raft/types.ts';
import type { PeerHandlers } from '../transport/types.ts';
import type { ConsensusStatus } from './consensus.ts';
import { createPeerHandlers } from './peer-changes.ts';

const [A, B, C, D] = [peerId('a'), peerId('b'), peerId('c'), peerId('d')];
const never = new AbortController().signal;

let membership: Membership;
let leader: PeerId | undefined;
let unreachable: PeerId[];
/** Of each time that it is asked. */
let conflicts: (string | undefined)[];
let changes: MembershipChange[];
/** What the core answers, in order; after that it does what is asked. */
let answers: (ChangeRefusal | 'unknown')[];
let transfers: PeerId[];
let successor: PeerId | undefined;
let state: ClusterState;
let peers: PeerHandlers;

const status = (): ConsensusStatus => ({
  role: leader === A ? 'leader' : 'follower',
  term: term(3),
  leader,
  commitIndex: logIndex(40),
  lastIndex: logIndex(41),
  snapshotIndex: logIndex(0),
  membership,
  membershipIndex: logIndex(0),
  committed: { membership, index: logIndex(0) },
  pending: [],
  isDiskStalled: false,
  matchIndex: (peer) => (leader === A ? logIndex(peer === B ? 39 : 41) : undefined),
});

/** The log has registered the store of the peer. */
function withStore(peer: PeerId): ClusterState {
  const { state } = running();
  const known = { peer, store: 's', session: 's', openedAt: logIndex(1), floor: 1, done: [], features: 1 };
  return { ...state, peers: new Map([[peer, known]]) };
}

function make(change: MembershipChange): Membership {
  const without = (list: readonly PeerId[]): PeerId[] => list.filter((peer) => peer !== change.peer);
  const { voters, learners, addresses } = membership;
  switch (change.kind) {
    case 'add-learner':
      return {
        ...membership,
        learners: [...learners, change.peer],
        addresses: new Map([...addresses, [change.peer, change.address]]),
      };
    case 'promote':
      return { ...membership, voters: [...voters, change.peer].sort(), learners: without(learners) };
    case 'remove':
      return { ...membership, voters: without(voters), learners: without(learners) };
    case 'move':
      return { ...membership, addresses: new Map([...addresses, [change.peer, change.address]]) };
  }
}

beforeEach(() => {
  membership = {
    voters: [A, B, C],
    learners: [],
    addresses: new Map([A, B, C].map((peer) => [peer, `${peer}:7432`])),
    incarnation: 1,
  };
  [leader, unreachable, changes, answers, transfers, successor] = [A, [], [], [], [], B];
  conflicts = [];
  state = withStore(D);
  peers = createPeerHandlers({
    cluster: 'shop',
    self: A,
    state: () => state,
    isReachable: (peer) => !unreachable.includes(peer),
    foundingConflict: () => conflicts.shift(),
    consensus: {
      status,
      readIndex: () => Promise.resolve(undefined),
      recover: () => Promise.resolve({ kind: 'unknown' }),
      transfer: (to) => {
        transfers.push(to);
        if (successor !== undefined) leader = successor;
        return Promise.resolve(successor);
      },
      changeMembership: (change) => {
        changes.push(change);
        const answer = answers.shift();
        if (answer === 'unknown') return Promise.resolve({ kind: 'unknown' });
        if (answer !== undefined) return Promise.resolve({ kind: 'refused', reason: answer });
        membership = make(change);
        return Promise.resolve({ kind: 'done', membership });
      },
    },
  });
});

const refusedWith = (text: string) => ({ kind: 'refused', reason: expect.stringContaining(text) as unknown });

describe('peer add', () => {
  const add = (peer = D, address = 'd:7432', learnerOnly = false) =>
    peers.add({ peer, address, learnerOnly }, never);

  test('adds a learner, waits until it has caught up, and makes it a voter', async () => {
    answers = ['change-pending' as const];
    membership = { ...membership };
    expect(await add(D, 'd:7432', true)).toEqual({ kind: 'done', detail: 'd is a learner' });
    answers = ['learner-behind', 'learner-behind'];
    expect(await add()).toEqual({ kind: 'done', detail: 'd is a voter' });
    expect(changes.map(({ kind }) => kind)).toEqual([
      'add-learner',
      'add-learner',
      'promote',
      'promote',
      'promote',
    ]);
    expect(membership.voters).toEqual([A, B, C, D]);
  });

  test('promotes nobody whose store the log has not registered', async () => {
    membership = make({ kind: 'add-learner', peer: D, address: 'd:7432' });
    state = running().state;
    expect(await peers.promote({ peer: D }, never)).toEqual(refusedWith('d has not received yet'));
    expect(changes).toEqual([]);
  });

  test('carries on after an interruption, and has nothing to do the third time', async () => {
    membership = make({ kind: 'add-learner', peer: D, address: 'd:7432' });
    expect(await add()).toEqual({ kind: 'done', detail: 'd is a voter' });
    expect(await add()).toEqual({ kind: 'done', detail: 'd is a voter already' });
    expect(changes.map(({ kind }) => kind)).toEqual(['promote']);
  });

  test('adds nobody who was founded with other peers, nor waits for one', async () => {
    conflicts = ['it was founded with others', 'it was founded with others'];
    expect(await add()).toEqual(refusedWith('it was founded with others'));
    expect(changes).toEqual([]);
    membership = make({ kind: 'add-learner', peer: D, address: 'd:7432' });
    conflicts = [undefined, undefined, 'it was founded with others'];
    answers = Array.from({ length: 10 }, () => 'learner-behind' as const);
    expect(await add()).toEqual(refusedWith('it was founded with others'));
    expect(changes.map(({ kind }) => kind)).toEqual(['promote', 'promote']);
  });

  test('waits for the next call of one that had been founded with other peers, and has been put right', async () => {
    conflicts = ['it was founded with others', undefined];
    expect(await add()).toEqual({ kind: 'done', detail: 'd is a voter' });
  });

  test('gives up waiting when nobody waits for the answer any more', async () => {
    membership = make({ kind: 'add-learner', peer: D, address: 'd:7432' });
    answers = Array.from({ length: 10 }, () => 'learner-behind' as const);
    const gone = new AbortController();
    gone.abort();
    expect(await peers.add({ peer: D, address: 'd:7432', learnerOnly: false }, gone.signal)).toEqual(
      refusedWith('d has not received yet'),
    );
    expect(changes.map(({ kind }) => kind)).toEqual(['promote']);
  });

  test.each<[PeerId, string, string]>([
    [B, 'b:9999', 'b is a member already, at b:7432; sentinelctl peer move b b:9999'],
    [D, 'c:7432', 'c:7432 is the address of peer c'],
    [D, 'nonsense', '"nonsense" is not an address'],
  ])('of %s at %s is refused', async (peer, address, text) => {
    expect(await add(peer, address)).toEqual(refusedWith(text));
    expect(changes).toEqual([]);
  });
});

describe('peer remove', () => {
  test('removes a voter', async () => {
    expect(await peers.remove({ peer: C }, never)).toEqual({
      kind: 'done',
      detail: 'c is no member any more',
    });
    expect(await peers.remove({ peer: C }, never)).toEqual(
      refusedWith('there is no peer c; there are: a, b'),
    );
  });

  test('of the leader hands over to the most current voter first, which then removes it', async () => {
    expect(await peers.remove({ peer: A }, never)).toEqual({
      kind: 'not-leader',
      leader: { peer: 'b', address: 'b:7432' },
    });
    expect(transfers).toEqual([C]);
    expect(changes).toEqual([]);
  });

  test('of a leader that nobody relieves is left to the core', async () => {
    successor = undefined;
    expect(await peers.remove({ peer: A }, never)).toMatchObject({ kind: 'done' });
    expect(changes).toEqual([{ kind: 'remove', peer: A }]);
  });

  test('is refused where the rest could not decide any more', async () => {
    unreachable = [C];
    expect(await peers.remove({ peer: B }, never)).toEqual(
      refusedWith('without b, 2 of a, c would have to agree, but c cannot be reached; remove c first'),
    );
    expect(await peers.remove({ peer: C }, never)).toMatchObject({ kind: 'done' });
  });

  test("is refused while its node is a group's primary", async () => {
    const { addresses } = membership;
    membership = { ...membership, voters: [A, P1, P2], addresses };
    expect(await peers.remove({ peer: P1 }, never)).toEqual(
      refusedWith('its node a is the primary of group main'),
    );
    expect(await peers.remove({ peer: P2 }, never)).toMatchObject({ kind: 'done' });
  });
});

describe('every change', () => {
  const all: [string, () => Promise<unknown>][] = [
    ['add', () => peers.add({ peer: D, address: 'd:7432', learnerOnly: true }, never)],
    ['promote', () => peers.promote({ peer: B }, never)],
    ['remove', () => peers.remove({ peer: C }, never)],
    ['move', () => peers.move({ peer: C, address: 'c:1' }, never)],
    ['transfer', () => peers.transfer({ to: C }, never)],
  ];

  test.each(all)('(%s) is for the leader: another peer says who that is', async (_, change) => {
    leader = B;
    expect(await change()).toEqual({ kind: 'not-leader', leader: { peer: 'b', address: 'b:7432' } });
    leader = undefined;
    expect(await change()).toEqual({ kind: 'not-leader' });
  });

  test('that no majority acknowledges says that it may still come', async () => {
    answers = ['unknown'];
    expect(await peers.move({ peer: C, address: 'c:1' }, never)).toEqual(
      refusedWith('no majority of the voters answers; it may still come'),
    );
  });

  test('that is lost with the leadership points to the next leader', async () => {
    answers = ['not-leader'];
    expect(await peers.move({ peer: C, address: 'c:1' }, never)).toEqual({ kind: 'not-leader' });
  });
});

test('peer move changes the address, once', async () => {
  expect(await peers.move({ peer: C, address: 'c:1' }, never)).toEqual({
    kind: 'done',
    detail: 'c is at c:1',
  });
  expect(await peers.move({ peer: C, address: 'c:1' }, never)).toMatchObject({
    detail: 'c is at c:1 already',
  });
  expect(changes).toHaveLength(1);
  expect(await peers.move({ peer: D, address: 'd:1' }, never)).toEqual(refusedWith('there is no peer d'));
});

describe('peer transfer', () => {
  test('hands over, and says who leads', async () => {
    successor = C;
    expect(await peers.transfer({ to: C }, never)).toEqual({ kind: 'done', detail: 'c is the leader' });
    expect(await peers.transfer({ to: C }, never)).toEqual({
      kind: 'done',
      detail: 'c is the leader already',
    });
  });

  test('that comes to nothing, or to another, says so', async () => {
    expect(await peers.transfer({ to: C }, never)).toEqual(refusedWith('b took over instead of c'));
    [leader, successor] = [A, undefined];
    expect(await peers.transfer({ to: C }, never)).toEqual(
      refusedWith('c did not take over within 3 s; a leads on'),
    );
  });

  test('to a learner, a stranger or a lost peer is refused', async () => {
    membership = make({ kind: 'add-learner', peer: D, address: 'd:7432' });
    unreachable = [B];
    expect(await peers.transfer({ to: D }, never)).toEqual(refusedWith('d is a learner'));
    expect(await peers.transfer({ to: B }, never)).toEqual(refusedWith('b cannot be reached'));
    expect(await peers.transfer({ to: peerId('x') }, never)).toEqual(refusedWith('there is no peer x'));
    expect(transfers).toEqual([]);
  });
});

test('peer list: voters, then learners, and how far each is', () => {
  membership = make({ kind: 'add-learner', peer: D, address: 'd:7432' });
  unreachable = [C];
  expect(peers.list()).toMatchObject({
    cluster: 'shop',
    incarnation: 1,
    leader: 'a',
    peers: [
      { peer: 'a', kind: 'voter', role: 'leader', reachable: true, matchIndex: 41, lagEntries: 0 },
      { peer: 'b', kind: 'voter', role: 'follower', matchIndex: 39, lagEntries: 2, address: 'b:7432' },
      { peer: 'c', kind: 'voter', role: 'unknown', reachable: false },
      { peer: 'd', kind: 'learner', role: 'follower', address: 'd:7432' },
    ],
  });
  leader = B;
  expect(peers.list().peers[1]).toMatchObject({
    role: 'leader',
    matchIndex: undefined,
    lagEntries: undefined,
  });
});
