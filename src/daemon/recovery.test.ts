import { describe, expect, test } from 'vitest';
import { logIndex, peerId } from '../base/ids.ts';
import type { Membership } from '../raft/types.ts';
import type { ConsensusStatus } from './consensus.ts';
import { obstacleToRecover, recoverAlone } from './recovery.ts';

const [A, B, C, D, E] = [peerId('a'), peerId('b'), peerId('c'), peerId('d'), peerId('e')];
const membership = (voters = [A, B, C], incarnation = 1): Membership => ({
  voters,
  learners: [],
  addresses: new Map(),
  incarnation,
});
const obstacle = (
  options: {
    lost?: (typeof A)[];
    reachable?: (typeof A)[];
    membership?: Membership;
    lastIndex?: number;
  } = {},
): string | undefined =>
  obstacleToRecover({
    self: C,
    membership: options.membership ?? membership(),
    lastIndex: logIndex(options.lastIndex ?? 40),
    lost: options.lost ?? [A, B],
    isReachable: (peer) => (options.reachable ?? []).includes(peer),
  });

describe('a recovery by one peer', () => {
  test('goes on where the majority is gone and every lost voter is named', () => {
    expect(obstacle()).toBeUndefined();
    expect(
      obstacle({ membership: membership([A, B, C, D, E]), lost: [A, B, E], reachable: [D] }),
    ).toBeUndefined();
  });

  test.each<[string, Parameters<typeof obstacle>[0], string]>([
    ['a majority can be reached', { lost: [A], reachable: [B] }, '2 of 3 voters can be reached'],
    ['a peer that was named answers', { reachable: [B] }, 'b can be reached from c: not lost'],
    ['a lost peer is not named', { lost: [A] }, 'b cannot be reached either: name it too'],
    ['a name is none of the voters', { lost: [A, B, D] }, 'd is not among the other voters: a, b'],
    ['it names itself', { lost: [A, B, C] }, 'c is not among the other voters'],
    [
      'the peer is not a voter',
      { membership: membership([A, B, D]) },
      'c is not a voter; ask one of a, b, d',
    ],
    ['the peer has never joined', { membership: membership([], 0) }, 'has not been told of any membership'],
    ['the peer has an empty log', { lastIndex: 1 }, 'its log is empty'],
  ])('is refused where %s', (_, options, text) => {
    expect(obstacle(options)).toContain(text);
  });

  const status = { membership: membership(), lastIndex: logIndex(40) } as ConsensusStatus;
  const recover = (answers: { read: number | undefined; recovered: 'done' | 'unknown' }) =>
    recoverAlone(
      {
        self: C,
        isReachable: () => false,
        consensus: {
          status: () => status,
          readIndex: () => Promise.resolve(answers.read === undefined ? undefined : logIndex(answers.read)),
          recover: () =>
            Promise.resolve(
              answers.recovered === 'done'
                ? { kind: 'done', membership: membership([C], 2) }
                : { kind: 'unknown' },
            ),
        },
      },
      [A, B],
    );

  test('is refused while a leader still confirms reads', async () => {
    expect(await recover({ read: 7, recovered: 'done' })).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('still answers'),
    });
  });

  test('says what became of it', async () => {
    expect(await recover({ read: undefined, recovered: 'done' })).toEqual({
      kind: 'done',
      detail: expect.stringContaining('c is the only voter, incarnation 2; each group is held until'),
    });
    expect(await recover({ read: undefined, recovered: 'unknown' })).toMatchObject({ kind: 'refused' });
  });
});
