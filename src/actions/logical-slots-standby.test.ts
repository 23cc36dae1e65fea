// What a standby of 17 and later, where PostgreSQL synchronises slots, finds of them; before, how its look at the primary ends.
import { mkdtemp, rm } from 'node:fs/promises';
import { type Server, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lsn } from '../base/lsn.ts';
import type { LogicalSlotReport } from '../cluster/report.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { LogicalSlotRow } from '../postgres/logical-slots.ts';
import { type KnownSlot, openSlotMemory } from './logical-slot-memory.ts';
import { copyRound, syncRound } from './logical-slots-standby.ts';
import { FOLLOW, STANDBY, fakeContext } from './testing/context.ts';
import { KNOWN, ROW as EXAMPLE_ROW, SLOT } from './testing/logical-slot.ts';

const ROW: LogicalSlotRow = { ...EXAMPLE_ROW, isFailover: true, isSynced: true };

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-sync-'));
});
afterEach(() => rm(root, { recursive: true }));

async function round(
  known: readonly KnownSlot[],
  found: Partial<LogicalSlotRow>,
  slot: Partial<LogicalSlot> = {},
  receiving = 3,
): Promise<{
  dropped: unknown[];
  said: LogicalSlotReport[];
  announced: string[];
  known: readonly KnownSlot[];
}> {
  const [dropped, said]: [unknown[], LogicalSlotReport[]] = [[], []];
  const context = fakeContext({
    dataDirectory: root,
    query: (text, [name]) => (text.includes('pg_drop') ? [{ name: dropped.push(name) }] : []),
  });
  Object.assign(context, { localMember: () => STANDBY });
  const memory = openSlotMemory(join(root, 'slots.json'));
  await memory.note(STANDBY, ...known);
  const present = {
    ...{ slots: [{ ...ROW, ...found }], walLevel: 'logical', walEnd: undefined },
    receiver: { stream: '8 1.5', timeline: receiving },
    protectedXmin: new Map<string, number>(),
  };
  const upstream = { ...FOLLOW.upstream, timeline: 3 as typeof FOLLOW.upstream.timeline };
  await syncRound(
    {
      ...{ context, memory, majorVersion: 17, incarnation: 1, signal: new AbortController().signal },
      ...{ slots: [{ ...SLOT, ...slot }], noteOf: () => undefined },
      find: () => Promise.resolve(present),
      say: (report) => void said.push(report),
    },
    { ...FOLLOW, upstream },
  );
  return { dropped, said, announced: context.announced, known: await memory.all(STANDBY) };
}

test('a slot that PostgreSQL has synchronised is fit under the primary that it follows, and known as ours', async () => {
  const { said, known, dropped } = await round([], {});
  expect(said).toEqual([{ name: 'cdc', isReady: true, note: undefined }]);
  expect(known).toEqual([{ ...KNOWN, timeline: 3 }]);
  expect(dropped).toEqual([]);
});

test('it is ours as soon as the primary is about to make it', async () => {
  const { known } = await round([], {}, { standing: 'wanted', isOurs: true });
  expect(known).toEqual([{ ...KNOWN, timeline: 3 }]);
  const theirs = await round([], {}, { standing: 'wanted', isOurs: false });
  expect(theirs.known).toMatchObject([{ isOurs: false }]);
});

test('nothing is known of it under a primary from which nothing was received', async () => {
  const { said, known } = await round([KNOWN], {}, {}, 1);
  expect(said).toMatchObject([{ isReady: false, note: 'a does not stream from b at present' }]);
  expect(known).toEqual([KNOWN]);
});

test.each<[string, Partial<LogicalSlotRow>]>([
  ['not up to where it is fit', { isTemporary: true }],
  ['invalidated', { isLost: true }],
])('one that is %s is not, whatever it was before', async (_, found) => {
  const { said, known } = await round([KNOWN], found);
  expect(said).toMatchObject([{ isReady: false }]);
  expect(known).toEqual([{ ...KNOWN, standing: 'unfit', timeline: 3 }]);
});

test('that of a former primary makes room for synchronisation; what nobody knows anything of is left', async () => {
  const own = { isSynced: false };
  expect(await round([KNOWN], own)).toMatchObject({ dropped: ['cdc'], said: [{ isReady: false }] });
});

test('that of a former primary stays until the new primary is there: it may be the only one', async () => {
  expect(await round([KNOWN], { isSynced: false }, {}, 1)).toMatchObject({ dropped: [], known: [KNOWN] });
});

test('one that somebody else has made is left, and not fit', async () => {
  expect(await round([], { isSynced: false })).toMatchObject({
    dropped: [],
    said: [{ isReady: false }],
    known: [],
  });
});

