// Cascading standbys in the log: what an upstream may be, and that nobody whom commits wait for leaves the primary.
import { expect, test } from 'vitest';
import { groupId, makeMemberId, nodeId } from '../base/ids.ts';
import { duties } from './duties.ts';
import type { Command, NodeOptions } from '../cluster/commands.ts';
import { syncBar } from '../cluster/eligibility.ts';
import { CASCADE_FEATURE_LEVEL } from '../cluster/features.ts';
import { decodeState, encodeState } from '../cluster/snapshot-codec.ts';
import {
  A,
  B,
  C,
  GROUP,
  type Log,
  MA,
  MB,
  MC,
  at,
  fencing,
  registration,
  running,
} from '../cluster/testing/example.ts';

const from = (upstream: NodeOptions['upstream']): NodeOptions => ({
  noFailover: false,
  noSync: false,
  applyDelayMs: 0,
  ...(upstream === undefined ? {} : { upstream }),
});
const use = (log: Log, node: typeof A, upstream: typeof A | undefined): Command => ({
  kind: 'use-upstream',
  group: GROUP,
  epoch: log.epoch,
  node,
  upstream,
});

/** a runs with the rule "1 of b"; c has b for its upstream. */
function cascading(level = CASCADE_FEATURE_LEVEL): Log {
  const log = running({ members: [MB], acks: 1 });
  log.state = { ...log.state, featureLevel: level };
  log.must({ ...registration(C, MC), options: from(B) });
  return log;
}

test('it follows its upstream once that is said, and the primary again once that is said', () => {
  const log = cascading();
  expect(duties(log.state, C)).toMatchObject({ kind: 'follow', upstream: { node: A } });
  log.must(use(log, C, B));
  expect(duties(log.state, C)).toMatchObject({ kind: 'follow', upstream: { node: B, host: B } });
  expect(duties(log.state, B)).toMatchObject({ upstream: { node: A }, readers: [MC] });
  expect(duties(log.state, A)).toMatchObject({ kind: 'primary', elsewhere: [MC], slots: [MB, MC] });
  expect(decodeState(encodeState(log.state))).toEqual(log.state);
  log.must(use(log, C, undefined));
  expect(duties(log.state, C)).toMatchObject({ upstream: { node: A } });
  expect(duties(log.state, A)).not.toHaveProperty('elsewhere');
  expect(log.group.cascades).toEqual([{ node: C, upstream: undefined, lostCount: 1 }]);
});

test('it comes into no sync rule, and whoever is in one goes to no upstream', () => {
  const log = cascading();
  expect(syncBar(log.state, log.group, C)).toMatch(/cascading standby \(upstream b\)/);
  log.must({ ...registration(B, MB), options: from(nodeId('d')) });
  expect(log.commit(use(log, B, nodeId('d')))).toMatch(/b is in the sync rule/);
});

test('whatever its upstream becomes, by the log alone it follows the primary', () => {
  const log = cascading();
  log.must(use(log, C, B), { kind: 'fence-node', node: B });
  expect(duties(log.state, C)).toMatchObject({ upstream: { node: A } });
  log.must({ kind: 'unfence-node', node: B });
  expect(duties(log.state, C)).toMatchObject({ upstream: { node: B } });
  log.must({ ...registration(C, MC) });
  expect(duties(log.state, C)).toMatchObject({ upstream: { node: A } });
  expect(log.group.cascades).toEqual([]);
});

test('a failover cuts it off as all others, and everybody follows the new primary', () => {
  const log = cascading();
  log.must(use(log, C, B));
  fencing(log);
  expect(duties(log.state, C)).toMatchObject({ kind: 'cut' });
  log.must(at(log).cut(B, 100));
  log.must(at(log).promote(B, 2, { members: [], acks: 0 }));
  expect(duties(log.state, C)).toMatchObject({ kind: 'follow', upstream: { node: B } });
  expect(log.group.cascades).toEqual([]);
});

test('loops are refused, by registration and by use', () => {
  const log = cascading();
  expect(log.commit({ ...registration(B, MB), options: from(C) })).toBe(
    'the upstream of b leads back to it: b -> c -> b',
  );
  expect(log.commit({ ...registration(A, MA), options: from(A) })).toMatch(/leads back/);
});

test('a node of another group is refused as upstream', () => {
  const log = cascading();
  const other = nodeId('d');
  log.must({ ...registration(other, makeMemberId(other, '00000001')), group: groupId('other') });
  expect(log.commit({ ...registration(C, MC), options: from(other) })).toBe(
    `the upstream of c, d, belongs to group other, not ${GROUP}`,
  );
});

test('another upstream than its owners gave it, the primary, and a node without data are refused', () => {
  const log = cascading();
  expect(log.commit(use(log, C, A))).toBe('a is not the upstream of c by its configuration');
  log.must({ ...registration(C, MC), options: from(A) });
  expect(log.commit(use(log, C, A))).toMatch(/a is the primary/);
  log.must({ ...registration(C, MC), options: from(nodeId('d')) });
  expect(log.commit(use(log, C, nodeId('d')))).toMatch(/there is no node d/);
  expect(log.commit(use(log, C, undefined))).toMatch(/already/);
});

test('before its feature level an upstream is nobody’s', () => {
  const log = cascading(CASCADE_FEATURE_LEVEL - 1);
  expect(log.state.nodes.get(C)?.options).toBeUndefined();
  expect(log.commit(use(log, C, B))).toMatch(/upgrade all of them first/);
});
