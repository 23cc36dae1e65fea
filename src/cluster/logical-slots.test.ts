// Logical slots in the log: what may be asked for, what the primary's agent may say of them, and what is recorded.
import { describe, expect, it } from 'vitest';
import { logIndex, nodeId } from '../base/ids.ts';
import type { Command, LogicalSlotChange } from './commands.ts';
import { FEATURES, HBA_FEATURE_LEVEL } from './features.ts';
import {
  LOGICAL_SLOT_COUNT_MAX,
  SLOT_COUNT_MAX,
  logicalSlotNameProblem,
  parseLogicalSlot,
} from './logical-slots.ts';
import { nodesOfGroup } from './state.ts';
import { A, B, GROUP, type Log, newLog, registration, running } from './testing/example.ts';

const WANTED = { database: 'app', plugin: 'pgoutput', isTwoPhase: false };
const set = (name = 'cdc', wanted: LogicalSlotChange['wanted'] = WANTED): Command => change({ name, wanted });
const unset = (name = 'cdc'): Command => change({ name, wanted: undefined });
const change = (...logicalSlots: LogicalSlotChange[]): Command => ({
  ...{ kind: 'configure', group: GROUP, settings: {}, parameters: [], by: 'ann', logicalSlots },
});
const atLevel = (featureLevel: number): Log => newLog({ ...running().state, featureLevel });
const says = (
  log: Log,
  outcome: Extract<Command, { kind: 'logical-slot' }>['outcome'],
  more: Partial<Extract<Command, { kind: 'logical-slot' }>> = {},
): Command => ({
  ...{ kind: 'logical-slot', group: GROUP, epoch: log.epoch, node: A, name: 'cdc', outcome },
  setAt: log.group.logicalSlots.find(({ name }) => name === 'cdc')?.setAt ?? logIndex(0),
  reason: outcome === 'lost' ? 'somebody has dropped it' : undefined,
  ...more,
});
const standing = (log: Log): string | undefined => log.group.logicalSlots[0]?.standing;

describe('a logical slot', () => {
  it('is wanted, made, lost, and gone once it is unset and dropped', () => {
    const log = atLevel(FEATURES);
    log.must(set());
    expect(log.group.logicalSlots).toMatchObject([{ name: 'cdc', ...WANTED, standing: 'wanted' }]);
    log.must(says(log, 'making'));
    expect(log.group.logicalSlots).toMatchObject([{ standing: 'wanted', isOurs: true }]);
    log.must(says(log, 'made'));
    expect(log.group.logicalSlots).toMatchObject([{ standing: 'made', isOurs: true }]);
    expect(log.commit(says(log, 'making'))).toMatch(/is made/);
    log.must(says(log, 'lost'));
    expect(log.group.logicalSlots).toMatchObject([{ standing: 'lost', reason: 'somebody has dropped it' }]);
    log.must(unset());
    expect(standing(log)).toBe('unset');
    log.must(says(log, 'gone'));
    expect(log.group.logicalSlots).toEqual([]);
    expect(log.group.settingsHistory.map(({ differences }) => differences)).toEqual([
      [{ key: 'logical_slots.cdc', from: undefined, to: 'app:pgoutput' }],
      [{ key: 'logical_slots.cdc', from: 'app:pgoutput', to: undefined }],
    ]);
  });

  it('that is lost is not made by asking for it again', () => {
    const log = atLevel(FEATURES);
    log.must(set(), says(log, 'made', { setAt: logIndex(log.state.appliedIndex + 1) }));
    log.must(says(log, 'lost'), set());
    expect(standing(log)).toBe('lost');
    expect(log.commit(says(log, 'made'))).toMatch(/is lost/);
    // But a person may have made it.
    log.must(says(log, 'found'));
    expect(log.group.logicalSlots).toMatchObject([{ standing: 'made', isOurs: false }]);
  });

  it('is not ours where somebody else was quicker', () => {
    const log = atLevel(FEATURES);
    log.must(set());
    log.must(says(log, 'making'));
    log.must(says(log, 'found'));
    expect(log.group.logicalSlots).toMatchObject([{ standing: 'made', isOurs: false }]);
  });

  it('is spoken of by the primary alone, at the present epoch, and only that very slot', () => {
    const log = atLevel(FEATURES);
    log.must(set());
    expect(log.commit(says(log, 'made', { node: B }))).toMatch(/b is not the primary/);
    expect(log.commit(says(log, 'made', { epoch: (log.epoch + 1) as typeof log.epoch }))).toMatch(/epoch/);
    expect(log.commit(says(log, 'made', { setAt: logIndex(1) }))).toMatch(/no logical slot cdc of entry 1/);
    expect(log.commit(says(log, 'gone'))).toMatch(/is wanted/);
    expect(standing(log)).toBe('wanted');
  });

  it('cannot become another one while it is there', () => {
    const log = atLevel(FEATURES);
    log.must(set());
    expect(log.commit(set('cdc', { ...WANTED, database: 'other' }))).toMatch(
      /cannot be changed: unset it first/,
    );
    log.must(unset());
    expect(log.commit(set())).toMatch(/not dropped yet/);
    expect(log.commit(unset())).toMatch(/there is no logical slot cdc/);
  });

  it('waits for every peer to understand it', () => {
    const log = atLevel(HBA_FEATURE_LEVEL);
    expect(log.commit(set())).toMatch(/upgrade all of them first/);
    expect(log.group.logicalSlots).toEqual([]);
  });

  it(`is one of ${LOGICAL_SLOT_COUNT_MAX} at most`, () => {
    const log = atLevel(FEATURES);
    for (let at = 0; at < LOGICAL_SLOT_COUNT_MAX; at += 1) log.must(set(`slot${at}`));
    expect(log.commit(set('another'))).toMatch(/there may be 8 at most/);
  });

  it(`leaves room for the slots of other nodes: ${SLOT_COUNT_MAX} in all`, () => {
    const log = atLevel(FEATURES);
    const others = nodesOfGroup(log.state, GROUP).length - 1;
    for (let at = others; at < 7; at += 1) log.must(registration(nodeId(`more${at}`)));
    for (let at = 0; at < 7; at += 1) log.must(set(`slot${at}`));
    expect(log.commit(set('another'))).toMatch(
      /8 logical slots, .* one for every other node \(7\).* 14 in all/,
    );
    // A node that comes keeps nobody from any other change.
    log.must(registration(nodeId('late')), change(), unset('slot0'));
  });
});

describe('the form', () => {
  it.each([
    ['app:pgoutput', { database: 'app', plugin: 'pgoutput', isTwoPhase: false }],
    ['My db:wal2json:two_phase', { database: 'My db', plugin: 'wal2json', isTwoPhase: true }],
  ])('%s', (text, wanted) => expect(parseLogicalSlot(text)).toEqual(wanted));

  it.each([
    'app',
    'app:',
    ':pgoutput',
    'app:pgoutput:',
    'app:pgoutput:two',
    'a:b:two_phase:c',
    'app:pg output',
  ])('refuses %s', (text) => expect(parseLogicalSlot(text)).toBeUndefined());

  it.each([
    ['Cdc', /lower-case/],
    ['', /1 to 63/],
    ['x'.repeat(64), /1 to 63/],
    ['pg1_0123abcd', /for the physical slots of members/],
    ['pg_mine', /reserved/],
  ])('refuses the name %s', (name, reason) => expect(logicalSlotNameProblem(name)).toMatch(reason));
});
