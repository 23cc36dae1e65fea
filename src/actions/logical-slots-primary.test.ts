// A round of the primary's agent over the logical slots: what it has done before it says so to the log, and what it leaves alone.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { logIndex } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { LogicalSlotReport } from '../cluster/report.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { LogicalSlotRow } from '../postgres/logical-slots.ts';
import { type KnownSlot, openSlotMemory } from './logical-slot-memory.ts';
import { primaryRound } from './logical-slots-primary.ts';
import { PRIMARY, STANDBY, fakeContext } from './testing/context.ts';
import { KNOWN, ROW as EXAMPLE_ROW, SLOT as MADE_SLOT } from './testing/logical-slot.ts';

const SLOT: LogicalSlot = { ...MADE_SLOT, standing: 'unset' };
const ROW: LogicalSlotRow = { ...EXAMPLE_ROW, confirmedLsn: lsn(0x7000n) };

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-primary-slots-'));
});
afterEach(() => rm(root, { recursive: true }));

async function round(options: {
  readonly slots?: readonly LogicalSlot[];
  readonly known?: readonly KnownSlot[];
  readonly isThere?: boolean;
  /** What is there; left out: {@link ROW}. */
  readonly row?: LogicalSlotRow;
  /** The log takes what is proposed; left out: it does. */
  readonly takes?: boolean;
  /** Somebody has begun to read from the slot since it was looked at. */
  readonly isTaken?: boolean;
}) {
  const [dropped, said, proposed]: [unknown[], LogicalSlotReport[], string[]] = [[], [], []];
  const context = fakeContext({
    dataDirectory: root,
    query: (text, [name]) => {
      if (!text.includes('pg_drop') || options.isTaken === true) return [];
      return [{ name: dropped.push(name) }];
    },
  });
  Object.assign(context, {
    localMember: () => STANDBY,
    propose: ({ outcome }: { outcome: string }) =>
      Promise.resolve(proposed.push(outcome) > 0 && options.takes !== false),
  });
  const memory = openSlotMemory(join(root, 'slots.json'));
  await memory.note(STANDBY, ...(options.known ?? [KNOWN]));
  const found = {
    ...{
      slots: options.isThere === false ? [] : [options.row ?? ROW],
      walLevel: 'logical',
      walEnd: lsn(0x9000n),
      receiver: undefined,
    },
    protectedXmin: new Map<string, number>(),
  };
  await primaryRound(
    {
      ...{ context, memory, majorVersion: 15, incarnation: 1, signal: new AbortController().signal },
      ...{ slots: options.slots ?? [SLOT], noteOf: () => undefined },
      find: () => Promise.resolve(found),
      say: (report) => void said.push(report),
    },
    PRIMARY,
  );
  const { announced } = context;
  return { dropped, said, proposed, announced, known: await memory.all(STANDBY) };
}

test('a slot that is unset is dropped, then said to be gone, then forgotten', async () => {
  expect(await round({})).toMatchObject({ dropped: ['cdc'], proposed: ['gone'], known: [] });
});

test('it is not said to be gone where somebody has begun to read from it meanwhile', async () => {
  expect(await round({ isTaken: true })).toMatchObject({
    ...{ dropped: [], proposed: [], known: [KNOWN] },
    said: [{ isReady: false }],
  });
});

test('nor is it forgotten where the log has forgotten it already', async () => {
  expect(await round({ slots: [], isTaken: true })).toMatchObject({ dropped: [], known: [KNOWN] });
  expect(await round({ slots: [] })).toMatchObject({ dropped: ['cdc'], known: [] });
});

test('what the log has lost by a forced recovery is left, for its consumer may read from it, which is said once', async () => {
  const known = [{ ...KNOWN, incarnation: 0 }];
  const found = await round({ slots: [], known });
  expect(found).toMatchObject({ dropped: [], known: [] });
  expect(found.announced).toEqual([
    expect.stringMatching(/recovered by force .* set logical_slots\.cdc=app:pgoutput/) as unknown,
  ]);
  // Set again it is used, and somebody else's.
  const again: LogicalSlot = { ...SLOT, setAt: logIndex(9), standing: 'wanted', isOurs: false };
  expect(await round({ slots: [again], known: [] })).toMatchObject({ proposed: ['found'], dropped: [] });
});

