// Parameters of PostgreSQL and the record of what was changed: bounded, refused with the reason, the same on every peer.
import { describe, expect, test } from 'vitest';
import { groupId, logIndex } from '../base/ids.ts';
import { DEFAULT_GROUP_SETTINGS } from './apply-settings.ts';
import type { CommandOf } from './applied.ts';
import { listEvents } from './event-list.ts';
import { HBA_FEATURE_LEVEL, PARAMETERS_FEATURE_LEVEL } from './features.ts';
import { HBA_COUNT_MAX, PARAMETER_COUNT_MAX } from './parameters.ts';
import { encodeState } from './snapshot-codec.ts';
import { SETTINGS_RECORD_COUNT_MAX } from './state.ts';
import { GROUP, newLog, running } from './testing/example.ts';

const upgraded = () => newLog({ ...running().state, featureLevel: PARAMETERS_FEATURE_LEVEL });
const configure = (change: Partial<CommandOf<'configure'>>): CommandOf<'configure'> => ({
  ...{ kind: 'configure', group: GROUP, settings: {}, parameters: [], by: 'ann@db1' },
  ...change,
});
const set = (name: string, value: string | undefined) => configure({ parameters: [{ name, value }] });

test('parameters are set, changed and taken out, in the order of their names', () => {
  const log = upgraded();
  log.must(set('work_mem', '4MB'), set('jit', 'off'), set('work_mem', '64MB'));
  expect([...log.group.parameters]).toEqual([
    ['jit', 'off'],
    ['work_mem', '64MB'],
  ]);
  log.must(set('jit', undefined));
  expect([...log.group.parameters]).toEqual([['work_mem', '64MB']]);
});

test('each change is recorded with who, when and what; one that changes nothing is not', () => {
  const log = upgraded();
  log.commit(configure({ settings: { acks: 2 }, parameters: [{ name: 'jit', value: 'off' }] }), {
    proposedAtMs: 77,
  });
  const revision = log.state.appliedIndex;
  log.must(set('jit', 'off'), { kind: 'change-settings', group: GROUP, settings: { acks: 2 } });
  expect(log.group.settingsRevision).toBe(revision);
  log.must({ kind: 'change-settings', group: GROUP, settings: { acks: 1 } });
  expect(log.group.settingsHistory).toEqual([
    {
      ...{ index: revision, atMs: 77, by: 'ann@db1', more: 0 },
      differences: [
        { key: 'acks', from: '1', to: '2' },
        { key: 'postgresql.jit', from: undefined, to: 'off' },
      ],
    },
    {
      ...{ index: log.state.appliedIndex, atMs: 0, by: '', more: 0 },
      differences: [{ key: 'acks', from: '2', to: '1' }],
    },
  ]);
});

test('against a revision that is no longer the present one nothing is changed', () => {
  const log = upgraded();
  log.must(configure({ settings: { acks: 2 }, onlyRevision: logIndex(0) }));
  expect(log.commit(configure({ settings: { acks: 3 }, onlyRevision: logIndex(0) }))).toMatch(
    /settings of group main were changed meanwhile \(revision \d+, expected 0\)/,
  );
  log.must(configure({ settings: { acks: 3 }, onlyRevision: log.group.settingsRevision }));
  expect(log.group.settings.acks).toBe(3);
});

describe('is refused, and changes nothing:', () => {
  test.each<[string, CommandOf<'configure'>, RegExp]>([
    ['a name', set('work mem', '1'), /"work mem" is not the name of a PostgreSQL parameter/],
    ['upper case', set('Work_Mem', '1'), /is not the name/],
    ['a line break', set('jit', 'off\nfsync = off'), /holds a line break/],
    ['a long value', set('jit', 'x'.repeat(1025)), /has 1025 bytes; it may have 1024 at most/],
    ['a setting beside it', { ...set('jit', 'off'), settings: { acks: 0 } }, /acks is 0/],
    ['another group', { ...set('jit', 'off'), group: groupId('other') }, /there is no group other/],
    ['a long name of who asks', { ...set('jit', 'off'), by: 'x'.repeat(129) }, /128 at most/],
  ])('%s', (_, command, reason) => {
    const log = upgraded();
    const before = log.group;
    expect(log.commit(command)).toMatch(reason);
    expect(log.group).toEqual(before);
  });

  test('too many, and too much', () => {
    const log = upgraded();
    const many = (count: number, value: string) =>
      configure({
        parameters: Array.from({ length: count }, (_, number) => ({ name: `a${number}`, value })),
      });
    expect(log.commit(many(PARAMETER_COUNT_MAX + 1, '1'))).toMatch(/there would be 201 .* 200 at most/);
    expect(log.commit(many(70, 'x'.repeat(1000)))).toMatch(/would have \d+ bytes together; .* 65536 at most/);
    log.must(many(PARAMETER_COUNT_MAX, '1'));
    expect(log.commit(set('b', '1'))).toMatch(/200 at most/);
    log.must(set('a7', undefined), set('b', '1'));
  });

  test('before every peer understands it', () => {
    const log = newLog({ ...running().state, featureLevel: PARAMETERS_FEATURE_LEVEL - 1 });
    expect(log.commit(set('jit', 'off'))).toMatch(/upgrade all of them/);
    log.must({ kind: 'change-settings', group: GROUP, settings: { acks: 2 } });
    expect(log.group).toMatchObject({ settingsHistory: [], settingsRevision: 0 });
  });
});

