// The section bootstrap: what a group's first data directory is restored from, and how far it is recovered.
import { describe, expect, it } from 'vitest';
import { GOOD, load, problems } from './testing/config-place.ts';

describe('a backup that a group begins with', () => {
  const withBootstrap = (more: string): string => `${GOOD}bootstrap: { command: [/bin/restore]${more} }\n`;
  const first = (more: string): string | undefined => problems(withBootstrap(more))[0];

  it('is recovered to the end of its archive where nothing else is said', () => {
    expect(load(GOOD).bootstrap).toBeUndefined();
    expect(load(withBootstrap(', restore_command: "cp /a/%f %p"')).bootstrap).toMatchObject({
      command: ['/bin/restore'],
      timeoutMs: 86_400_000,
      restoreCommand: 'cp /a/%f %p',
      target: { at: undefined, inclusive: true, timeline: 'latest' },
    });
  });

  it.each([
    ['time', '2026-01-31 03:00:00+00'],
    ['time', '2026-01-31T03:00:00Z'],
    ['lsn', '16/B374D848'],
    ['name', 'before it'],
    ['xid', '7412'],
  ])('or to a %s, %s', (kind, value) => {
    const text = withBootstrap(`, recovery_target_${kind}: "${value}", recovery_target_inclusive: false`);
    expect(load(text).bootstrap?.target).toEqual({
      at: { kind, value },
      inclusive: false,
      timeline: 'latest',
    });
  });

  it.each([
    [
      ', recovery_target_time: "2026-01-31 03:00:00"',
      'bootstrap.recovery_target_time',
      'a time with its zone',
    ],
    [
      ', recovery_target_time: "2026-02-30 03:00:00Z"',
      'bootstrap.recovery_target_time',
      'a time with its zone',
    ],
    [`, recovery_target_name: ${'n'.repeat(64)}`, 'bootstrap.recovery_target_name', 'at most 63 bytes'],
    [', recovery_target_time: "yesterday"', 'bootstrap.recovery_target_time', 'a time with its zone'],
    [', recovery_target_lsn: "16"', 'bootstrap.recovery_target_lsn', 'a position such as 16/B374D848'],
    [', recovery_target_xid: "-1"', 'bootstrap.recovery_target_xid', 'the number of a transaction'],
    [', recovery_target_timeline: "newest"', 'bootstrap.recovery_target_timeline', 'latest, current or'],
    [', restore_command: "/bin/fetch"', 'bootstrap.restore_command', 'a shell command with %f'],
    [', restore_command: "/bin/fetch %f"', 'bootstrap.restore_command', 'and %p, where to put it'],
    [', recovery_target_xid: "1", recovery_target_name: "a"', 'bootstrap:', 'expected one of them'],
    [', colour: red', 'bootstrap.colour', 'unknown key'],
  ])('with%s is refused', (more, key, reason) => {
    expect(first(more)).toContain(key);
    expect(first(more)).toContain(reason);
  });

  it('has a command that is an absolute path', () => {
    expect(problems(`${GOOD}bootstrap: { command: [restore] }\n`)[0]).toContain('bootstrap.command');
    expect(problems(`${GOOD}bootstrap: { command: /bin/restore }\n`)[0]).toContain('bootstrap.command');
  });

  it('archives by node.parameters only where the archive could be asked which timelines it has', () => {
    const text = (more: string): string =>
      `${GOOD.replace('users:', "  parameters: { archive_command: 'cp %p /a/%f' }\nusers:")}bootstrap: { command: [/bin/restore]${more} }\n`;
    const [found = ''] = problems(text(''));
    expect(found).toContain('node.parameters.archive_command: it is given together with bootstrap');
    expect(problems(text(', restore_command: "cp /a/%f %p"'))).toEqual([]);
  });

  it('tells its command of each tablespace by a variable of its own', () => {
    const text = (name: string): string =>
      `${GOOD.replace('users:', `  tablespaces: { fast-one: /fast/a, ${name}: /fast/b }\nusers:`)}bootstrap: { command: [/bin/restore] }\n`;
    expect(problems(text('fast_one'))[0]).toContain('PG_SENTINEL_TABLESPACE_fast_one');
    expect(problems(text('fast_two'))).toEqual([]);
  });
});
