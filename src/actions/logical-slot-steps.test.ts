// What is done about a logical slot, by what the log says and what is found: never made a second time, never dropped where it is somebody else's.
import { describe, expect, it } from 'vitest';
import { logIndex } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { LogicalSlotRow } from '../postgres/logical-slots.ts';
import type { KnownSlot } from './logical-slot-memory.ts';
import { type Bar, type PrimaryFacts, primaryStep, readiness } from './logical-slot-steps.ts';

const SLOT: LogicalSlot = {
  ...{ name: 'cdc', database: 'app', plugin: 'pgoutput', isTwoPhase: false, setAt: logIndex(7) },
  ...{ standing: 'made', isOurs: true, reason: undefined },
};
const ROW: LogicalSlotRow = {
  ...{ name: 'cdc', database: 'app', plugin: 'pgoutput', isTwoPhase: false, isTemporary: false },
  ...{ activePid: undefined, catalogXmin: 700, confirmedLsn: lsn(0x7000n) },
  ...{ isLost: false, isFailover: true, isSynced: false },
};
const OURS: KnownSlot = {
  ...{ name: 'cdc', setAt: 7, text: 'app:pgoutput', standing: 'fit', timeline: 2 },
  ...{ incarnation: 1, isOurs: true },
};
const THEIRS: KnownSlot = { ...OURS, isOurs: false };
const UNFIT: KnownSlot = { ...OURS, standing: 'unfit' };
/** Under another primary. */
const BEFORE: KnownSlot = { ...OURS, timeline: 1 };
const GONE: KnownSlot = { ...OURS, standing: 'gone', isOurs: false };
const step = (
  slot: Partial<LogicalSlot>,
  found: Partial<LogicalSlotRow> | undefined,
  more: Partial<PrimaryFacts> = {},
) =>
  primaryStep({
    slot: { ...SLOT, ...slot },
    found: found && { ...ROW, ...found },
    ...{ timeline: 2 },
    ...{ known: OURS, former: undefined, node: 'pg2', walLevel: 'logical', walEnd: lsn(0x9000n) },
    ...{ majorVersion: 15, before: undefined },
    ...more,
  });

describe('a slot that is wanted', () => {
  it('is made where there is none, and only where it can be', () => {
    expect(step({ standing: 'wanted' }, undefined)).toEqual({ kind: 'create' });
    expect(step({ standing: 'wanted' }, undefined, { walLevel: 'replica' })).toMatchObject({
      kind: 'stay',
      isReady: false,
      note: expect.stringMatching(/wal_level = logical/) as unknown,
    });
  });

  it('with two_phase is not made by a version that could not keep it', () => {
    const wanted = { standing: 'wanted', isTwoPhase: true } as const;
    expect(step(wanted, undefined, { majorVersion: 17 })).toMatchObject({
      ...{ kind: 'stay', isReady: false },
      note: expect.stringMatching(/PostgreSQL 17 does not keep .* two_phase/) as unknown,
    });
    for (const majorVersion of [16, 18])
      expect(step(wanted, undefined, { majorVersion })).toEqual({ kind: 'create' });
  });

  it('that is there is ours only if this agent was about to make it', () => {
    expect(step({ standing: 'wanted' }, {})).toMatchObject({
      kind: 'say',
      outcome: 'made',
    });
    for (const known of [undefined, THEIRS, GONE])
      expect(step({ standing: 'wanted' }, {}, { known })).toMatchObject({ kind: 'say', outcome: 'found' });
  });

  it('that is there is never taken for fit where it is known not to be, nor where it is of an earlier entry', () => {
    const wanted = { standing: 'wanted' } as const;
    const drop = expect.stringMatching(/not known to be fit to go on from: drop it/) as unknown;
    const left: KnownSlot = { ...OURS, setAt: 3, standing: 'left' };
    const theirs: KnownSlot = { ...left, isOurs: false };
    for (const former of [left, theirs])
      expect(step(wanted, {}, { known: undefined, former })).toMatchObject({ kind: 'stay', note: drop });
    const ours: KnownSlot = { ...OURS, setAt: 3 };
    expect(step(wanted, { activePid: 9 }, { known: undefined, former: ours })).toMatchObject({
      ...{ kind: 'stay', note: expect.stringMatching(/is dropped once nobody reads from it/) as unknown },
    });
    // Seen to be gone: what is there is new.
    const gone: KnownSlot = { ...ours, standing: 'gone' };
    expect(step(wanted, {}, { known: undefined, former: gone })).toMatchObject({ outcome: 'found' });
    for (const known of [UNFIT, BEFORE]) {
      expect(step(wanted, {}, { known })).toMatchObject({ kind: 'drop', outcome: undefined });
      expect(step(wanted, { activePid: 9 }, { known })).toMatchObject({ kind: 'stay', isReady: false });
      expect(step(wanted, {}, { known: { ...known, isOurs: false } })).toMatchObject({
        ...{ kind: 'stay', note: drop },
      });
    }
  });

  it('is not said to be made while it is half made, which may come to nothing', () => {
    for (const standing of ['wanted', 'lost'] as const)
      for (const known of [OURS, GONE])
        expect(step({ standing }, { confirmedLsn: undefined, activePid: 9 }, { known })).toMatchObject({
          ...{ kind: 'stay', isReady: false },
          note: expect.stringMatching(/being made/) as unknown,
        });
  });

  it.each<[string, Partial<LogicalSlotRow>]>([
    ['another database', { database: 'other' }],
    ['another plugin', { plugin: 'test_decoding' }],
    ['two-phase', { isTwoPhase: true }],
    ['temporary', { isTemporary: true }],
  ])("is not taken for somebody else's: %s", (_, found) => {
    expect(step({ standing: 'wanted' }, found)).toMatchObject({
      kind: 'stay',
      isReady: false,
      note: expect.stringMatching(/somebody else has a .*slot of that name/) as unknown,
    });
  });
});

