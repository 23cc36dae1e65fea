// What sentineld says of a configuration that it cannot use: file, line, key, value and what would be right, all at once; exit
// code 2; nothing made on disk. The details of each key are tested in src/daemon/config.test.ts.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openPlace, pictureOf, runSentineld, witness, writeConfig, type Place } from './place.ts';

let place: Place;
beforeAll(async () => void (place = await openPlace()));
afterAll(() => place.close());

/** Both ways to start: as a service, and to check. The errors are those; nothing below the place is another than before. */
async function expectRefused(
  config: string,
  errors: readonly (string | RegExp)[],
  ...args: string[]
): Promise<void> {
  const before = pictureOf(place.root);
  const [served, checked] = await Promise.all([
    runSentineld(config, ...args),
    runSentineld(config, '--check-config', ...args),
  ]);
  const lines = served.stderr.trimEnd().split('\n');
  const saying = errors.map((error) =>
    typeof error === 'string' ? `sentineld: ${error}` : expect.stringMatching(error),
  );
  expect(lines).toEqual(saying);
  expect(checked.stdout.trimEnd().split('\n')).toEqual(
    lines.map((line) => line.replace(/^sentineld: /, 'error: ')),
  );
  expect([served.exitCode, served.stdout, checked.exitCode, checked.stderr]).toEqual([2, '', 2, '']);
  expect(pictureOf(place.root)).toEqual(before);
}

test('unknown keys, a missing key and a wrong unit are said at once, each with what would be right', async () => {
  const config = writeConfig(place, 'a', (text) =>
    text
      .replace('cluster: shop\n', '')
      .replace('data_directory:', 'data-directory:')
      .replace(
        'users:',
        'down_after: 2s\ncolour: blue\ntiming:\n  down_after: 500\n  election_timeout: 1 hour\nusers:',
      ),
  );
  await expectRefused(config, [
    `${config}: cluster: missing; expected a lower-case letter, then at most 30 lower-case letters, digits, "_" or "-"`,
    `${config}:7: node.data_directory: missing; expected an absolute path without "..", such as /var/lib/postgresql/15/shop`,
    `${config}:10: node.data-directory: unknown key; did you mean "data_directory"?`,
    `${config}:11: down_after: unknown key; it belongs to "timing"`,
    `${config}:12: colour: unknown key; known here: cluster, peer, peers, site, join, via, listen, state_directory, node, watch, users, timing, guard, fence, raft, log, clone, bootstrap`,
    `${config}:14: timing.down_after: 500 is given; expected a number with a unit: ms, s, min or h, such as 500ms or 2s, from 100ms to 10min; did you mean "500ms"?`,
    `${config}:15: timing.election_timeout: "1 hour" is given; expected a number with a unit: ms, s, min or h, such as 500ms or 2s, from 50ms to 1min`,
  ]);
});

test('rules for pg_hba.conf that PostgreSQL would not take', async () => {
  const config = writeConfig(place, 'a', (text) =>
    text.replace(
      'users:',
      '  hba: [host all all 10.0.0.0/24 scram-sha-265, host all all 10.0.0.0/66 md5]\nusers:',
    ),
  );
  await expectRefused(config, [
    /node\.hba\.0: method: "scram-sha-265" is given; expected trust, .*; did you mean "scram-sha-256"\?$/,
    /node\.hba\.1: address: "10\.0\.0\.0\/66" is given; expected a network such as/,
  ]);
});

test('a promote command that is no list of a program and its arguments, and one that is not there', async () => {
  const wrong = writeConfig(place, 'a', (text) =>
    text.replace('users:', '  promote_command: pg_ctl promote\n  promote_timeout: 20\nusers:'),
  );
  await expectRefused(wrong, [
    `${wrong}:12: node.promote_command: "pg_ctl promote" is given; expected a list: the program as an absolute path, then its arguments, each in quotes`,
    `${wrong}:13: node.promote_timeout: 20 is given; expected a number with a unit: ms, s, min or h, such as 500ms or 2s, from 1s to 10min`,
  ]);
  const missing = writeConfig(place, 'a', (text) =>
    text.replace('users:', `  promote_command: [${place.root}/promote]\nusers:`),
  );
  await expectRefused(missing, [
    `${missing}: node.promote_command: cannot run "${place.root}/promote": no such file or directory`,
  ]);
});

test('what the first database is to be made with: each key by itself, and those that do not go together', async () => {
  const config = writeConfig(place, 'a', (text) =>
    text.replace(
      'users:',
      '  initdb:\n    locale: de DE\n    encoding: utf9\n    wal_segment_size_mb: 100\n    pwfile: /etc/passwd\nusers:',
    ),
  );
  await expectRefused(config, [
    `${config}:13: node.initdb.locale: "de DE" is given; expected the name of a locale, such as C or en_US.UTF-8, in quotes where it looks like something else`,
    `${config}:14: node.initdb.encoding: "utf9" is given; expected an encoding of PostgreSQL for databases, such as UTF8, LATIN1 or EUC_JP`,
    `${config}:15: node.initdb.wal_segment_size_mb: 100 is given; expected a power of two from 1 to 1024`,
    `${config}:16: node.initdb.pwfile: unknown key; known here: locale, lc_collate, lc_ctype, encoding, locale_provider, icu_locale, builtin_locale, data_checksums, wal_segment_size_mb`,
  ]);
  const apart = writeConfig(place, 'a', (text) =>
    text.replace('users:', '  initdb: { locale_provider: icu, builtin_locale: C }\nusers:'),
  );
  await expectRefused(apart, [
    `${apart}:12: node.initdb.icu_locale: missing; expected a locale, as node.initdb.locale_provider is icu`,
    `${apart}:12: node.initdb.builtin_locale: it is used with locale_provider builtin only, which is icu here`,
  ]);
});

test('a password is never shown', async () => {
  const config = writeConfig(place, 'a', (text) => text.replace('probe-secret', '12345'));
  const { exitCode, stderr } = await runSentineld(config);
  expect([exitCode, stderr]).toEqual([
    2,
    expect.stringContaining('users.probe.password: a number (not shown) is given; expected text'),
  ]);
  expect(stderr).not.toContain('12345');
});

test('a peer that the file does not name, and a password file that is not there', async () => {
  const missing = join(place.root, 'no.password');
  const config = writeConfig(place, 'a', (text) =>
    text.replace('password: probe-secret', `password_file: ${missing}`),
  );
  await expectRefused(
    config,
    [
      `${config}:2: peer: "d" is given; expected one of a, b, c`,
      `${config}:14: users.probe.password_file: cannot read ${missing}: no such file or directory; expected a file that holds the password on its first line`,
    ],
    '--peer',
    'd',
  );
});

test('a file that is not there, or no YAML', async () => {
  const missing = join(place.root, 'a', 'nothing.yaml');
  await expectRefused(missing, [
    `${missing}: cannot read the configuration: no such file or directory; give the file of this host as --config FILE`,
  ]);
  const broken = join(place.root, 'a', 'broken.yaml');
  writeFileSync(broken, 'cluster: shop\npeers:\n  a: [fd00::1]:7432\n');
  await expectRefused(broken, [
    new RegExp(`^sentineld: ${broken}:3: not YAML: .*; put an address with brackets in quotes$`),
  ]);
});

test('a command line that is not understood', async () => {
  const config = writeConfig(place, 'a', witness);
  const { exitCode, stderr } = await runSentineld(config, '--chek-config');
  expect([exitCode, stderr]).toEqual([
    2,
    "sentineld: unknown option '--chek-config'\n(Did you mean --check-config?)\n(try --help)\n",
  ]);
});