test('one that the log has lost and that is not fit stays known, and is not taken for fit once it is set again', async () => {
  const unfit = { ...KNOWN, incarnation: 0, standing: 'unfit' } as const;
  const found = await round({ slots: [], known: [unfit] });
  const left = { ...unfit, standing: 'left' } as const;
  expect(found).toMatchObject({ dropped: [], known: [left] });
  expect(found.announced).toEqual([
    expect.stringMatching(/recovered by force .* drop it .* before .* set again/) as unknown,
  ]);
  expect(await round({ slots: [], known: [left] })).toMatchObject({ known: [left], announced: [] });
  const again: LogicalSlot = { ...SLOT, setAt: logIndex(9), standing: 'wanted', isOurs: false };
  expect(await round({ slots: [again], known: [left] })).toMatchObject({
    ...{ proposed: [], dropped: [], known: [left] },
    said: [{ isReady: false, note: expect.stringMatching(/drop it .* made anew/) as unknown }],
  });
  expect(await round({ slots: [again], known: [left], isThere: false })).toMatchObject({
    proposed: ['making'],
  });
});

test('one of which nobody knows anything stays doubtful when it is unset, and set again', async () => {
  const made: LogicalSlot = { ...SLOT, standing: 'made' };
  const lost = await round({ slots: [made], known: [] });
  expect(lost).toMatchObject({ proposed: ['lost'], known: [{ standing: 'unfit', isOurs: false }] });
  const unset = await round({ known: lost.known });
  expect(unset).toMatchObject({ proposed: ['gone'], dropped: [], known: [{ standing: 'left' }] });
  // Also where it is unset before anybody has looked at it.
  const atOnce = await round({ known: [] });
  expect(atOnce).toMatchObject({ proposed: ['gone'], dropped: [], known: [{ standing: 'left' }] });
  const again: LogicalSlot = { ...SLOT, setAt: logIndex(9), standing: 'wanted', isOurs: false };
  for (const { known } of [unset, atOnce])
    expect(await round({ slots: [again], known })).toMatchObject({
      proposed: [],
      said: [{ isReady: false }],
    });
});

test('nor is one that a person has made dropped for an unfit one of that name that decoded something else', async () => {
  const another = { ...KNOWN, text: 'app:test_decoding' };
  expect(await round({ slots: [], known: [another] })).toMatchObject({
    dropped: [],
    known: [],
    announced: [],
  });
});

test('what was fit on another primary, and not said to be so by the promotion, is lost', async () => {
  const made: LogicalSlot = { ...SLOT, standing: 'made' };
  const known = [{ ...KNOWN, timeline: PRIMARY.timeline - 1 }];
  expect(await round({ slots: [made], known })).toMatchObject({ dropped: ['cdc'], proposed: ['lost'] });
});

describe('a slot that is to be made', () => {
  const wanted: LogicalSlot = { ...SLOT, standing: 'wanted', isOurs: false };
  const none = { isThere: false, known: [] };

  test('is said to be absent only where there is none of that name at all', async () => {
    const absent = { isReady: false, isAbsent: true };
    expect((await round({ ...none, slots: [wanted], takes: false })).said).toMatchObject([absent]);
    expect((await round({ ...none, slots: [wanted] })).said).toMatchObject([absent]);
    const others = [{ plugin: 'test_decoding' }, { isLost: true }, { confirmedLsn: undefined }] as const;
    for (const other of others) {
      const [said] = (await round({ slots: [wanted], known: [], row: { ...ROW, ...other } })).said;
      expect(said).toMatchObject({ isReady: false });
      expect(said).not.toHaveProperty('isAbsent');
    }
  });

  test('is ours by the log before it is there, for a standby may have it before anybody says that it is made', async () => {
    // Nobody answers where it would be made.
    expect(await round({ ...none, slots: [wanted] })).toMatchObject({
      ...{ proposed: ['making'], known: [{ standing: 'fit', isOurs: true }] },
      said: [{ isReady: false, note: expect.stringMatching(/connect/) as unknown }],
    });
    expect(await round({ ...none, slots: [{ ...wanted, isOurs: true }] })).toMatchObject({ proposed: [] });
  });

  test('is not made where the log does not take that', async () => {
    expect(await round({ ...none, slots: [wanted], takes: false })).toMatchObject({
      ...{ proposed: ['making'], known: [] },
      said: [{ isReady: false, note: 'it is made once the log takes that' }],
    });
  });
});
