// A fetch of WAL that comes to nothing: the stream is ended whatever happens, and what came of it is said only then.
import { beforeEach, expect, test, vi } from 'vitest';
import { epoch, groupId, makeMemberId, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { Command } from '../cluster/commands.ts';
import type { Duty } from '../failover/duties.ts';
import type { AgentContext } from './context.ts';
import { carryOutCut } from './failover-duties.ts';

/** What was done to the stream, in order; where a cut finds the node; whether the fetch gets there. */
const seen = { steps: [] as string[], position: 90n, received: '0/5A' };

vi.mock(import('./data-directory.ts'), async (original) => ({
  ...(await original()),
  inspectDataDirectory: () => Promise.resolve({ kind: 'ready' } as never),
}));
vi.mock(import('../postgres/upstream.ts'), async (original) => ({
  ...(await original()),
  followUpstream: ({ slotName }) => {
    seen.steps.push(`follow slot '${slotName}'`);
    return Promise.resolve('reloaded' as const);
  },
  cutUpstream: () => {
    seen.steps.push('cut');
    return Promise.resolve({ ended: 1, running: true, tookMs: 1 });
  },
}));
vi.mock(import('../postgres/position.ts'), async (original) => ({
  ...(await original()),
  readCutPosition: () => Promise.resolve({ timeline: timeline(1), position: lsn(seen.position) }),
}));
vi.mock(import('../postgres/unreached.ts'), async (original) => ({
  ...(await original()),
  timelinesAhead: () => Promise.resolve([]),
}));

const MEMBER = makeMemberId(nodeId('pg3'), '00000001');
const TOKEN = { incarnation: 1, epoch: epoch(7) };
const source = { node: nodeId('pg2'), host: 'pg2', port: 5432, timeline: timeline(1), position: lsn(100n) };
const DUTY: Extract<Duty, { kind: 'cut' }> = {
  ...{ kind: 'cut', group: groupId('main'), ...TOKEN, slots: [], wasPrimary: false },
  fetch: { kind: 'from', source: { ...source, limitMs: 40 } },
};

/** A node that was cut, or, after a restart of its sentineld, one of which that is not known. */
function scene(isRestarted = false) {
  const proposed: Command[] = [];
  const standing = { timeline: timeline(1), position: lsn(90n) };
  const context = {
    notes: isRestarted ? {} : { cut: { token: TOKEN, postmasterPid: 1, standing } },
    timing: { fetchTimeoutMs: 5000, queryTimeoutMs: 1000 },
    protections: { rule: false, cut: true, guard: true },
    fence: { raise: () => Promise.resolve() },
    group: () => ({
      phase: { kind: 'fencing', cause: { kind: 'down' }, reports: [{ node: 'pg3', member: MEMBER }] },
      toAdopt: [],
    }),
    localMember: () => MEMBER,
    registration: () => ({ member: MEMBER }),
    propose: (command: Command) => Promise.resolve(proposed.push(command)),
    activity: () => undefined,
    log: () => undefined,
    instance: {
      options: {
        node: 'pg3',
        dataDirectory: '/nowhere',
        user: {},
        replication: { name: 'r', password: 'p' },
      },
      isForeign: () => false,
      postmaster: () => ({ pid: 1 }),
      readRole: () => Promise.resolve({ kind: 'standby' }),
      session: { query: () => Promise.resolve([{ received: seen.received }]) },
    },
  } as unknown as AgentContext;
  return { context, proposed };
}

beforeEach(() => Object.assign(seen, { steps: [], position: 90n, received: '0/5A' }));

test('one that takes too long is cut off again, and says that it failed', async () => {
  const { context, proposed } = scene();
  await carryOutCut(context, DUTY, new AbortController().signal);
  expect(seen.steps).toEqual(["follow slot ''", 'cut']);
  expect(proposed).toMatchObject([{ kind: 'fetch-failed', node: 'pg3' }]);
});

test('one that gets all is cut off again, and its report is marked', async () => {
  const { context, proposed } = scene();
  Object.assign(seen, { position: 100n, received: '0/64' });
  await carryOutCut(context, DUTY, new AbortController().signal);
  expect(seen.steps).toEqual(["follow slot ''", 'cut']);
  expect(proposed).toMatchObject([{ kind: 'cut-report', position: 100n, afterFetch: true }]);
});

test('one that is broken off says nothing, and counts as cut no more: the next pass cuts it first', async () => {
  const { context, proposed } = scene();
  const stop = new AbortController();
  const { fetch: _, ...without } = DUTY;
  const fetching = carryOutCut(context, { ...without, fetch: { kind: 'from', source } }, stop.signal);
  await vi.waitFor(() => expect(seen.steps).toHaveLength(1));
  stop.abort(new Error('another duty'));
  await expect(fetching).rejects.toThrow('another duty');
  expect({ proposed, cut: context.notes.cut }).toEqual({ proposed: [], cut: undefined });
  seen.position = 95n;
  await carryOutCut(context, { ...without, fetch: { kind: 'given-up' } }, new AbortController().signal);
  expect(seen.steps).toEqual(["follow slot ''", 'cut']);
  expect(proposed).toMatchObject([{ kind: 'cut-report', position: 95n, afterFetch: true }]);
});

test('after a restart it is cut off before it fetches again', async () => {
  const { context } = scene(true);
  await carryOutCut(context, DUTY, new AbortController().signal);
  expect(seen.steps).toEqual(['cut', "follow slot ''", 'cut']);
});