describe('a slot that was made', () => {
  it('is never made again: it is lost, with what was known of it', () => {
    expect(step({}, undefined, { before: 'not synchronised yet' })).toEqual({
      kind: 'say',
      outcome: 'lost',
      reason: 'pg2 does not have it (before: not synchronised yet)',
    });
    expect(step({ standing: 'lost' }, undefined)).toMatchObject({ kind: 'stay', isReady: false });
    expect(step({}, { isLost: true })).toMatchObject({ kind: 'say', outcome: 'lost' });
    expect(step({}, { plugin: 'test_decoding' })).toMatchObject({ kind: 'say', outcome: 'lost' });
  });

  it('is dropped where its copy is not fit to go on from, and said where somebody reads from that', () => {
    for (const known of [UNFIT, BEFORE]) {
      const unfit = { known };
      expect(step({}, {}, unfit)).toMatchObject({ kind: 'drop', outcome: 'lost' });
      expect(step({}, { activePid: 9 }, unfit)).toMatchObject({ kind: 'say', outcome: 'lost' });
      expect(step({ standing: 'lost' }, { activePid: 9 }, unfit)).toMatchObject({ kind: 'stay' });
      expect(step({ standing: 'lost' }, {}, unfit)).toMatchObject({ kind: 'drop', outcome: undefined });
    }
    expect(step({}, {})).toEqual({ kind: 'stay', isReady: true, note: undefined });
  });

  it('is lost, and left, where nobody knows anything of it or somebody else has made it', () => {
    expect(step({}, {}, { known: undefined })).toEqual({
      ...{ kind: 'say', outcome: 'lost' },
      reason: 'nobody knows whether the slot on pg2 is fit to go on from',
    });
    expect(step({}, {}, { known: { ...THEIRS, timeline: 1 } })).toMatchObject({
      kind: 'say',
      outcome: 'lost',
    });
  });

  it('is lost where its consumer has more than there is: it would pass over what is written until then', () => {
    expect(step({}, { confirmedLsn: lsn(0x9001n) })).toEqual({
      ...{ kind: 'say', outcome: 'lost' },
      reason: expect.stringMatching(/has all up to 0\/9001, and WAL on pg2 ends at 0\/9000/) as unknown,
    });
    expect(step({}, { confirmedLsn: lsn(0x9000n) })).toMatchObject({ kind: 'stay', isReady: true });
  });

  it('counts again once a person has made it anew, and not before what is lost was seen to be gone', () => {
    const lost = { standing: 'lost', reason: 'why' } as const;
    for (const found of [undefined, { isLost: true }, { database: 'other' }])
      expect(step(lost, found)).toEqual({ kind: 'stay', isReady: false, note: 'why', isGone: true });
    // Whether or not the log took it at once.
    for (const known of [GONE, THEIRS])
      expect(step(lost, {}, { known })).toMatchObject({ kind: 'say', outcome: 'found' });
    for (const known of [undefined, { ...THEIRS, timeline: 1 }])
      expect(step(lost, {}, { known })).toMatchObject({
        ...{ kind: 'stay', isReady: false },
        note: expect.stringMatching(/not known to be a new one: drop it/) as unknown,
      });
  });

  it('without failover = true is said not to reach standbys that synchronise', () => {
    expect(step({}, { isFailover: false }, { majorVersion: 17 })).toMatchObject({
      note: expect.stringMatching(/failover = true/) as unknown,
    });
  });
});

