// What a person asks with sentinelctl, on a cluster of real processes. One cluster for all: each test leaves it healthy.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GROUP } from '../../../harness/cluster-config.ts';
import type { Host } from '../../../harness/host.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  harmOf,
  startLoadedCluster,
  type LoadedCluster,
} from '../raft/load.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'commands', spareCount: 0 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
const standbyHosts = async (): Promise<Host[]> => {
  const { primary } = await healthy();
  return loaded.cluster.hosts.filter(({ node }) => node !== primary);
};
const ok = (stdout: RegExp) => ({ exitCode: 0, stdout: expect.stringMatching(stdout) as unknown });
const failed = (stderr: RegExp) => ({ exitCode: 1, stderr: expect.stringMatching(stderr) as unknown });
const set = async (...settings: string[]): Promise<void> => {
  expect(await loaded.ctl(['settings', 'set', ...settings])).toMatchObject(ok(/^done: group main/));
};
const waitForRule = (rule: RegExp) =>
  loaded.cluster.waitFor(`the rule ${rule.source}`, HEALTHY_TIMEOUT_MS, (group) => {
    return rule.test(group.rule) && group.ruleChange === undefined && group.phase === 'running';
  });

test(
  '--dry-run says what would be done, or why not, and changes nothing',
  { timeout: LIMIT_MS },
  async () => {
    const { primary } = await healthy();
    const [standby] = await standbyHosts();
    const node = standby?.node ?? '';
    const present = async () => ({
      settings: (await loaded.ctl(['settings', 'get', '--json'])).stdout,
      events: (await loaded.ctl(['events'])).stdout,
      running: loaded.cluster.hosts.map((host) => host.postmasterPid()),
    });
    const before = await present();
    const planned = ok(/^done: it could be done, nothing was changed; then: /);
    const dry = (...args: string[]) => loaded.ctl([...args, '--dry-run']);
    expect(await dry('fence', node)).toMatchObject(planned);
    expect((await dry('fence', primary ?? '')).stdout).toMatch(/switches over from/);
    expect(await dry('unfence', node)).toMatchObject(failed(/is not fenced/));
    expect(await dry('ack')).toMatchObject(failed(/no failover to acknowledge/));
    expect(await dry('failover', '--at', '+2h')).toMatchObject(planned);
    expect(await dry('failover', '--at', 'never')).toMatchObject(failed(/no switchover .* is scheduled/));
    const changed = await dry('settings', 'set', 'acks=2', 'postgresql.max_connections=90');
    expect(changed).toMatchObject(planned);
    expect(changed.stdout).toMatch(/^ {2}acks: 1 -> 2\n {2}postgresql\.max_connections: \(not set\) -> 90$/m);
    expect(changed.stdout).toMatch(/^ {2}restart needed: (?:\w+, ){2}\w+ \(for max_connections\)$/m);
    expect(await dry('settings', 'set', 'postgresql.work_mem=lots')).toMatchObject(failed(/"lots" is given/));
    expect(await dry('settings', 'unset', 'postgresql.work_mem')).toMatchObject(
      ok(/group main has all of it already/),
    );
    expect(await present()).toEqual(before);
  },
);

describe('settings', () => {
  test('two acknowledgements and back, under load', { timeout: LIMIT_MS }, async () => {
    await healthy();
    const verdict = await loaded.writeWhile(async () => {
      await set('acks=2');
      await waitForRule(/^2 of /);
      await set('acks=1');
      await waitForRule(/^1 of /);
    });
    expect(harmOf(verdict)).toEqual([]);
  });

  test('strict: with its standby gone writes wait for it', { timeout: LIMIT_MS }, async () => {
    await set('durability=strict', 'acks=2');
    await waitForRule(/^2 of /);
    const [standby] = await standbyHosts();
    await standby?.stopAll();
    const group = await loaded.cluster.waitFor('the standby to be gone', HEALTHY_TIMEOUT_MS, ({ nodes }) =>
      nodes.some(({ node, state }) => node === standby?.node && state === 'unknown'),
    );
    expect(group.rule).toMatch(/^2 of /);
    standby?.startSentineld();
    await healthy();
    await waitForRule(/^2 of /);
    const [target] = await standbyHosts();
    expect(await loaded.ctl(['failover', '--to', target?.node ?? '', '-y'])).toMatchObject(ok(/./));
    await healthy();
    await waitForRule(/^2 of /);
    expect((await loaded.cluster.primary()).node).toBe(target?.node);
    await set('durability=quorum', 'acks=1');
    await waitForRule(/^1 of /);
  });

  test('async: commits wait for nobody, and back', { timeout: LIMIT_MS }, async () => {
    await set('durability=async', 'lease=1s');
    await waitForRule(/^none/);
    await set('durability=quorum');
    await waitForRule(/^1 of /);
  });
});

describe('fence', () => {
  test('a standby stays stopped, also when its sentineld is restarted', { timeout: LIMIT_MS }, async () => {
    const [standby] = await standbyHosts();
    const node = standby?.node ?? '';
    expect(await loaded.ctl(['fence', node, '-y'])).toMatchObject(ok(/is fenced: its PostgreSQL is stopped/));
    expect(standby?.postmasterPid()).toBeUndefined();
    await standby?.stopSentineld('SIGKILL');
    standby?.startSentineld();
    await loaded.cluster.waitFor('it to be fenced', HEALTHY_TIMEOUT_MS, ({ nodes }) =>
      nodes.some((found) => found.node === node && found.state === 'fenced'),
    );
    expect(standby?.postmasterPid()).toBeUndefined();
    expect(await loaded.ctl(['failover', '--to', node, '-y'])).toMatchObject(failed(/is fenced/));
    expect(await loaded.ctl(['unfence', node])).toMatchObject(ok(/no longer fenced/));
    await healthy();
  });

  test('a primary is switched over first', { timeout: LIMIT_MS }, async () => {
    const { primary = '' } = await healthy();
    const verdict = await loaded.writeWhile(async () => {
      expect(await loaded.ctl(['fence', primary, '-y'])).toMatchObject(ok(/is fenced/));
    });
    expect(harmOf(verdict)).toEqual([]);
    expect(loaded.cluster.hostOf(primary).postmasterPid()).toBeUndefined();
    await loaded.ctl(['unfence', primary]);
    expect((await healthy()).primary).not.toBe(primary);
  });
});

