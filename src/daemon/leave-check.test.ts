// Who may leave, and as what; why others may not, and what they are told to do.
import { describe, expect, test } from 'vitest';
import { emptyState } from '../cluster/apply.ts';
import { peerId, type PeerId } from '../base/ids.ts';
import type { ClusterState } from '../cluster/state.ts';
import { type Leaving, type Other, mayLeave } from './leave-check.ts';

const stateOf = (
  voters: readonly string[],
  primary?: string,
  learners: readonly string[] = [],
): ClusterState => {
  const peers = (names: readonly string[]): PeerId[] => names.map((name) => peerId(name));
  const state = emptyState({
    voters: peers(voters),
    learners: peers(learners),
    addresses: new Map(),
    incarnation: 1,
  });
  const group = { id: 'main', phase: { kind: 'running', primary } };
  return primary === undefined ? state : { ...state, groups: new Map([['main', group]]) as never };
};
const other = (
  peer: string,
  members?: readonly string[],
  primary?: string,
  nodes: readonly string[] = [],
): Other => ({
  peer,
  address: `${peer}:7432`,
  answer:
    members === undefined
      ? undefined
      : {
          members,
          groups: nodes.length === 0 && primary === undefined ? [] : [{ group: 'main', primary, nodes }],
        },
});
const leaving = (change: Partial<Leaving>): Leaving => ({
  self: 'a',
  node: { name: 'pg1', group: 'main' },
  state: stateOf(['a', 'b', 'c'], 'pg1'),
  others: [],
  data: { role: 'primary', isRunning: true },
  areOthersGone: false,
  ...change,
});
const refused = (reason: RegExp) => ({ kind: 'refused', reason: expect.stringMatching(reason) as unknown });
const STANDBY = { role: 'standby', isRunning: true } as const;

describe('by its own log', () => {
  test('the last member leaves as the primary that it is', () => {
    expect(mayLeave(leaving({ state: stateOf(['a'], 'pg1') }))).toMatchObject({
      kind: 'may',
      role: 'primary',
    });
  });

  test('a learner beside it, or another voter, is another member', () => {
    for (const state of [stateOf(['a'], 'pg1', ['b']), stateOf(['a', 'b'], 'pg1')])
      expect(mayLeave(leaving({ state, others: [other('b')] }))).toMatchObject(
        refused(/promote another primary beside it.*--others-are-gone; nothing was changed/),
      );
  });

  test('one that was removed leaves as a standby, also where nobody answers', () => {
    const removed = leaving({
      state: stateOf(['b', 'c'], 'pg2'),
      others: [other('b'), other('c')],
      data: STANDBY,
    });
    expect(mayLeave(removed)).toMatchObject({ kind: 'may', role: 'standby', primary: 'pg2' });
    expect(mayLeave({ ...removed, data: { role: 'primary', isRunning: false } })).toMatchObject({
      role: 'standby',
    });
    expect(mayLeave({ ...removed, data: { role: 'primary', isRunning: true } })).toMatchObject(
      refused(/runs as a primary here, and pg2 is the primary/),
    );
  });
});

describe('by what others say', () => {
  test('a node that is registered is unregistered first, then its peer removed', () => {
    const nodes = ['pg1', 'pg2'];
    expect(
      mayLeave(leaving({ others: [other('b', ['b', 'c'], 'pg2', nodes)], data: STANDBY })),
    ).toMatchObject(refused(/--peers b:7432 node unregister pg1; .* peer remove a/));
    expect(
      mayLeave(leaving({ others: [other('b', ['a', 'b', 'c'], 'pg2', ['pg2'])], data: STANDBY })),
    ).toMatchObject(refused(/counts on peer a; .*peer remove a/));
    expect(
      mayLeave(leaving({ others: [other('b', ['b', 'c'], 'pg2', ['pg2'])], data: STANDBY })),
    ).toMatchObject({ kind: 'may', role: 'standby', primary: 'pg2' });
  });

  test('a primary is the last to leave, whatever a person says', () => {
    const others = [other('b', ['a', 'b', 'c'], 'pg1', ['pg1', 'pg2']), other('c')];
    expect(mayLeave(leaving({ others }))).toMatchObject(refused(/would promote another one.*failover main/));
    expect(mayLeave(leaving({ others, areOthersGone: true }))).toMatchObject(
      refused(/the others are not gone: b at b:7432 answers/),
    );
    expect(mayLeave(leaving({ others: [other('b', ['a', 'b'], 'pg1', ['pg1'])] }))).toMatchObject(
      refused(/take the other peers out first/),
    );
  });

  test('one answer that counts on it is enough, in whatever order they come', () => {
    const good = other('b', ['b', 'c'], 'pg2', ['pg2']);
    const old = other('c', ['a', 'b', 'c'], 'pg2', ['pg2']);
    for (const others of [
      [good, old],
      [old, good],
    ])
      expect(mayLeave(leaving({ others, data: STANDBY }))).toMatchObject(refused(/peer c counts on peer a/));
  });

  test('a peer that answers, but not this, is not taken for silent', () => {
    const unclear: Other = { peer: 'b', address: 'b:7432', answer: { members: undefined, groups: [] } };
    expect(mayLeave(leaving({ others: [unclear] }))).toMatchObject(refused(/try again in a moment/));
    expect(mayLeave(leaving({ others: [unclear], areOthersGone: true }))).toMatchObject(refused(/not gone/));
  });

  test('before anything was adopted a server is what it is', () => {
    const others = [other('b', ['b', 'c'])];
    expect(mayLeave(leaving({ state: stateOf(['a', 'b', 'c']), others }))).toMatchObject({ role: 'primary' });
  });
});

test('where all are silent a person’s word counts, and what the data directory is', () => {
  const gone = leaving({ others: [other('b'), other('c')], areOthersGone: true });
  expect(mayLeave(gone)).toMatchObject({ kind: 'may', role: 'primary' });
  expect(mayLeave({ ...gone, data: STANDBY })).toMatchObject({ kind: 'may', role: 'standby' });
  expect(mayLeave({ ...gone, state: undefined, areOthersGone: false })).toMatchObject(
    refused(/none of the other/),
  );
});

test('a witness leaves once it is no member', () => {
  const witness = leaving({ node: undefined, data: undefined });
  expect(mayLeave({ ...witness, others: [other('b', ['a', 'b'], 'pg1', ['pg1'])] })).toMatchObject(
    refused(/counts on peer a/),
  );
  expect(mayLeave({ ...witness, others: [other('b', ['b'], 'pg1', ['pg1'])] })).toMatchObject({
    kind: 'may',
  });
});
