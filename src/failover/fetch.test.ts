// When the leader has a standby fetch WAL before a promotion, when it waits for that, and when it gives it up.
import { expect, test } from 'vitest';
import { lsn } from '../base/lsn.ts';
import type { Command, CutReport } from '../cluster/commands.ts';
import { CASCADE_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  type Log,
  MB,
  MC,
  P2,
  at,
  fencing,
  opening,
  registration,
  running,
} from '../cluster/testing/example.ts';
import { duties } from './duties.ts';
import { planCascades } from './plan-cascade.ts';
import { decideFetch, PREFERRED_LAG_BYTES_MAX } from './fetch.ts';
import { type SeenNodes, viewOf } from './testing/view.ts';

const CUT: SeenNodes = { b: { condition: 'standby' }, c: { condition: 'standby' } };
const FAR = 10 * PREFERRED_LAG_BYTES_MAX;

/** b stands further than c by so many bytes; c has that priority. */
function reported(lack: number, priority: number, level = CASCADE_FEATURE_LEVEL): Log {
  const log = fencing();
  log.state = { ...log.state, featureLevel: level };
  log.must({ ...registration(C, MC), priority });
  log.must(at(log).cut(B, FAR), at(log).cut(C, FAR - lack));
  return log;
}

function decided(log: Log, options: { seen?: SeenNodes; forMs?: number; isNone?: boolean } = {}) {
  const { phase } = log.group;
  if (phase.kind !== 'fencing') throw new Error(phase.kind);
  const stopwatch = { elapsedMs: () => options.forMs ?? 0, isRunning: () => false };
  const candidate: CutReport | undefined =
    options.isNone === true ? undefined : phase.reports.find(({ node }) => node === B);
  const view = viewOf(log, 1000, options.seen ?? CUT);
  return decideFetch({ state: log.state, group: log.group, phase, view, stopwatch }, candidate);
}

test('a preferred node that lacks little fetches it', () => {
  expect(decided(reported(100, 5))).toMatchObject({ kind: 'fetch-wal', node: C, from: B });
});

test.each<[string, Log, SeenNodes?]>([
  ['one of the same priority', reported(100, 0)],
  ['one that lacks much', reported(PREFERRED_LAG_BYTES_MAX + 1, 5)],
  ['one that stands as far', reported(0, 5)],
  ['before every peer understands it', reported(100, 5, CASCADE_FEATURE_LEVEL - 1)],
  ['while its agent is not heard', reported(100, 5), { b: { condition: 'standby' } }],
  ['while the other one does not run', reported(100, 5), { ...CUT, b: { condition: 'stopped' } }],
])('not %s', (_, log, seen = CUT) => expect(decided(log, { seen })).toBeUndefined());

test('however much it is, what only a node holds that is never promoted is fetched', () => {
  const log = reported(FAR - 1, 0);
  const options = { noFailover: true, noSync: false, applyDelayMs: 0 };
  log.must({ ...registration(B, MB), options });
  expect(decided(log)).toMatchObject({ kind: 'fetch-wal', node: C, from: B });
});

test('it is waited for, until it takes too long or one of the two is lost', () => {
  const log = reported(100, 5);
  log.must({ kind: 'fetch-wal', group: GROUP, epoch: log.epoch, node: C, from: B });
  expect(decided(log)).toBe('wait');
  expect(duties(log.state, C)).toMatchObject({
    kind: 'cut',
    fetch: { kind: 'from', source: { node: B, position: lsn(BigInt(FAR)) } },
  });
  expect(duties(log.state, B)).not.toHaveProperty('fetch');
  expect(decided(log, { forMs: 7999 })).toBe('wait');
  expect(decided(log, { forMs: 60_000 })).toMatchObject({ kind: 'fetch-failed', node: C });
  expect(decided(log, { forMs: 1500, seen: { c: { condition: 'standby' } } })).toMatchObject({
    kind: 'fetch-failed',
    reason: 'b was lost meanwhile',
  });
  log.must({ ...at(log).cut(C, FAR), afterFetch: true } as Command);
  expect(decided(log)).toBeUndefined();
  log.must(at(log).promote(C, 2, ALONE));
});

