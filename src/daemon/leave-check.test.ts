// Who may leave, and as what; why others may not, and what they are told to do.
import { describe, expect, test } from 'vitest';
import { emptyState } from '../cluster/apply.ts';
import { peerId, type PeerId } from '../base/ids.ts';
import type { ClusterState } from '../cluster/state.ts';
import { type Answer, type Leaving, type Other, mayLeave } from './leave-check.ts';

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
  change: Partial<Answer> = {},
): Other => ({
  peer,
  address: `${peer}:7432`,
  said:
    members === undefined
      ? { kind: 'silent' }
      : {
          ...{ kind: 'answer', isVouched: true, incarnation: 1, term: 5, appliedIndex: 100 },
          members,
          groups: nodes.length === 0 && primary === undefined ? [] : [{ group: 'main', primary, nodes }],
          ...change,
        },
});
const leaving = (change: Partial<Leaving>): Leaving => ({
  self: 'a',
  node: { name: 'pg1', group: 'main' },
  state: stateOf(['a', 'b', 'c'], 'pg1'),
  last: { index: 100, term: 5 },
  problem: undefined,
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

  test('the last member asks those of its configuration all the same', () => {
    const alone = leaving({ state: stateOf(['a'], 'pg1') });
    // Removed, and still running: what it says is old.
    const old = other('b', ['a', 'b'], 'pg1', ['pg1', 'pg2'], { isVouched: false, appliedIndex: 50 });
    expect(mayLeave({ ...alone, others: [old, other('c')] })).toMatchObject({ kind: 'may', role: 'primary' });
    for (const isVouched of [true, false]) {
      const recovered = other('b', ['b'], 'pg1', ['pg1', 'pg2'], { incarnation: 2, isVouched });
      expect(mayLeave({ ...alone, others: [recovered] })).toMatchObject(
        refused(isVouched ? /would promote another one/ : /no answer that a Raft leader confirms: b at/),
      );
    }
    const busy: Other = { peer: 'b', address: 'b:7432', said: { kind: 'unclear', reason: 'no answer' } };
    expect(mayLeave({ ...alone, others: [busy] })).toMatchObject(refused(/cannot be asked .*\(no answer\)/));
  });

  test('that it was removed may be an entry that was never committed: nobody else confirms it, so a person has to', () => {
    const removed = leaving({
      state: stateOf(['b', 'c'], 'pg2'),
      others: [other('b'), other('c')],
      data: STANDBY,
    });
    expect(mayLeave(removed)).toMatchObject(refused(/none of the other peers answers.*--others-are-gone/));
    const gone = { ...removed, areOthersGone: true };
    expect(mayLeave(gone)).toMatchObject({ kind: 'may', role: 'standby', primary: 'pg2' });
  });

  test('a former primary is not handed out as one, whatever a person says', () => {
    const former = leaving({ state: stateOf(['a', 'b'], 'pg2'), others: [other('b')], areOthersGone: true });
    const stopped: Leaving = { ...former, data: { role: 'primary', isRunning: false } };
    expect(mayLeave(stopped)).toEqual({
      ...{ kind: 'may', role: 'standby', primary: 'pg2' },
      note: 'pg2 is the primary of group main by the log: writes of pg2 are missing here, so it is left as a standby',
    });
    expect(mayLeave(former)).toMatchObject(refused(/runs as a primary here, and pg2 .* are missing here/));
  });

  test('a log that cannot be read is not one that says nothing', () => {
    const damaged = leaving({ state: undefined, last: undefined, problem: 'damaged' });
    expect(mayLeave(damaged)).toMatchObject(refused(/who else takes part is not known.*--others-are-gone/));
    expect(mayLeave({ ...damaged, areOthersGone: true })).toMatchObject({ kind: 'may' });
    expect(mayLeave({ ...damaged, problem: undefined })).toMatchObject({ kind: 'may' });
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
    const bad = other('c', ['a', 'b', 'c'], 'pg2', ['pg2']);
    for (const others of [
      [good, bad],
      [bad, good],
    ])
      expect(mayLeave(leaving({ others, data: STANDBY }))).toMatchObject(refused(/peer c counts on peer a/));
  });

  test.each<[string, Partial<Answer>]>([
    ['of a peer that no leader confirms', { isVouched: false }],
    ['of a peer that has not joined', { members: [] }],
    ['of a peer that is no member itself', { members: ['c'] }],
    ['of an earlier incarnation', { incarnation: 0 }],
    ['from before an end of our log', { appliedIndex: 99 }],
    ['of an earlier term', { term: 4, appliedIndex: 1000 }],
  ])('an answer %s lets nobody go', (_, change) => {
    const stale = other('b', ['b', 'c'], 'pg2', ['pg2'], change);
    const asked = leaving({ others: [stale, other('c')], data: STANDBY });
    expect(mayLeave(asked)).toMatchObject(refused(/no answer that a Raft leader confirms: b at b:7432/));
    expect(mayLeave({ ...asked, areOthersGone: true })).toMatchObject(refused(/not gone: b at b:7432/));
    const current = other('c', ['b', 'c'], 'pg2', ['pg2']);
    expect(mayLeave({ ...asked, others: [stale, current] })).toMatchObject({ kind: 'may' });
  });

  test('a later term, or incarnation, need not have what was never committed', () => {
    for (const change of [
      { term: 6, appliedIndex: 90 },
      { incarnation: 2, term: 1, appliedIndex: 90 },
    ])
      expect(
        mayLeave(leaving({ others: [other('b', ['b'], 'pg2', ['pg2'], change)], data: STANDBY })),
      ).toMatchObject({ kind: 'may', role: 'standby', primary: 'pg2' });
  });

  test('two parts that went on apart: the later one is asked, unless it cannot confirm what it says', () => {
    const before = other('b', ['b', 'c'], 'pg2', ['pg2']);
    const after = (isVouched: boolean): Other =>
      other('c', ['a', 'c'], 'pg1', ['pg1', 'pg3'], { incarnation: 2, isVouched });
    const two = leaving({ others: [before, after(true)], data: STANDBY });
    expect(mayLeave(two)).toMatchObject(refused(/peer c would promote another/));
    expect(mayLeave({ ...two, others: [before, after(false)] })).toMatchObject(refused(/confirms: c at/));
  });

  test('a peer that is there, but cannot be asked, is not taken for silent', () => {
    const unclear: Other = { peer: 'b', address: 'b:7432', said: { kind: 'unclear', reason: 'busy' } };
    const good = other('c', ['b', 'c'], 'pg2', ['pg2']);
    expect(mayLeave(leaving({ others: [good, unclear] }))).toMatchObject(refused(/b:7432 .*try again/));
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
