// The cut of a standby that fetches WAL before its promotion: it always ends cut off, and says where it stands only then.
import { expect, test } from 'vitest';
import { epoch, groupId, makeMemberId, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { Command } from '../cluster/commands.ts';
import type { Duty, Fetch } from '../failover/duties.ts';
import type { AgentContext } from './context.ts';
import { carryOutCut } from './failover-duties.ts';
import { holdsAllOf } from './fetch-wal.ts';

const MEMBER = makeMemberId(nodeId('pg3'), '00000001');
const SOURCE = { node: nodeId('pg2'), host: 'pg2', port: 5432, timeline: timeline(1), position: lsn(100n) };
const TOKEN = { incarnation: 1, epoch: epoch(7) };

const dutyOf = (fetch: Fetch | undefined): Extract<Duty, { kind: 'cut' }> => ({
  kind: 'cut',
  group: groupId('main'),
  ...TOKEN,
  slots: [],
  wasPrimary: false,
  ...(fetch === undefined ? {} : { fetch }),
});

/** A node that has reported, and whose cut stands at `position`. */
function scene(position: bigint) {
  const proposed: Command[] = [];
  const standing = { timeline: timeline(1), position: lsn(position) };
  const phase = { kind: 'fencing', reports: [{ node: 'pg3', member: MEMBER }] };
  const context = {
    notes: { cut: { token: TOKEN, postmasterPid: 1, standing } },
    fence: { raise: () => Promise.resolve() },
    group: () => ({ phase, toAdopt: [] }),
    localMember: () => MEMBER,
    registration: () => ({ member: MEMBER }),
    propose: (command: Command) => Promise.resolve(proposed.push(command)),
    activity: () => undefined,
    instance: {
      options: { node: 'pg3' },
      isForeign: () => false,
      postmaster: () => ({ pid: 1 }),
    },
  } as unknown as AgentContext;
  return { context, proposed };
}

const { signal } = new AbortController();

test('one that has reported and is to fetch nothing says nothing more', async () => {
  const { context, proposed } = scene(100n);
  await carryOutCut(context, dutyOf(undefined), signal);
  expect(proposed).toEqual([]);
});

test('one that holds all, and one that is waited for no longer, report where they stand', async () => {
  for (const [position, fetch] of [
    [100n, { kind: 'from', source: SOURCE }],
    [90n, { kind: 'given-up' }],
  ] as const) {
    const { context, proposed } = scene(position);
    await carryOutCut(context, dutyOf(fetch), signal);
    expect(proposed).toMatchObject([{ kind: 'cut-report', node: 'pg3', position: lsn(position) }]);
  }
});

test('what another timeline holds is not all', () => {
  expect(holdsAllOf({ timeline: timeline(1), position: lsn(100n) }, SOURCE)).toBe(true);
  expect(holdsAllOf({ timeline: timeline(1), position: lsn(99n) }, SOURCE)).toBe(false);
  expect(holdsAllOf({ timeline: timeline(2), position: lsn(200n) }, SOURCE)).toBe(false);
});
