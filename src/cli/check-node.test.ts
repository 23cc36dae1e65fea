// What `sentinelctl node check` makes of a node: each thing that is wrong is said with its level, and what is not known never passes for well.
import { describe, expect, it } from 'vitest';
import type { Upkeep } from '../cluster/report.ts';
import type { GroupView, NodeView, StatusView } from '../transport/types.ts';
import { DEFAULT_LIMITS, checkNodes, worst } from './check-node.ts';
import { HEALTHY, PROMOTING } from './testing/views.ts';
import { upkept } from './testing/upkept.ts';

type Change = Partial<NodeView>;

/** The healthy group with one node, and perhaps the group, changed. */
function statusWith(name: string, change: Change, group: Partial<GroupView> = {}): StatusView {
  const status = upkept(HEALTHY);
  return {
    ...status,
    groups: status.groups.map((each) => ({
      ...each,
      ...group,
      nodes: each.nodes.map((node) => (node.node === name ? { ...node, ...change } : node)),
    })),
  };
}

const check = (status: StatusView, name: string) => {
  const [found] = checkNodes(status, DEFAULT_LIMITS, name);
  if (found === undefined) throw new Error(`no node ${name}`);
  return { level: found.level, text: found.findings.map(({ text }) => text).join('; ') };
};
const upkeepOf = (change: Partial<Upkeep>): Change => {
  const upkeep = upkept(HEALTHY).groups[0]?.nodes[0]?.upkeep;
  return { upkeep: upkeep === undefined ? undefined : { ...upkeep, ...change } };
};
const room = (freePercent: number) => ({ freeBytes: freePercent * 1e9, totalBytes: 100e9 });

it('a healthy group is OK, node by node', () => {
  expect(checkNodes(upkept(HEALTHY), DEFAULT_LIMITS).map(({ node, level }) => [node, level])).toEqual([
    ['pg1', 'OK'],
    ['pg2', 'OK'],
    ['pg3', 'OK'],
  ]);
});

it('a host that is down during its maintenance, or that a peer without a leader hears nothing of, is not known to be lost', () => {
  const gone: Change = { role: 'none', state: 'unknown', silentMs: 300_000 };
  const paused = { untilMs: undefined, maintenance: true };
  const aside = check(statusWith('pg2', { ...gone, paused }), 'pg2');
  expect(aside).toEqual({ level: 'WARNING', text: 'it is in maintenance; its agent does not report' });
  const cutOff = check({ ...statusWith('pg2', gone), leader: undefined }, 'pg2');
  expect(cutOff.level).toBe('UNKNOWN');
});

it('a cascading standby is OK, though no commit waits for it', () => {
  const change: Change = { upstream: 'pg3', upstreamUsed: true, counted: false };
  expect(check(statusWith('pg2', change), 'pg2').level).toBe('OK');
  const isPrimary: Change = { upstream: 'pg1', upstreamUsed: false };
  expect(check(statusWith('pg2', isPrimary), 'pg2').level).toBe('OK');
});

it('says which probes are not let in, and what to do', () => {
  const why = 'password authentication failed for user "sentinel_probe" (28P01)';
  const probeRefusals = [
    { peer: 'b', why },
    { peer: 'c', why },
  ];
  const { level, text } = check(statusWith('pg1', { probeRefusals }), 'pg1');
  expect(level).toBe('WARNING');
  expect(text).toMatch(
    /^it does not let in the probes of peers b, c: password .*\(28P01\); give users\.probe the same password/,
  );
});

