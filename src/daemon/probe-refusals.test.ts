import { expect, test } from 'vitest';
import { epoch, nodeId } from '../base/ids.ts';
import type { NodeHealth } from '../health/watch.ts';
import { refusalsByNode, refusedProbes } from './probe-refusals.ts';

const health = (loginRefused: string | undefined, at = 1): NodeHealth => ({
  node: nodeId(`pg${at}`),
  epoch: epoch(1),
  expect: 'primary',
  judgement: { verdict: 'up', sinceMs: 0, note: '' },
  sessionOpen: false,
  lastAnswerAgeMs: undefined,
  latencyMs: undefined,
  inRecovery: undefined,
  server: undefined,
  loginRefused,
});
const refusedOf = (nodes: readonly NodeHealth[]) =>
  refusedProbes({ snapshot: () => ({ abstains: undefined, nodes }) });

test('a peer tells what refuses it, and nothing where nothing does', () => {
  expect(refusedOf([health(undefined)])).toEqual({});
  expect(refusedOf([health(undefined), health('no (28000)', 2)])).toEqual({
    refusedProbes: [{ node: 'pg2', why: 'no (28000)' }],
  });
  const many = refusedOf(Array.from({ length: 100 }, (_, at) => health('x'.repeat(5000), at + 1)));
  expect(many.refusedProbes).toHaveLength(16);
  expect(JSON.stringify(many).length).toBeLessThan(10_000);
});

test('of each node the peers that it refuses, by name', () => {
  const pg1 = nodeId('pg1');
  const found = refusalsByNode([
    { peer: 'c', refused: [{ node: pg1, why: 'x' }] },
    { peer: 'b', refused: [] },
    { peer: 'a', refused: [{ node: pg1, why: 'y' }] },
  ]);
  expect([...found]).toEqual([
    [
      'pg1',
      [
        { peer: 'a', why: 'y' },
        { peer: 'c', why: 'x' },
      ],
    ],
  ]);
});