test('one that is waited for no longer has to say where it stands', () => {
  const log = reported(100, 5);
  log.must({ kind: 'fetch-wal', group: GROUP, epoch: log.epoch, node: C, from: B });
  log.must({ kind: 'fetch-failed', group: GROUP, epoch: log.epoch, node: C, reason: 'no way' });
  expect(duties(log.state, C)).toMatchObject({ kind: 'cut', fetch: { kind: 'given-up' } });
  expect(decided(log)).toBeUndefined();
  log.must({ ...at(log).cut(C, FAR - 50), afterFetch: true } as Command);
  expect(duties(log.state, C)).not.toHaveProperty('fetch');
});

test('one that is only preferred gets a second, and after a failure nobody else gets another', () => {
  const log = reported(100, 5);
  const command = decided(log);
  if (command === undefined || command === 'wait') throw new Error('nothing is proposed');
  expect(command).toMatchObject({ preference: true });
  log.must(command);
  expect(duties(log.state, C)).toMatchObject({ fetch: { source: { limitMs: 700 } } });
  expect(decided(log, { forMs: 999 })).not.toMatchObject({ reason: /report/ });
  expect(decided(log, { forMs: 1000 })).toMatchObject({ kind: 'fetch-failed' });
  log.must({ kind: 'fetch-failed', group: GROUP, epoch: log.epoch, node: C, reason: 'no way' });
  expect(decided(log)).toBeUndefined();
});

test('it is waited for no longer than until one that is no less preferred holds as much', () => {
  const log = reported(100, 5);
  log.must({ kind: 'fetch-wal', group: GROUP, epoch: log.epoch, node: C, from: B });
  expect(decided(log)).toBe('wait');
  log.must({ ...registration(B, MB), priority: 5 });
  expect(decided(log)).toMatchObject({
    kind: 'fetch-failed',
    reason: 'b holds as much, and is no less preferred',
  });
});

/** c has b for its upstream; the rule counts b. */
function cascading(): Log {
  const log = running({ members: [MB], acks: 1 });
  log.state = { ...log.state, featureLevel: CASCADE_FEATURE_LEVEL };
  const options = { noFailover: false, noSync: false, applyDelayMs: 0, upstream: B };
  log.must({ ...registration(C, MC), options });
  return log;
}

const WELL: SeenNodes = {
  a: { condition: 'primary', streamsTo: [B, C] },
  b: { condition: 'standby', streamingFrom: A },
  c: { condition: 'standby', streamingFrom: A },
};

const planned = (log: Log, forMs: number, seen = WELL) => [
  ...planCascades(log.state, log.group, viewOf(log, 1000, seen), {
    elapsedMs: () => forMs,
    isRunning: () => false,
  }),
];

test('a cascading standby goes to its upstream once that was well for a while, and later each time', () => {
  const log = cascading();
  expect(planned(log, 4999)).toEqual([]);
  expect(planned(log, 5000)).toMatchObject([{ kind: 'use-upstream', node: C, upstream: B }]);
  expect(planned(log, 5000, { ...WELL, b: { condition: 'standby' }, a: { condition: 'primary' } })).toEqual(
    [],
  );
  log.must(...planned(log, 5000));
  const lost: SeenNodes = { a: { condition: 'primary' }, c: { condition: 'standby' } };
  expect(planned(log, 1999, lost)).toEqual([]);
  log.must(...planned(log, 2000, lost));
  expect(log.group.cascades).toMatchObject([{ node: C, upstream: undefined, lostCount: 1 }]);
  expect(planned(log, 9999)).toEqual([]);
  expect(planned(log, 10_000)).toMatchObject([{ upstream: B }]);
});

test('it leaves an upstream that is far behind, and one that it does not stream from', () => {
  const log = cascading();
  log.must(...planned(log, 5000));
  expect(planned(log, 60_000)).toEqual([]);
  const far: SeenNodes = { ...WELL, a: { condition: 'primary', streamsTo: [B], position: lsn(2n ** 40n) } };
  expect(planned(log, 2000, far)).toMatchObject([{ node: C, upstream: undefined }]);
  const idle: SeenNodes = { ...WELL, c: { condition: 'standby' } };
  expect(planned(log, 2000, idle)).toEqual([]);
  expect(planned(log, 20_000, idle)).toMatchObject([{ node: C, upstream: undefined }]);
});

