// Peers that do not find each other, or are not of the same cluster; a sentinelctl that nobody answers; commands that cannot be
// carried out. No PostgreSQL is started here.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import {
  findPrograms,
  LIMIT_MS,
  makeDatabase,
  openPlace,
  pictureOf,
  runSentinelctl,
  startSentineld,
  witness,
  writeConfig,
  type Ended,
  type Place,
  type Running,
} from './place.ts';

let place: Place;
let running: Running[] = [];
beforeEach(async () => void (place = await openPlace()));
afterEach(async () => {
  await Promise.all(running.map((peer) => peer.end('SIGKILL')));
  running = [];
  await place.close();
});

function start(config: string): Running {
  const peer = startSentineld(config);
  running.push(peer);
  return peer;
}

/** Asks again until the answer is as wanted. */
async function answer(args: readonly string[], wanted: RegExp): Promise<Ended> {
  let last: Ended | undefined;
  const what = `sentinelctl ${args.join(' ')} to say ${wanted}`;
  return until({ what, timeoutMs: LIMIT_MS, everyMs: 100 }, async () => {
    last = await runSentinelctl(...args);
    return wanted.test(last.stdout) ? last : undefined;
  }).catch((error: unknown) => {
    throw new Error(`${(error as Error).message}; last: ${JSON.stringify(last)}`);
  });
}

describe('a peer alone', () => {
  test('says whom it cannot reach, answers sentinelctl, makes no database, and refuses a failover', async () => {
    const config = writeConfig(place, 'a');
    const peer = start(config);
    await peer.says(/cannot reach b \(127\.0\.0\.1:\d+\)/);
    await peer.says(/cannot reach c \(127\.0\.0\.1:\d+\)/);
    const { exitCode, stdout } = await answer(['--config', config, 'status', '--exit-code'], /no leader/);
    expect(exitCode).toBe(2);
    expect(stdout).toMatch(/^shop: no leader, term \d+, answered by a /);
    expect(stdout).toContain('peers b, c cannot be reached from a');
    expect(stdout).toContain('peers: 1 of 3 in contact, 2 decide');
    expect(stdout).toMatch(/ {2}b +\? +lost +- +127/);
    expect(stdout).toContain('! no Raft leader: nothing can fail over');
    expect(await runSentinelctl('--config', config, 'failover', '--yes')).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: 'sentinelctl: nothing was changed: shop has no group yet; see sentinelctl status\n',
    });
    expect(await runSentinelctl('--config', config, 'uri')).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('shop has no group yet'),
    });
    expect(existsSync(join(place.root, 'a', 'data'))).toBe(false);
    expect(peer.output()).not.toMatch(/"level":[56]0/);
  });
});

test('peers of two clusters refuse each other, and both say so', async () => {
  const a = start(writeConfig(place, 'a', witness));
  const b = start(
    writeConfig(place, 'b', (text) => witness(text).replace('cluster: shop', 'cluster: store')),
  );
  await a.says(
    /refused peer \\"b\\" at .*it belongs to cluster \\"store\\", this is cluster \\"shop\\"; correct its list of peers/,
  );
  await a.says(
    /b \(127\.0\.0\.1:\d+\) does not take messages from here: refused peer \\"a\\" at .*cluster \\"shop\\", this is cluster \\"store\\"/,
  );
  await b.says(/refused peer \\"a\\" at .*it belongs to cluster \\"shop\\", this is cluster \\"store\\"/);
  await b.says(/a \(127\.0\.0\.1:\d+\) does not take messages from here: refused peer \\"b\\"/);
  const { stdout } = await runSentinelctl('--peers', `127.0.0.1:${place.ports[0]}`, 'status');
  expect(stdout).toMatch(/^shop: no leader/);
  expect(stdout).toMatch(/ {2}b +\? +lost /);
});

test('two nodes that each hold a database: no group is created, and neither is touched', async () => {
  const programs = await findPrograms(place);
  // Two peers, each with a node: the group would be created as soon as both have registered.
  const withoutC = (text: string): string =>
    text.replace(/ {2}c: .*\n/, '').replace('users:\n', `  bin_directory: ${programs.directory}\nusers:\n`);
  const configs = (['a', 'b'] as const).map((peer) => writeConfig(place, peer, withoutC));
  const data = ['a', 'b'].map((peer) => join(place.root, peer, 'data'));
  await Promise.all(data.map((path) => makeDatabase(place, programs, path)));
  const before = data.map(pictureOf);
  for (const config of configs) start(config);
  const { stdout } = await answer(['--config', configs[0] ?? '', 'status'], /each hold/);
  expect(stdout.replaceAll(/\s+/g, ' ')).toContain(
    'group main is not created: pg1 and pg2 each hold a database; leave it on one of them and move the others away',
  );
  expect(stdout).toContain('shop: starting');
  expect(data.map(pictureOf)).toEqual(before);
});

describe('sentinelctl', () => {
  test('with no peer up exits with 3 and names the addresses it tried', async () => {
    const addresses = [`127.0.0.1:${place.ports[6]}`, `127.0.0.1:${place.ports[7]}`];
    const { exitCode, stdout, stderr } = await runSentinelctl('--peers', addresses.join(','), 'status');
    expect([exitCode, stdout]).toEqual([3, '']);
    expect(stderr).toMatch(/^sentinelctl: no peer answered/);
    for (const address of addresses)
      expect(stderr).toContain(`${address}: connection refused (no sentineld listens there)`);
  });

  test.each([
    [['stauts'], "sentinelctl: unknown command 'stauts'\n(Did you mean status?)"],
    [['status', '--wacth'], "sentinelctl: unknown option '--wacth'\n(Did you mean --watch?)"],
    [
      ['status', '--timeout', '5'],
      "sentinelctl: option '--timeout <duration>' argument '5' is invalid. Expected a number with a unit",
    ],
    [['--peers', 'a=10.0.0.1:7432', 'status'], 'sentinelctl: --peers: "a=10.0.0.1:7432" is not HOST:PORT'],
    [
      ['--config', '/no/such.yaml', 'status'],
      'sentinelctl: cannot read the peers from /no/such.yaml: no such file or directory',
    ],
  ])('%j exits with 2', async (args, message) => {
    const { exitCode, stdout, stderr } = await runSentinelctl(...args);
    expect(stderr).toContain(message);
    expect([exitCode, stdout]).toEqual([2, '']);
  });
});