describe('one thing that is wrong', () => {
  const lost: Change = { role: 'none', state: 'stopped' };
  it.each<[string, string, Change, string, string]>([
    ['primary stopped', 'pg1', lost, 'CRITICAL', 'it is the primary by the log, but stopped'],
    ['primary as standby', 'pg1', { role: 'standby', state: 'running' }, 'CRITICAL', 'primary by the log'],
    ['two primaries', 'pg2', { role: 'primary', state: 'running' }, 'CRITICAL', 'which pg1 is by the log'],
    ['held for down', 'pg1', { heldDownBy: ['b: refused'] }, 'CRITICAL', 'held for down (b: refused)'],
    ['standby held for down', 'pg2', { heldDownBy: ['b: refused'] }, 'WARNING', 'held for down'],
    ['silent agent', 'pg2', { role: 'none', state: 'unknown' }, 'UNKNOWN', 'its agent does not report'],
    [
      'agent silent for a while',
      'pg2',
      { role: 'none', state: 'unknown', silentMs: 30_000 },
      'UNKNOWN',
      'its agent does not report',
    ],
    [
      'host gone',
      'pg2',
      { role: 'none', state: 'unknown', silentMs: 300_000 },
      'CRITICAL',
      'its agent has not reported for 5min',
    ],
    [
      'left its upstream',
      'pg2',
      { upstream: 'pg3', upstreamUsed: false },
      'WARNING',
      'not pg3, its upstream',
    ],
    ['no guard', 'pg1', { guarded: false }, 'WARNING', 'no guard watches over it'],
    ['its message', 'pg1', { message: 'watchdog: gone' }, 'WARNING', 'watchdog: gone'],
    [
      'does not stream',
      'pg2',
      { state: 'running', message: 'connecting' },
      'CRITICAL',
      'not stream: connecting',
    ],
    ['failed', 'pg2', { ...lost, state: 'failed', message: 'no room' }, 'CRITICAL', 'it is failed: no room'],
    ['cloning', 'pg2', { ...lost, state: 'cloning', message: '5 MB' }, 'WARNING', 'it is cloning: 5 MB'],
    ['lag', 'pg2', { lagBytes: 65 << 20 }, 'WARNING', 'it is 65 MB behind'],
    ['much lag', 'pg2', { lagBytes: 2 ** 31 }, 'CRITICAL', 'it is 2.0 GB behind'],
    ['lag unknown', 'pg2', { lagBytes: undefined }, 'UNKNOWN', 'how far it is behind is not known'],
    ['not counted', 'pg2', { counted: false }, 'WARNING', 'it does not count for commits'],
    ['fenced', 'pg2', { ...lost, state: 'fenced', fenced: true }, 'WARNING', 'it is fenced'],
    [
      'in maintenance',
      'pg2',
      { ...lost, state: 'maintenance', paused: { untilMs: undefined, maintenance: true } },
      'WARNING',
      'it is in maintenance',
    ],
    ['disk', 'pg2', upkeepOf({ dataDisk: room(14.9) }), 'WARNING', 'its disk has 14.9 % free'],
    ['disk nearly full', 'pg2', upkeepOf({ dataDisk: room(4.99) }), 'CRITICAL', 'its disk has 4.9 % free'],
    ['disk of pg_wal', 'pg2', upkeepOf({ walDisk: room(1) }), 'CRITICAL', 'its disk of pg_wal has 1 % free'],
    [
      'slots',
      'pg1',
      upkeepOf({ slots: { keptBytes: 11 * 2 ** 30, most: 'old' } }),
      'CRITICAL',
      'slot old keeps 11 GB of WAL',
    ],
    [
      'a lost slot',
      'pg1',
      upkeepOf({ slots: { keptBytes: 0, most: 'one', lost: ['old', 'other'] } }),
      'CRITICAL',
      'lost replication slots, WAL that they need was removed: old, other',
    ],
    [
      'an unreserved slot',
      'pg1',
      upkeepOf({ slots: { keptBytes: 1, most: 'old', unreserved: ['old'] } }),
      'WARNING',
      'lost at the next checkpoint: old',
    ],
    [
      'a slot near its budget',
      'pg1',
      upkeepOf({ slots: { keptBytes: 800 << 20, most: 'old', safeBytes: 200 << 20 } }),
      'WARNING',
      'replication slot old keeps 800 MB of WAL, and is lost beyond 1000 MB (max_slot_wal)',
    ],
    [
      'archiver',
      'pg1',
      upkeepOf({ archiver: { isOn: true, isFailing: true } }),
      'WARNING',
      'its last WAL was not archived',
    ],
    ['ready files', 'pg1', upkeepOf({ readyCount: 101 }), 'WARNING', '101 files of WAL wait to be archived'],
    [
      'pending restart',
      'pg1',
      upkeepOf({ pendingRestart: ['max_connections', 'wal_level'] }),
      'WARNING',
      'it needs a restart for max_connections, wal_level',
    ],
    [
      'pending restart of what is held back',
      'pg1',
      { ...upkeepOf({ pendingRestart: ['wal_level'] }), pendingRestart: ['max_connections'] },
      'WARNING',
      'it needs a restart for max_connections, wal_level',
    ],
    [
      'nothing reported',
      'pg1',
      { upkeep: undefined },
      'UNKNOWN',
      'not reported: disk, slots, archiver, settings',
    ],
    ['one figure not', 'pg1', upkeepOf({ walDisk: undefined }), 'UNKNOWN', 'not reported: disk of pg_wal'],
    ['ready unknown', 'pg1', upkeepOf({ readyCount: undefined }), 'UNKNOWN', 'not reported: WAL to archive'],
  ])('%s', (_what, name, change, level, text) => {
    const found = check(statusWith(name, change), name);
    expect(found.level).toBe(level);
    expect(found.text).toContain(text);
  });
});

