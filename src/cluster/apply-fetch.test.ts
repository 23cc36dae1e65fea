// Fetching WAL before a promotion: who may fetch from whom, and that nobody is promoted on WAL that is only on its way.
import { describe, expect, test } from 'vitest';
import { epoch, makeMemberId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { Command, NodeOptions } from './commands.ts';
import { CASCADE_FEATURE_LEVEL } from './features.ts';
import { decodeState, encodeState } from './snapshot-codec.ts';
import { A, ALONE, B, C, GROUP, type Log, MB, MC, at, fencing, registration } from './testing/example.ts';

const NEVER: NodeOptions = { noFailover: true, noSync: false, applyDelayMs: 0 };

const withLevel = (log: Log, featureLevel = CASCADE_FEATURE_LEVEL): Log => {
  log.state = { ...log.state, featureLevel };
  return log;
};
const fetch = (log: Log, node = C, from = B): Command => ({
  kind: 'fetch-wal',
  group: GROUP,
  epoch: log.epoch,
  node,
  from,
});
const failed = (log: Log, node = C): Command => ({
  kind: 'fetch-failed',
  group: GROUP,
  epoch: log.epoch,
  node,
  reason: 'no way',
});

/** c says where it stands, once its fetch has ended. */
const fetched = (log: Log, position: number): Command =>
  ({ ...at(log).cut(C, position), afterFetch: true }) as Command;

/** b stands at 100, c at 90. */
function reported(): Log {
  const log = withLevel(fencing());
  log.must(at(log).cut(B, 100), at(log).cut(C, 90));
  return log;
}

test('the one that lacks WAL fetches it, reports anew, and may be promoted', () => {
  const log = reported();
  expect(log.commit(at(log).promote(C, 2, ALONE))).toBe('b holds more WAL than c');
  log.must(fetch(log));
  expect(log.group.phase).toMatchObject({ fetches: [{ node: C, from: B, isOver: false }] });
  expect(decodeState(encodeState(log.state))).toEqual(log.state);
  expect(log.commit(at(log).promote(C, 2, ALONE))).toBe('c is fetching WAL from b');
  log.must(fetched(log, 100));
  expect(log.group.phase).toMatchObject({ fetches: [{ node: C, isOver: true }] });
  expect(log.group.phase).not.toHaveProperty('reports.1.afterFetch');
  log.must(at(log).promote(C, 2, { members: [MB], acks: 1 }));
});

test('a report from before the fetch does not end it', () => {
  const log = reported();
  log.must(fetch(log), at(log).cut(C, 90));
  expect(log.commit(at(log).promote(C, 2, ALONE))).toBe('c is fetching WAL from b');
  expect(log.commit(fetch(log))).toBe('another fetch is under way');
});

test('one that may have moved is no first member before it has reported anew', () => {
  const log = reported();
  log.must(fetch(log), failed(log));
  expect(log.commit(at(log).promote(B, 2, { members: [MC], acks: 1 }))).toMatch(/c_.* cannot follow/);
  // Of before the fetch, and late.
  log.must(at(log).cut(C, 90));
  expect(log.commit(at(log).promote(B, 2, { members: [MC], acks: 1 }))).toMatch(/c_.* cannot follow/);
  log.must(fetched(log, 95));
  log.must(at(log).promote(B, 2, { members: [MC], acks: 1 }));
});

describe('refused is', () => {
  test.each<[string, (log: Log) => Command, RegExp]>([
    ['a source that stands no further', (log) => fetch(log, B, C), /c is not ahead of b/],
    ['the former primary as source', (log) => fetch(log, C, A), /a is the former primary/],
    ['the former primary that fetches', (log) => fetch(log, A, B), /a is the former primary/],
    ['another epoch', (log) => ({ ...fetch(log), epoch: epoch(1) }) as Command, /at epoch/],
    ['a failure of nothing', (log) => failed(log), /c is not fetching/],
  ])('%s', (_, command, reason) => {
    const log = reported();
    log.must(at(log).cut(A, 120));
    expect(log.commit(command(log))).toMatch(reason);
  });

  test('a source on another timeline, or one that has not reported', () => {
    const log = withLevel(fencing());
    log.must(at(log).cut(C, 90));
    expect(log.commit(fetch(log))).toMatch(/b has not reported/);
    log.must(at(log).cut(B, 100, { timeline: timeline(2) }));
    expect(log.commit(fetch(log))).toMatch(/not ahead of c on its timeline/);
  });

  test('one whose data directory is another by now, which the leader does not ask for either', () => {
    const log = reported();
    const node = log.state.nodes.get(C);
    if (node === undefined) throw new Error('there is no c');
    const member = makeMemberId(C, '0000000f');
    log.state = { ...log.state, nodes: new Map([...log.state.nodes, [C, { ...node, member }]]) };
    expect(log.commit(fetch(log))).toBe('c has another data directory than the one it reported of');
  });

  test('one before every peer understands it', () => {
    const log = reported();
    withLevel(log, CASCADE_FEATURE_LEVEL - 1);
    expect(log.commit(fetch(log))).toMatch(/upgrade all of them first/);
  });

  test('a second one of the same node', () => {
    const log = reported();
    log.must(fetch(log), failed(log));
    expect(log.commit(fetch(log))).toBe('c has fetched at this epoch already');
  });
});

test('what only a node holds that is never promoted is fetched from there', () => {
  const log = reported();
  log.must({ ...registration(B, MB), options: NEVER });
  log.must(fetch(log), fetched(log, 100));
  log.must(at(log).promote(C, 2, ALONE));
  expect(log.group.phase).toMatchObject({ primary: C, from: { position: lsn(100n) } });
});