test('history and events stay small, whatever is set how often', () => {
  const log = upgraded();
  for (let round = 0; round < 2 * SETTINGS_RECORD_COUNT_MAX; round += 1) {
    const value = `${round}${'x'.repeat(1000)}`;
    log.must(
      configure({ parameters: Array.from({ length: 60 }, (_, name) => ({ name: `a${name}`, value })) }),
    );
  }
  const { settingsHistory } = log.group;
  expect(settingsHistory).toHaveLength(SETTINGS_RECORD_COUNT_MAX);
  expect(settingsHistory.at(-1)).toMatchObject({ index: log.state.appliedIndex, more: 60 - 32 });
  expect(log.group.parameters.get('a1')).toHaveLength(1002);
  const [event] = listEvents(log.state.events).slice(-1);
  expect(JSON.stringify(event).length).toBeLessThan(6000);
  expect(encodeState(log.state).length).toBeLessThan(1.5e6);
  expect(log.group.settings).toEqual(DEFAULT_GROUP_SETTINGS);
});

describe('rules for pg_hba.conf', () => {
  const ONE = 'host app app 10.0.0.0/24 scram-sha-256';
  const TWO = 'host all all all reject';
  const rules = (...hba: string[]) => configure({ hba });
  const ready = () => newLog({ ...running().state, featureLevel: HBA_FEATURE_LEVEL });

  test('take the place of those before, in their order; what does not name them leaves them', () => {
    const log = ready();
    log.must(rules(ONE, TWO), set('jit', 'off'));
    expect(log.group.hba).toEqual([ONE, TWO]);
    log.must(rules(TWO, ONE));
    expect(log.group.hba).toEqual([TWO, ONE]);
    log.must(rules());
    expect(log.group.hba).toEqual([]);
  });

  test('are recorded rule by rule, and as a whole where only their order has changed', () => {
    const log = ready();
    log.must(rules(ONE), rules(TWO, ONE), rules(ONE, TWO), rules(ONE, TWO));
    expect(log.group.settingsHistory.map(({ differences }) => differences)).toEqual([
      [{ key: 'hba', from: undefined, to: ONE }],
      [{ key: 'hba', from: undefined, to: TWO }],
      [{ key: 'hba', from: `${TWO}; ${ONE}`, to: `${ONE}; ${TWO}` }],
    ]);
  });

  test.each<[string, string[], RegExp]>([
    ['too many', Array.from({ length: HBA_COUNT_MAX + 1 }, () => ONE), /501 hba lines; there may be 500/],
    ['a line break', [ONE, `${ONE}\nlocal all all trust`], /hba line 2 holds a line break/],
    ['a long line', ['x'.repeat(1025)], /hba line 1 has 1025 bytes/],
    ['too much', Array.from({ length: 70 }, () => 'x'.repeat(1000)), /70000 bytes together/],
  ])('are refused: %s', (_, hba, reason) => {
    const log = ready();
    expect(log.commit(rules(...hba))).toMatch(reason);
    expect(log.group.hba).toEqual([]);
  });

  test('are refused as a whole with the settings beside them until every peer knows them', () => {
    const log = newLog({ ...running().state, featureLevel: HBA_FEATURE_LEVEL - 1 });
    expect(log.commit(configure({ hba: [ONE], settings: { acks: 2 } }))).toMatch(/upgrade all of them first/);
    expect(log.group.settings.acks).toBe(1);
  });
});
