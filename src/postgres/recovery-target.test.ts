// What PostgreSQL is told of a recovery, and how it is told to people.
import { expect, test } from 'vitest';
import { type RecoveryTarget, recoverySettings, targetText } from './recovery-target.ts';

const target: RecoveryTarget = {
  at: { kind: 'time', value: '2026-01-31 03:00:00+00' },
  inclusive: false,
  timeline: 'latest',
};
const END: RecoveryTarget = { at: undefined, inclusive: true, timeline: 'current' };

test('it waits at its target, archives nothing, and takes nothing over of how the old server recovered', () => {
  expect(recoverySettings({ target, restoreCommand: 'cp /a/%f %p', version: 15 })).toEqual({
    restore_command: 'cp /a/%f %p',
    recovery_end_command: '',
    archive_cleanup_command: '',
    recovery_target_timeline: 'latest',
    recovery_target_time: '2026-01-31 03:00:00+00',
    recovery_target_inclusive: 'off',
    recovery_target_action: 'pause',
    archive_command: '',
    'pg_sentinel.archiving': 'suspended',
    archive_library: '',
  });
});

test('without a target and an archive it names neither; before version 15 there is no archive_library', () => {
  const settings = recoverySettings({ target: END, restoreCommand: undefined, version: 14 });
  expect(settings).toMatchObject({
    restore_command: '',
    recovery_target_timeline: 'current',
    'pg_sentinel.archiving': 'held',
  });
  expect(Object.keys(settings)).not.toContain('archive_library');
  expect(Object.keys(settings).filter((key) => /^recovery_target_(time$|lsn|name|xid)/.test(key))).toEqual(
    [],
  );
});

test('as people read it', () => {
  expect(targetText(target)).toBe('time 2026-01-31 03:00:00+00 (exclusive)');
  expect(targetText({ ...target, at: { kind: 'name', value: 'before' } })).toBe('name before');
  expect(targetText(END)).toBe('the end of the archive');
});
