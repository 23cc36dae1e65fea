// Peers are added, replaced, removed and moved while clients write. One cluster for all: each test leaves it healthy.
import { readFile, rm, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GROUP } from '../../../harness/cluster-config.ts';
import type { Host } from '../../../harness/host.ts';
import {
  harmOf,
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  startLoadedCluster,
  votersOf,
  type LoadedCluster,
} from './load.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'members', spareCount: 1 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const leaderHost = async (): Promise<Host> => {
  const { leader } = await loaded.waitForPeers('a leader', (list) => list.leader !== undefined);
  const host = loaded.cluster.hosts.find(({ peer }) => peer === leader);
  if (host === undefined) throw new Error(`the leader, ${leader}, is none of the hosts`);
  return host;
};

const primaryPeer = async (): Promise<string> => (await loaded.cluster.primary()).peer;

/** Somebody has forgotten `join: true`; afterwards it is there. */
async function isRefusedWithoutJoin(host: Host): Promise<void> {
  const joining = await readFile(host.configFile, 'utf8');
  const restartWith = async (text: string): Promise<void> => {
    await host.stopSentineld('SIGTERM');
    await rm(host.raftDirectory, { recursive: true, force: true });
    await writeFile(host.configFile, text);
    host.startSentineld();
  };
  await restartWith(joining.replace(/^join: true$/m, 'join: false'));
  const add = ['peer', 'add', host.peer, host.address];
  expect(await loaded.ctl(add, loaded.cluster.hosts.slice(0, 3))).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(
      /founded with the peers "a", "b", "c", "d", .* delete the folder "raft" .*join: true/,
    ),
  });
  await restartWith(joining);
}

test('peer add on a new host, with its node, under load', { timeout: LIMIT_MS }, async () => {
  const { cluster, ctl } = loaded;
  const host = await cluster.join();
  await isRefusedWithoutJoin(host);
  const verdict = await loaded.writeWhile(async () => {
    const added = await ctl(['peer', 'add', host.peer, host.address], cluster.hosts.slice(0, 3));
    expect(added).toMatchObject({ exitCode: 0, stdout: 'done: d is a voter\n' });
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  });
  expect(harmOf(verdict)).toEqual([]);
  const list = await loaded.waitForPeers('four voters', (found) => found.peers.length === 4);
  expect(votersOf(list)).toEqual(['a', 'b', 'c', 'd']);
  const again = await ctl(['peer', 'add', 'd', cluster.hosts[3]?.address ?? '']);
  expect(again).toMatchObject({ exitCode: 0, stdout: 'done: d is a voter already\n' });
});

test('peer transfer hands the log over, and PostgreSQL does not notice', { timeout: LIMIT_MS }, async () => {
  const before = await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  const leader = await leaderHost();
  const to = loaded.cluster.hosts.find(({ peer }) => peer !== leader.peer)?.peer ?? '';
  const verdict = await loaded.writeWhile(async () => {
    expect(await loaded.ctl(['peer', 'transfer', to])).toMatchObject({
      exitCode: 0,
      stdout: `done: ${to} is the leader\n`,
    });
  });
  expect(harmOf(verdict)).toEqual([]);
  expect((await leaderHost()).peer).toBe(to);
  expect(await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS)).toMatchObject({ epoch: before.epoch });
});

test('peer remove of the leader under load', { timeout: LIMIT_MS }, async () => {
  const { cluster, ctl } = loaded;
  const primary = await primaryPeer();
  // The peer of the primary's host is refused; any other is made the leader first.
  const refused = await ctl(['peer', 'remove', primary, '--yes']);
  expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('run sentinelctl failover') });
  const leader = ['d', 'c'].find((peer) => peer !== primary) ?? '';
  await ctl(['peer', 'transfer', leader]);
  expect((await leaderHost()).peer).toBe(leader);
  const verdict = await loaded.writeWhile(async () => {
    const removed = await ctl(['peer', 'remove', leader, '--yes']);
    expect(removed).toMatchObject({ exitCode: 0, stdout: `done: ${leader} is no member any more\n` });
  });
  expect(harmOf(verdict)).toEqual([]);
  const list = await loaded.waitForPeers('three voters', (found) => found.peers.length === 3);
  expect(votersOf(list)).not.toContain(leader);
  expect(list.leader).not.toBe(leader);
  const host = cluster.hosts.find(({ peer }) => peer === leader);
  expect(await ctl(['peer', 'remove', leader, '--yes'])).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining(`there is no peer ${leader}`),
  });

  // Back again on an empty disk: that is how a host is replaced.
  if (host === undefined) throw new Error(`no host of peer ${leader}`);
  const back = await loaded.writeWhile(async () => {
    await host.stopAll();
    await rm(`${host.directory}/state`, { recursive: true });
    await rm(host.dataDirectory, { recursive: true });
    await cluster.makeJoining(host);
    host.startSentineld();
    const rest = cluster.hosts.filter(({ peer }) => peer !== leader);
    const added = await ctl(['peer', 'add', leader, host.address], rest);
    expect(added).toMatchObject({ exitCode: 0, stdout: `done: ${leader} is a voter\n` });
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  });
  expect(harmOf(back)).toEqual([]);
});

test('a learner receives the log and does not vote until it is promoted', { timeout: LIMIT_MS }, async () => {
  const { cluster, ctl } = loaded;
  const primary = await primaryPeer();
  const learner = cluster.hosts.find(({ peer }) => peer !== primary);
  if (learner === undefined) throw new Error('no other host');
  expect(await ctl(['peer', 'remove', learner.peer, '--yes'])).toMatchObject({ exitCode: 0 });
  await learner.stopSentineld('SIGTERM');
  await rm(learner.raftDirectory, { recursive: true });
  await cluster.makeJoining(learner);
  learner.startSentineld();
  const rest = cluster.hosts.filter(({ peer }) => peer !== learner.peer);
  expect(await ctl(['peer', 'add', learner.peer, learner.address, '--learner'], rest)).toMatchObject({
    exitCode: 0,
    stdout: `done: ${learner.peer} is a learner\n`,
  });
  const list = await loaded.waitForPeers('the learner to be current', ({ peers }) =>
    peers.some(({ peer, lagEntries }) => peer === learner.peer && lagEntries === 0),
  );
  expect(votersOf(list)).toHaveLength(3);
  expect(await ctl(['peer', 'transfer', learner.peer])).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('is a learner: only a voter can lead'),
  });
  const { stdout } = await ctl(['status'], [learner]);
  expect(stdout).toMatch(new RegExp(` ${learner.peer} +learner +answered`));
  expect(await ctl(['peer', 'promote', learner.peer])).toMatchObject({ exitCode: 0 });
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  expect((await cluster.admin.status()).groups[0]?.group).toBe(GROUP);
});