describe('failover', () => {
  test('--dry-run changes nothing', { timeout: LIMIT_MS }, async () => {
    const before = await healthy();
    const [standby] = await standbyHosts();
    const to = standby?.node ?? '';
    expect(await loaded.ctl(['failover', '--dry-run', '--to', to])).toMatchObject(
      ok(/nothing stands against it; nothing was changed/),
    );
    expect(await healthy()).toMatchObject({ epoch: before.epoch, primary: before.primary });
  });

  test('--at takes place although nobody waits for it', { timeout: LIMIT_MS }, async () => {
    const { primary, epoch } = await healthy();
    const [standby] = await standbyHosts();
    const to = standby?.node ?? '';
    expect(await loaded.ctl(['failover', '--at', '+2s', '--to', to])).toMatchObject(ok(/begins at/));
    await loaded.cluster.waitFor('the switchover', HEALTHY_TIMEOUT_MS, (group) => {
      return group.phase === 'running' && group.epoch > epoch && group.primary === to;
    });
    expect((await healthy()).primary).not.toBe(primary);
    expect(await loaded.ctl(['failover', '--at', '+1h'])).toMatchObject(ok(/begins at/));
    expect((await loaded.cluster.admin.status()).warnings.join()).toMatch(/a switchover is scheduled/);
    expect(await loaded.ctl(['failover', '--at', 'never'])).toMatchObject(ok(/any more/));
  });

  test('--accept-data-loss takes a word that the old primary is off', { timeout: LIMIT_MS }, async () => {
    const { primary = '' } = await healthy();
    const standbys = await standbyHosts();
    for (const { node } of standbys) await loaded.ctl(['fence', node, '-y']);
    await waitForRule(/^alone$/);
    const old = loaded.cluster.hostOf(primary);
    await old.stopAll();
    for (const { node } of standbys)
      expect(await loaded.ctl(['unfence', node], standbys)).toMatchObject(ok(/./));
    await loaded.cluster.waitFor('the standbys to be up', HEALTHY_TIMEOUT_MS, ({ nodes }) =>
      standbys.every(({ node }) => nodes.some((found) => found.node === node && found.role === 'standby')),
    );
    expect(await loaded.ctl(['failover', '-y'], standbys)).toMatchObject(failed(/alone/));
    const args = ['failover', '--accept-data-loss', '-y'];
    expect(await loaded.ctl(args, standbys)).toMatchObject(failed(/nothing proves that .* is stopped/));
    const forced = await loaded.ctl([...args, '--old-primary-is-off'], standbys);
    expect(forced).toMatchObject(ok(/is the primary of main/));
    expect(forced.stderr).toMatch(/your word is taken/);
    old.startSentineld();
    expect((await healthy()).primary).not.toBe(primary);
  });
});

test('too many failovers hold the group until they are acknowledged', { timeout: LIMIT_MS }, async () => {
  await set('max_failovers=1', 'failover_window=1h');
  // Those of the tests before do not count, if there were any.
  await loaded.ctl(['ack', GROUP]);
  const crash = async (): Promise<void> => void (await loaded.cluster.primary()).killPostmaster();
  const first = await healthy();
  await crash();
  await loaded.cluster.waitFor('the failover', HEALTHY_TIMEOUT_MS, ({ epoch, phase }) => {
    return epoch > first.epoch && phase === 'running';
  });
  const second = await healthy();
  expect((await loaded.cluster.admin.status()).warnings.join()).toMatch(/sentinelctl ack main/);
  const pid = (await loaded.cluster.primary()).postmasterPid();
  await crash();
  await loaded.cluster.waitFor('it to be started in place', HEALTHY_TIMEOUT_MS, ({ primary, nodes }) => {
    const now = loaded.cluster.hostOf(primary ?? '').postmasterPid();
    return now !== undefined && now !== pid && nodes.some((node) => node.role === 'primary');
  });
  expect(await healthy()).toMatchObject({ epoch: second.epoch, primary: second.primary });
  expect(await loaded.ctl(['ack', GROUP])).toMatchObject(ok(/acknowledged/));
  await crash();
  await loaded.cluster.waitFor('the failover', HEALTHY_TIMEOUT_MS, ({ epoch }) => epoch > second.epoch);
  await set('max_failovers=1000', 'failover_window=1s');
  await loaded.ctl(['ack', GROUP]);
  await healthy();
});

test('the leader of the log moves off the host of the primary', { timeout: LIMIT_MS }, async () => {
  const { primary = '', epoch } = await healthy();
  const { peer } = loaded.cluster.hostOf(primary);
  expect(await loaded.ctl(['peer', 'transfer', peer])).toMatchObject(ok(/is the leader/));
  const { leader } = await loaded.waitForPeers('it to move', (list) => {
    return list.leader !== undefined && list.leader !== peer;
  });
  expect(leader).not.toBe(peer);
  expect(await healthy()).toMatchObject({ epoch, primary });
});