test.each(['failed', 'stopped', 'rewinding', 'absent'] as const)(
  'it leaves a well upstream from which it gets nowhere: it is %s',
  (condition) => {
    const log = cascading();
    log.must(...planned(log, 5000));
    const stuck: SeenNodes = { ...WELL, c: { condition } };
    expect(planned(log, 19_999, stuck)).toEqual([]);
    expect(planned(log, 20_000, stuck)).toMatchObject([{ node: C, upstream: undefined }]);
    log.must(...planned(log, 20_000, stuck));
    // A rewind is to be had from the primary alone.
    if (condition !== 'absent') expect(planned(log, 600_000, stuck)).toEqual([]);
  },
);

test('it stays while it is cloned or starts, and while only the agent of its upstream is silent', () => {
  const log = cascading();
  log.must(...planned(log, 5000));
  const silent: SeenNodes = { a: { condition: 'primary' }, c: { condition: 'standby', streamingFrom: B } };
  expect(planned(log, 600_000, { ...WELL, c: { condition: 'cloning' } })).toEqual([]);
  expect(planned(log, 600_000, { ...WELL, c: { condition: 'starting' } })).toEqual([]);
  expect(planned(log, 600_000, { a: silent.a, c: { condition: 'cloning' } })).toEqual([]);
  expect(planned(log, 600_000, silent)).toEqual([]);
  const elsewhere: SeenNodes = { ...silent, c: { condition: 'standby', streamingFrom: A } };
  const behind: SeenNodes = { ...silent, a: { condition: 'primary', position: 2n ** 40n } };
  for (const seen of [elsewhere, behind])
    expect(planned(log, 2000, seen)).toMatchObject([{ node: C, upstream: undefined }]);
});

test('an upstream that its host no longer names is not gone to, and is left though PostgreSQL goes on there', () => {
  const log = cascading();
  log.must(...planned(log, 5000));
  const served: SeenNodes = { a: { condition: 'primary' }, c: { condition: 'standby', streamingFrom: B } };
  expect(planned(log, 600_000, served)).toEqual([]);
  log.must(opening(log, P2, { features: CASCADE_FEATURE_LEVEL }));
  log.must({ kind: 'declare-host', peer: P2, host: { runs: undefined, watch: [] } });
  expect(planned(log, 1999, served)).toEqual([]);
  log.must(...planned(log, 2000, served));
  expect(log.group.cascades).toMatchObject([{ node: C, upstream: undefined }]);
  // Its last report is fresh for a while, and it streams.
  expect(planned(log, 600_000)).toEqual([]);
  log.must({
    kind: 'declare-host',
    peer: P2,
    host: { runs: { node: B, group: GROUP, formation: 'default' }, watch: [] },
  });
  expect(planned(log, 600_000)).toMatchObject([{ upstream: B }]);
});

test('a new one is cloned from its upstream at once, but for one whose clone from the primary is well under way', () => {
  const log = running({ members: [MB], acks: 1 });
  log.state = { ...log.state, featureLevel: CASCADE_FEATURE_LEVEL };
  const options = { noFailover: false, noSync: false, applyDelayMs: 0, upstream: B };
  const { member: _, systemIdentifier: __, ...empty } = registration(C, MC);
  log.state = { ...log.state, nodes: new Map([...log.state.nodes].filter(([node]) => node !== C)) };
  log.must({ ...empty, member: undefined, systemIdentifier: undefined, options });
  const from = { ...WELL, a: { condition: 'primary', streamsTo: [B] } } as const;
  expect(planned(log, 0, { ...from, c: { condition: 'absent' } })).toMatchObject([{ upstream: B }]);
  expect(planned(log, 0, { ...from, c: { condition: 'cloning' } })).toMatchObject([{ upstream: B }]);
  expect(planned(log, 5000, { ...from, c: { condition: 'cloning' } })).toEqual([]);
});