test('one that a person has unset is dropped where it was ours, and only forgotten where it was not', async () => {
  const own = { isSynced: false };
  expect(await round([KNOWN], own, { standing: 'unset' })).toMatchObject({ dropped: ['cdc'], known: [] });
});

test('nor does one of ours stay that was left while this node was the primary', async () => {
  const left = { ...KNOWN, setAt: 5, standing: 'left' } as const;
  expect(await round([left], { isSynced: false }, { standing: 'unset' })).toMatchObject({
    ...{ dropped: ['cdc'], known: [] },
  });
});

test('nor is one of a person dropped once it is unset', async () => {
  const theirs = { ...KNOWN, isOurs: false };
  const unset = { standing: 'unset', isOurs: false } as const;
  const { dropped, known, announced } = await round([theirs], { isSynced: false }, unset);
  // Set again it must not pass as one that is fit.
  const left = { ...theirs, standing: 'left' } as const;
  expect({ dropped, known }).toEqual({ dropped: [], known: [left] });
  // It would keep WAL on that node for ever.
  expect(announced).toEqual([expect.stringMatching(/^logical slot cdc on a, .* is left there/) as unknown]);
  // Once.
  expect(await round([left], { isSynced: false }, unset)).toMatchObject({ known: [left], announced: [] });
  // What PostgreSQL has synchronised it drops itself.
  expect(await round([theirs], {}, unset)).toMatchObject({ dropped: [], announced: [] });
});

test('the copy of an earlier slot of that name is not fit until it has moved on, or was seen not to be there', async () => {
  const at = (position: bigint) => ({ confirmedLsn: lsn(position) });
  const earlier = { ...KNOWN, setAt: 6 };
  const first = await round([earlier], at(0x70n), { standing: 'wanted' });
  expect(first).toMatchObject({
    known: [{ setAt: 7, standing: 'unfit', formerAt: '0/70' }],
    said: [{ isReady: false, note: expect.stringMatching(/copy of a former slot/) as unknown }],
  });
  expect(await round(first.known, at(0x70n))).toMatchObject({
    known: first.known,
    said: [{ isReady: false }],
  });
  const moved = await round(first.known, at(0x90n));
  expect(moved).toMatchObject({ known: [{ setAt: 7, standing: 'fit' }], said: [{ isReady: true }] });
  expect(moved.known[0]?.formerAt).toBeUndefined();
  const absent = await round(first.known, { name: 'other' });
  expect(absent).toMatchObject({ known: [], said: [{ isReady: false }] });
  expect(await round(absent.known, at(0x70n))).toMatchObject({ said: [{ isReady: true }] });
});

test('nor is that of a slot which was lost since, where another one was made by hand', async () => {
  const at = { confirmedLsn: lsn(0x70n) };
  const lost = await round([KNOWN], at, { standing: 'lost' });
  expect(lost).toMatchObject({ known: [{ setAt: 7, standing: 'unfit', formerAt: '0/70' }], announced: [] });
  expect(await round(lost.known, at)).toMatchObject({ said: [{ isReady: false }] });
});

test('what decodes something else under that name is not the one that is known, and never dropped for it', async () => {
  const theirs = { isSynced: false, plugin: 'test_decoding' };
  for (const standing of ['made', 'unset'] as const)
    expect(await round([KNOWN], theirs, { standing })).toMatchObject({
      dropped: [],
      known: [],
      announced: [],
    });
});

test('a look at a primary that says nothing ends with the duty, and nothing more is asked here', async () => {
  const silent: Server = createServer(() => undefined);
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = silent.address() as { port: number };
    const abort = new AbortController();
    const context = fakeContext({ dataDirectory: root });
    Object.assign(context, { localMember: () => STANDBY });
    let isAsked = false;
    silent.once('connection', () => abort.abort(new Error('the duty has changed')));
    const startedMs = performance.now();
    const looking = copyRound(
      {
        ...{ context, memory: openSlotMemory(join(root, 'slots.json')), majorVersion: 15, incarnation: 1 },
        ...{ signal: abort.signal, slots: [SLOT], noteOf: () => undefined, say: () => undefined },
        find: () => {
          isAsked = true;
          return Promise.reject(new Error('nobody answers'));
        },
      },
      { ...FOLLOW, upstream: { ...FOLLOW.upstream, port } },
      { bars: new Map(), copyNotes: new Map() },
    );
    await expect(looking).rejects.toThrow('the duty has changed');
    // Long before the connection is given up.
    expect(performance.now() - startedMs).toBeLessThan(2000);
    expect(isAsked).toBe(false);
  } finally {
    silent.close();
  }
});