describe('the group', () => {
  it('fails over: critical of the primary, a warning of the others', () => {
    const status = upkept(PROMOTING);
    expect(checkNodes(status, DEFAULT_LIMITS).map(({ node, level }) => [node, level])).toEqual([
      ['pg1', 'CRITICAL'],
      ['pg2', 'CRITICAL'],
      ['pg3', 'WARNING'],
    ]);
  });

  it('is created: a warning; goes on with another database: its writes wait, which is critical', () => {
    const created = statusWith('pg1', {}, { phase: 'creating' });
    expect(check(created, 'pg1')).toMatchObject({ level: 'WARNING' });
    const replaced = statusWith('pg1', {}, { phase: 'creating', isReplacingDatabase: true });
    expect(check(replaced, 'pg1')).toMatchObject({ level: 'CRITICAL' });
    expect(check(replaced, 'pg1').text).toContain('goes on with another database, and all writes wait');
    expect(check(replaced, 'pg2')).toMatchObject({ level: 'WARNING' });
  });

  it('is paused, or has commits on the primary alone: said of the primary', () => {
    const paused = statusWith('pg1', {}, { paused: { untilMs: undefined, maintenance: false } });
    expect(check(paused, 'pg1')).toMatchObject({ level: 'WARNING' });
    expect(check(paused, 'pg2')).toEqual({ level: 'OK', text: '' });
    expect(check(statusWith('pg1', {}, { rule: 'alone' }), 'pg1').text).toBe('commits are on it alone');
    expect(check(statusWith('pg1', {}, { rule: 'alone', durability: 'async' }), 'pg1').level).toBe('OK');
  });

  it('has no sync rule with async durability: no standby has to count', () => {
    const status = statusWith('pg2', { counted: false }, { durability: 'async' });
    expect(check(status, 'pg2').level).toBe('OK');
  });

  it('may be another by now where no leader is known', () => {
    const status = { ...statusWith('pg1', {}), leader: undefined };
    expect(check(status, 'pg1')).toMatchObject({ level: 'UNKNOWN' });
    expect(check({ ...statusWith('pg1', { state: 'stopped' }), leader: undefined }, 'pg1').level).toBe(
      'CRITICAL',
    );
  });
});

it('the worst is known trouble, then what is not known', () => {
  expect(worst(['OK', 'UNKNOWN'])).toBe('UNKNOWN');
  expect(worst(['WARNING', 'UNKNOWN', 'OK'])).toBe('WARNING');
  expect(worst(['CRITICAL', 'UNKNOWN'])).toBe('CRITICAL');
  expect(worst([])).toBe('OK');
});
