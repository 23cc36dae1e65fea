// Logical decoding on a server that was found: it goes on, and what does not survive is said.
import { describe, expect, test } from 'vitest';
import { type FoundLogical, logicalNotices, logicalProblems } from './found-logical.ts';
import { ROW } from './testing/logical-slot.ts';

const found = (more: Partial<FoundLogical> = {}, values: Record<string, string> = {}): FoundLogical => ({
  ...{ isPrimary: true, majorVersion: 17, logicalSlots: [ROW], otherNodeCount: 2 },
  value: (name) => values[name] ?? (name === 'max_wal_senders' ? '10' : ''),
  ...more,
});
const notices = (...args: Parameters<typeof found>): string[] => [...logicalNotices(found(...args))];

test('a slot of a primary stands against nothing, nor does one that PostgreSQL synchronises on a standby', () => {
  expect([...logicalProblems(found())]).toEqual([]);
  const synced = { isPrimary: false, logicalSlots: [{ ...ROW, isSynced: true }] };
  expect([...logicalProblems(found(synced, { synchronized_standby_slots: 'x' }))]).toEqual([]);
  expect(notices(synced)).toEqual([]);
});

describe('of a slot of the primary is said', () => {
  test('how it is kept over a failover', () => {
    expect(notices()).toEqual([
      'logical replication slot cdc goes on, and is kept by no switchover or failover before it is named: sentinelctl settings set logical_slots.cdc=app:pgoutput',
    ]);
  });

  test.each([
    [{ isTwoPhase: true }, /does not keep a slot with two_phase/],
    [{ name: 'pg_16389_sync_16384_7' }, /names that begin with pg_ are reserved/],
    [{ name: 'pg2_0a1b2c3d' }, /for the physical slots of members/],
    [{ database: 'a:b' }, /its database or plugin cannot be named/],
  ])('why it cannot be named: %j', (more, reason) => {
    const [text = ''] = notices({ logicalSlots: [{ ...ROW, ...more }] });
    expect(text).toMatch(/goes on, but no switchover or failover keeps it: /);
    expect(text).toMatch(reason);
    expect(text).not.toContain('settings set');
  });

  test('that it is of no use any more', () => {
    expect(notices({ logicalSlots: [{ ...ROW, isLost: true }] })).toEqual([
      expect.stringMatching(/cdc is invalidated: .*drop it/),
    ]);
  });
});

test('too few walsenders until its restart are said, where slots need some', () => {
  const few = { max_wal_senders: '2' };
  expect(notices({}, few).at(-1)).toMatch(
    /max_wal_senders is 2 until its restart, and the 2 other nodes and 1 /,
  );
  expect(notices({}, { max_wal_senders: '3' })).toHaveLength(1);
  expect(notices({ logicalSlots: [] }, few)).toEqual([]);
});
