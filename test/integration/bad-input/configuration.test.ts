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