describe('a slot that is unset', () => {
  const unset = { standing: 'unset' } as const;
  it('is dropped where it is ours and idle', () => {
    expect(step(unset, {})).toMatchObject({ kind: 'drop', outcome: 'gone' });
    expect(step(unset, undefined)).toMatchObject({ kind: 'say', outcome: 'gone' });
    const invalid = { ...GONE, isOurs: true };
    expect(step(unset, { isLost: true }, { known: invalid })).toMatchObject({ kind: 'drop' });
    expect(step(unset, {}, { known: invalid })).toMatchObject({ kind: 'say', outcome: 'gone' });
    expect(step(unset, { activePid: 9 })).toMatchObject({
      kind: 'stay',
      note: expect.stringMatching(/in use by process 9/) as unknown,
    });
  });

  it("is left alone where it is somebody else's", () => {
    // Ours by the log, until somebody made another one.
    for (const known of [undefined, THEIRS, GONE])
      expect(step(unset, {}, { known })).toMatchObject({ kind: 'say', outcome: 'gone' });
    expect(step({ ...unset, isOurs: false }, {})).toMatchObject({ kind: 'say', outcome: 'gone' });
    expect(step(unset, { database: 'other' })).toMatchObject({ kind: 'say', outcome: 'gone' });
  });
});

describe('a copy may be gone on from', () => {
  const MAX = 2 ** 32;
  const STREAM = '1 2';
  const bar = (catalogXmin: number, stream = STREAM): Bar => ({
    ...{ catalogXmin, stream },
    confirmedLsn: lsn(0x7000n),
  });
  const ask = (local: number, remote: number, more: Partial<Parameters<typeof readiness>[0]> = {}) =>
    readiness({
      local: { ...ROW, catalogXmin: local },
      remote: { ...ROW, catalogXmin: remote },
      ...{ protectedXmin: local, bar: undefined, stream: STREAM, wasReady: false },
      ...more,
    });

  it('once it needs nothing older than what the primary still needed when it began to protect it', () => {
    expect(ask(700, 700)).toMatchObject({ isReady: true, bar: bar(700) });
    expect(ask(700, 710)).toMatchObject({ isReady: false, bar: bar(710) });
    // The primary goes on; what counts is where it was.
    expect(ask(709, 900, { bar: bar(710) })).toMatchObject({ isReady: false, bar: bar(710) });
    expect(ask(710, 900, { bar: bar(710) })).toMatchObject({ isReady: true });
  });

  it('never while the primary does not protect what it needs', () => {
    expect(ask(700, 700, { protectedXmin: undefined, wasReady: true })).toMatchObject({
      isReady: false,
      bar: undefined,
    });
    expect(ask(700, 700, { protectedXmin: 705 })).toMatchObject({ isReady: false });
  });

  it('only for as long as the same stream goes on: what came by another one may have cost it its rows', () => {
    expect(ask(700, 900, { bar: bar(700, '1 1') })).toMatchObject({ isReady: false, bar: bar(900) });
    expect(ask(700, 900, { bar: bar(700), wasReady: true })).toMatchObject({ isReady: true });
  });

  it('never while it lies ahead of its consumer, as that of a former primary may', () => {
    const at = (position: bigint) => ({ ...ROW, confirmedLsn: lsn(position) });
    const ahead = { local: at(0x7001n), remote: at(0x7000n) };
    for (const wasReady of [false, true])
      expect(ask(700, 700, { ...ahead, wasReady })).toMatchObject({
        isReady: false,
        note: expect.stringMatching(/ahead of its consumer/) as unknown,
      });
    const passed = { local: at(0x7001n), remote: at(0x7001n), bar: bar(700) };
    expect(ask(700, 700, passed)).toMatchObject({ isReady: true });
  });

  it('nor before it has come to where its consumer was then', () => {
    const behind = { local: { ...ROW, confirmedLsn: lsn(0x6fffn) } };
    expect(ask(700, 700, behind)).toMatchObject({ isReady: false });
    expect(ask(700, 700, { ...behind, wasReady: true })).toMatchObject({ isReady: true });
    expect(ask(700, 700, { local: { ...ROW, confirmedLsn: undefined } })).toMatchObject({ isReady: false });
  });

  it('also where transaction ids have gone round', () => {
    expect(ask(5, MAX - 5, { protectedXmin: MAX - 7 })).toMatchObject({ isReady: true });
    expect(ask(MAX - 5, 5, { protectedXmin: MAX - 7 })).toMatchObject({ isReady: false });
  });
});
