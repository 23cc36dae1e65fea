// What stands against a server that was found, and how much of it is told.
import { describe, expect, test } from 'vitest';
import { ROW } from './testing/logical-slot.ts';
import { type FoundFacts, masked, noticesOf, problemsOf, withinBudget } from './found-problems.ts';

const VALUES: Readonly<Record<string, string>> = {
  ...{ server_version: '15.4', port: '5432', synchronous_standby_names: '', max_wal_senders: '10' },
  ...{ recovery_min_apply_delay: '0', wal_level: 'replica', fsync: 'on', full_page_writes: 'on' },
  ...{ data_checksums: 'on', wal_log_hints: 'off' },
};
const facts = (more: Partial<FoundFacts> = {}, values: Record<string, string> = {}): FoundFacts => ({
  ...{ role: { kind: 'primary' }, isStreaming: false, ourWalSenders: 16, port: 5432, isDelayed: false },
  value: (name) => values[name] ?? VALUES[name] ?? '',
  binaries: { version: 15, directory: '/bin' },
  ...{ managers: [], repmgrdStart: undefined, osStart: undefined },
  ...{ hba: { left: [], problem: undefined }, hbaFileProblem: undefined },
  ...{ physicalSlots: [], logicalSlots: [], otherNodeCount: 2, roles: [] },
  ...more,
});
const STANDBY: Partial<FoundFacts> = { role: { kind: 'standby' }, isStreaming: true };
const role = (isSuperuser: boolean, isInUse: boolean) => ({ name: 'replicator', isSuperuser, isInUse });

test('a server that is well has no problems', () => {
  expect([...problemsOf(facts())]).toEqual([]);
  expect([...problemsOf(facts(STANDBY))]).toEqual([]);
});

test.each<readonly [string, Partial<FoundFacts>, Record<string, string>, RegExp]>([
  ['who else looks after it', { managers: ['repmgrd runs'] }, {}, /repmgrd runs/],
  ['who would at the next boot', { repmgrdStart: 'it starts repmgrd' }, {}, /it starts repmgrd/],
  ['the operating system', { osStart: 'it starts it' }, {}, /it starts it/],
  [
    'what is decoded on a standby',
    { ...STANDBY, logicalSlots: [ROW] },
    {},
    /slots of a standby \(cdc\).*drop them/,
  ],
  [
    'readers that would wait for slots which nobody uses any more',
    {},
    { wal_level: 'logical', synchronized_standby_slots: 'hand_pg2' },
    /synchronized_standby_slots is 'hand_pg2'.*set it to ''/,
  ],
  ['no WAL to stream', {}, { wal_level: 'minimal' }, /wal_level is minimal/],
  ['a superuser of our name', { roles: [role(true, false)] }, {}, /replicator is a superuser/],
  ['somebody who uses our name', { roles: [role(false, true)] }, {}, /replicator is in use/],
  ['a file that is not its own', { hbaFileProblem: 'a link' }, {}, /a link/],
  ['another version', {}, { server_version: '14.9' }, /set node.bin_directory/],
  ['another port', {}, { port: '5433' }, /node.address says 5432/],
  ['writes that would wait', {}, { synchronous_standby_names: '*' }, /writes would wait/],
  ['more walsenders', {}, { max_wal_senders: '20' }, /lower it on the primary first/],
  ['a delay', STANDBY, { recovery_min_apply_delay: '1h' }, /no apply_delay/],
  ['what is not kept', {}, { fsync: 'off' }, /fsync or full_page_writes/],
  ['a standby of nobody', { ...STANDBY, isStreaming: false }, {}, /does not stream/],
])('%s stands against it', (_, more, values, problem) => {
  expect([...problemsOf(facts(more, values))]).toEqual([expect.stringMatching(problem)]);
});

test('a role of our name that nobody uses is only to know, and on the primary alone', () => {
  const roles = [role(false, false)];
  expect([...problemsOf(facts({ roles }))]).toEqual([]);
  expect([...noticesOf(facts({ roles }))]).toEqual([expect.stringMatching(/it gets the password/)]);
  expect([...noticesOf(facts({ ...STANDBY, roles: [role(true, true)] }))]).toEqual([]);
});

describe('a report', () => {
  test('has a bound for all lists together, and says what it leaves out; problems come first', () => {
    const many = (count: number): string[] =>
      Array.from({ length: count }, (_, at) => `${at} ${'x'.repeat(400)}`);
    const lists = { problems: ['one', ...many(20)], kept: many(500), last: many(3) };
    const short = withinBudget(lists);
    expect(short.problems).toHaveLength(21);
    expect(short.problems[0]).toBe('one');
    expect(short.kept.at(-1)).toMatch(/^and \d+ more$/);
    expect(short.last).toEqual(['and 3 more']);
    const characters = Object.values(short).flat().join('').length;
    expect(characters).toBeLessThan(12_500);
    expect(withinBudget({ problems: [], kept: ['a'] })).toEqual({ problems: [], kept: ['a'] });
  });

  test.each([
    [
      'host all all all ldap ldapbindpasswd=abc ldapport=1',
      'host all all all ldap ldapbindpasswd=*** ldapport=1',
    ],
    ['host all all all ldap "ldapbindpasswd=a b"', 'host all all all ldap "ldapbindpasswd=***"'],
    ['radius radiussecrets="a,b" radiusservers=x', 'radius radiussecrets=*** radiusservers=x'],
    ["ssl_passphrase_command = 'echo secret'", 'ssl_passphrase_command = ***'],
    ["archive_command = 'PGPASSWORD=abc push %p'", "archive_command = 'PGPASSWORD=*** push %p'"],
    ["password_encryption = 'scram-sha-256'", "password_encryption = 'scram-sha-256'"],
  ])('hides passwords: %s', (text, shown) => {
    expect(masked(text)).toBe(shown);
    expect(withinBudget({ hba: [text] }).hba).toEqual([shown]);
  });
});
