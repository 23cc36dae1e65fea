// Who has to wait, who only needs a moment, and who is copied anew, of nodes that do not stream from another site.
import { describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { siteObstacle } from './site-obstacle.ts';
import type { Located } from './site-source.ts';

/** The upstream: on timeline 3, which left 2 at 200, which had left 1 at 100. */
const LOCATED: Located = {
  host: 'far',
  port: 5432,
  systemIdentifier: '77',
  timeline: timeline(3),
  position: lsn(300n),
  history: [
    { timeline: timeline(1), switchLsn: lsn(100n), reason: '' },
    { timeline: timeline(2), switchLsn: lsn(200n), reason: '' },
  ],
};
const at = (on: number, position: number, more: object = {}) =>
  siteObstacle({
    node: 'pg1',
    standing: { timeline: timeline(on), position: lsn(BigInt(position)) },
    ownHistory: undefined,
    located: LOCATED,
    waitedMs: 10_000,
    streamTimeoutMs: 15_000,
    site: 'inside',
    ...more,
  }).kind;

describe('a node that stands', () => {
  test.each([
    [3, 300],
    [3, 10],
    [2, 200],
    [1, 100],
    [1, 5],
  ])('on the way of its upstream (timeline %i, %i) streams any moment', (on, position) => {
    expect(at(on, position)).toBe('none');
  });

  test.each([
    [3, 301],
    [4, 10],
  ])('ahead of it (timeline %i, %i) waits, for however long', (on, position) => {
    expect(at(on, position, { waitedMs: 1e9 })).toBe('wait');
  });

  test.each([
    [2, 201],
    [1, 101],
  ])('beside its history (timeline %i, %i) cannot go on, once it had a moment', (on, position) => {
    expect(at(on, position)).toBe('diverged');
    expect(at(on, position, { waitedMs: 1000 })).toBe('none');
  });

  test('on an earlier timeline, where the history cannot be read, waits', () => {
    expect(at(2, 150, { located: { ...LOCATED, history: undefined } })).toBe('wait');
  });
});

test('one that should stream and does not for long needs a new copy; the other site is given more time', () => {
  expect(at(3, 10, { waitedMs: 29_000 })).toBe('none');
  expect(at(3, 10, { waitedMs: 31_000 })).toBe('stuck');
  expect(at(3, 10, { waitedMs: 31_000, site: 'outside' })).toBe('none');
  expect(at(3, 10, { waitedMs: 121_000, site: 'outside' })).toBe('stuck');
});

describe('equal numbers', () => {
  const own = (...entries: readonly (readonly [number, number])[]) => ({
    ownHistory: entries.map(([on, to]) => ({
      timeline: timeline(on),
      switchLsn: lsn(BigInt(to)),
      reason: '',
    })),
  });

  test('are no equal history: one that was opened elsewhere is stray at once, wherever it stands', () => {
    for (const position of [10, 300, 400])
      expect(at(3, position, { waitedMs: 0, ...own([1, 100], [2, 210]) })).toBe('stray');
    expect(at(2, 150, { waitedMs: 0, ...own([1, 90]) })).toBe('stray');
    expect(at(3, 10, own([1, 100], [2, 200]))).toBe('none');
    expect(at(2, 150, own([1, 100]))).toBe('none');
  });

  test('are not compared where either history cannot be read', () => {
    const unread = { ...LOCATED, history: undefined };
    expect(at(3, 10, { located: unread, ...own([1, 100], [2, 210]) })).toBe('none');
  });
});
