// What is done about a logical slot, by what the log says and what is found: never made a second time, never dropped where it is somebody else's.
import { describe, expect, it } from 'vitest';
import { logIndex } from '../base/ids.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { LogicalSlotRow } from '../postgres/logical-slots.ts';
import { type PrimaryFacts, primaryStep, readiness } from './logical-slot-steps.ts';

const SLOT: LogicalSlot = {
  ...{ name: 'cdc', database: 'app', plugin: 'pgoutput', isTwoPhase: false, setAt: logIndex(7) },
  ...{ standing: 'made', isOurs: true, reason: undefined },
};
const ROW: LogicalSlotRow = {
  ...{ name: 'cdc', database: 'app', plugin: 'pgoutput', isTwoPhase: false, isTemporary: false },
  ...{ activePid: undefined, catalogXmin: 700, confirmedLsn: undefined },
  ...{ isLost: false, isFailover: true, isSynced: false },
};
const step = (
  slot: Partial<LogicalSlot>,
  found: Partial<LogicalSlotRow> | undefined,
  more: Partial<PrimaryFacts> = {},
) =>
  primaryStep({
    slot: { ...SLOT, ...slot },
    found: found && { ...ROW, ...found },
    ...{ known: undefined, node: 'pg2', walLevel: 'logical', majorVersion: 15, before: undefined },
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
    expect(step({ standing: 'wanted' }, {}, { known: 'own' })).toMatchObject({
      kind: 'say',
      outcome: 'made',
    });
    expect(step({ standing: 'wanted' }, {})).toMatchObject({ kind: 'say', outcome: 'found' });
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
    expect(step({}, {}, { known: 'unready' })).toMatchObject({ kind: 'drop', outcome: 'lost' });
    expect(step({}, { activePid: 9 }, { known: 'unready' })).toMatchObject({ kind: 'say', outcome: 'lost' });
    expect(step({ standing: 'lost' }, { activePid: 9 }, { known: 'unready' })).toMatchObject({
      kind: 'stay',
    });
    for (const known of ['own', 'ready', undefined] as const)
      expect(step({}, {}, { known })).toEqual({ kind: 'stay', isReady: true, note: undefined });
  });

  it('counts again once a person has made it anew', () => {
    expect(step({ standing: 'lost' }, {})).toMatchObject({ kind: 'say', outcome: 'found' });
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
    expect(step(unset, { activePid: 9 })).toMatchObject({
      kind: 'stay',
      note: expect.stringMatching(/in use by process 9/) as unknown,
    });
  });

  it("is left alone where it is somebody else's", () => {
    expect(step({ ...unset, isOurs: false }, {})).toMatchObject({ kind: 'say', outcome: 'gone' });
    expect(step(unset, { database: 'other' })).toMatchObject({ kind: 'say', outcome: 'gone' });
  });
});

describe('a copy may be gone on from', () => {
  const MAX = 2 ** 32;
  const ask = (local: number, remote: number, more: Partial<Parameters<typeof readiness>[0]> = {}) =>
    readiness({
      local: { ...ROW, catalogXmin: local },
      remote: { ...ROW, catalogXmin: remote },
      ...{ protectedXmin: local, bar: undefined, wasReady: false },
      ...more,
    });

  it('once it needs nothing older than what the primary still needed when it began to protect it', () => {
    expect(ask(700, 700)).toMatchObject({ isReady: true, bar: 700 });
    expect(ask(700, 710)).toMatchObject({ isReady: false, bar: 710 });
    // The primary goes on; what counts is where it was.
    expect(ask(709, 900, { bar: 710 })).toMatchObject({ isReady: false, bar: 710 });
    expect(ask(710, 900, { bar: 710 })).toMatchObject({ isReady: true });
  });

  it('never while the primary does not protect what it needs', () => {
    expect(ask(700, 700, { protectedXmin: undefined, wasReady: true })).toMatchObject({
      isReady: false,
      bar: undefined,
    });
    expect(ask(700, 700, { protectedXmin: 705 })).toMatchObject({ isReady: false });
  });

  it('also where transaction ids have gone round', () => {
    expect(ask(5, MAX - 5, { protectedXmin: MAX - 7 })).toMatchObject({ isReady: true });
    expect(ask(MAX - 5, 5, { protectedXmin: MAX - 7 })).toMatchObject({ isReady: false });
  });
});
