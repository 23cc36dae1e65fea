// What sentineld says of a host that it cannot serve on: a port in use, a data or state directory that is somebody else's. It ends
// by itself, and nothing on the host is another than before.
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  occupy,
  openPlace,
  pictureOf,
  runSentineld,
  startSentineld,
  witness,
  writeConfig,
  type Place,
} from './place.ts';

let place: Place;
let isRoot: boolean;
beforeAll(async () => {
  place = await openPlace();
  isRoot = process.getuid?.() === 0;
});
afterAll(() => place.close());

async function expectRefused(config: string, exitCode: number, message: string | RegExp): Promise<void> {
  const before = pictureOf(place.root);
  const ended = await runSentineld(config);
  expect(ended.stderr).toMatch(message);
  expect([ended.exitCode, ended.stdout]).toEqual([exitCode, '']);
  expect(pictureOf(place.root)).toEqual(before);
}

/** A data directory in which `make` puts what it needs, given to PostgreSQL's user. */
function dataDirectory(name: string, files: Readonly<Record<string, string>>): string {
  const path = join(place.root, name);
  mkdirSync(path, { mode: 0o700 });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
  if (place.user.owner !== undefined) chownSync(path, place.user.uid, place.user.gid);
  return path;
}

const withData = (path: string): string =>
  writeConfig(place, 'a', (text) => text.replace(`${place.root}/a/data`, path));

describe('a port in use', () => {
  test('of the peer', async () => {
    const other = await occupy(place.ports[0] ?? 0);
    const config = writeConfig(place, 'a');
    const address = `127.0.0.1:${place.ports[0]}`;
    await expectRefused(
      config,
      1,
      `${config}: peers.a: cannot listen on ${address}: another process has that port, perhaps a second sentineld; find it with "ss -ltnp`,
    );
    other.close();
  });

  test('of PostgreSQL, and an address that this host has not: both are said', async () => {
    const other = await occupy(place.ports[3] ?? 0);
    const config = writeConfig(place, 'a', (text) =>
      text.replace('peer: a\n', 'peer: a\nlisten: 192.0.2.1:7432\n'),
    );
    await expectRefused(
      config,
      1,
      new RegExp(
        `listen: cannot listen on 192.0.2.1:7432: this host has no address 192.0.2.1; give one of its own as "listen"\n` +
          `sentineld: ${config}: node.address: PostgreSQL cannot listen on 127.0.0.1:${place.ports[3]}: another process has that port; find it`,
      ),
    );
    other.close();
  });
});

describe('a data directory', () => {
  test('of another user', async () => {
    const path = isRoot ? dataDirectory('foreign', { PG_VERSION: '15\n' }) : '/usr/share';
    if (isRoot) chownSync(path, 12345, 12345);
    const belongs = `node.data_directory: "${path}" belongs to uid 12345, but PostgreSQL runs as ${place.user.name}, which must own it; chown -R ${place.user.name} ${path}, or set node.os_user`;
    const isElse = `node.data_directory: "${path}" is not empty and holds no PostgreSQL database`;
    await expectRefused(withData(path), 2, isRoot ? belongs : isElse);
  });

  test('of a major version that is no longer supported, or not installed', async () => {
    const old = dataDirectory('old', { PG_VERSION: '13\n' });
    await expectRefused(
      withData(old),
      2,
      new RegExp(
        `node.data_directory: "${old}" was made by PostgreSQL 13, but the programs found are of PostgreSQL \\d+ .*; 14 is the oldest supported: upgrade the data with pg_upgrade`,
      ),
    );
    const next = dataDirectory('next', { PG_VERSION: '99\n' });
    await expectRefused(
      withData(next),
      2,
      new RegExp(
        `"${next}" was made by PostgreSQL 99, but the programs found are of .*; install PostgreSQL 99, set node.bin_directory, or upgrade`,
      ),
    );
  });

  test('with files that are not of PostgreSQL', async () => {
    const path = dataDirectory('photos', { 'cat.jpg': 'miaow' });
    await expectRefused(
      withData(path),
      2,
      `"${path}" is not empty and holds no PostgreSQL database (cat.jpg); expected an empty or missing directory, or a database`,
    );
  });

  test('that others may enter', async () => {
    const path = join(place.root, 'open');
    mkdirSync(path, { mode: 0o755 });
    if (place.user.owner !== undefined) chownSync(path, place.user.uid, place.user.gid);
    await expectRefused(
      withData(path),
      2,
      `"${path}" has mode 0755; PostgreSQL starts only with 0700 or 0750: chmod 700 ${path}`,
    );
  });
});

test('a state directory of another cluster, or of another peer', async () => {
  const first = startSentineld(writeConfig(place, 'b', witness));
  await first.says(/sentineld is up/);
  expect(await first.end()).toBe(0);
  const state = join(place.root, 'b', 'state');
  const renamed = writeConfig(place, 'b', (text) => witness(text).replace('cluster: shop', 'cluster: store'));
  await expectStateRefused(renamed, state, /cluster.*"?shop.*"?store/);
  const moved = writeConfig(place, 'b', (text) => witness(text).replace('peer: b', 'peer: c'));
  await expectStateRefused(moved, state, /peer.*"?b\b.*"?c\b/);
});

/** The log is opened to see whose it is: LevelDB's own housekeeping files may change, what is in the log must not. */
async function expectStateRefused(config: string, state: string, message: RegExp): Promise<void> {
  const sideFile = join(state, 'raft', 'hard-state');
  const before = pictureOf(sideFile);
  const { exitCode, stderr, stdout } = await runSentineld(config);
  expect(stderr).toMatch(message);
  expect(stderr).toContain(state);
  expect([exitCode, stdout]).toEqual([1, expect.not.stringContaining('is up')]);
  expect(pictureOf(sideFile)).toEqual(before);
}
