// What becomes of a peer whose Raft log is behind, gone, or damaged. The log is compacted after a few entries here.
import { cp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { peerId } from '../../../src/base/ids.ts';
import type { AdminClient } from '../../../src/transport/admin-client.ts';
import type { PeerClient } from '../../../src/transport/admin-peer-client.ts';
import type { PeerChangeOutcome, PeerListView } from '../../../src/transport/types.ts';
import type { Host } from '../../../harness/host.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS, startLoadedCluster, votersOf, type LoadedCluster } from './load.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'stores', snapshotEntries: 20 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

/** A host that is neither the primary's nor the leader's. */
async function quietHost(): Promise<Host> {
  const primary = await loaded.cluster.primary();
  const { leader } = await loaded.waitForPeers('a leader', (list) => list.leader !== undefined);
  const host = loaded.cluster.hosts.find(({ peer }) => peer !== primary.peer && peer !== leader);
  if (host === undefined) throw new Error('every host is the primary or the leader');
  return host;
}

async function connectLeader(): Promise<AdminClient> {
  const { leader } = await loaded.waitForPeers('a leader', (list) => list.leader !== undefined);
  const host = loaded.cluster.hosts.find(({ peer }) => peer === leader);
  if (host === undefined) throw new Error(`the leader, ${leader}, is none of the hosts`);
  return loaded.adminOf(host);
}

/** Entries that change nothing: a learner that does not exist moves to and fro. */
async function fillLog(count: number): Promise<void> {
  let admin = await connectLeader();
  /** Of the leader, whoever that is by now: on a machine that is busy it may change. */
  const ask = async (make: (peers: PeerClient) => Promise<PeerChangeOutcome>): Promise<void> => {
    const what = 'a leader that answers';
    const outcome = await until({ what, timeoutMs: 60_000, everyMs: 100 }, async () => {
      const made = await make(admin.peers);
      if (made.kind !== 'not-leader') return made;
      admin.close();
      admin = await connectLeader();
      return undefined;
    });
    expect(outcome).toMatchObject({ kind: 'done' });
  };
  const peer = peerId('ghost');
  try {
    await ask((peers) => peers.add({ peer, address: '127.0.0.1:1', learnerOnly: true }));
    for (let at = 0; at < count; at++)
      await ask((peers) => peers.move({ peer, address: `127.0.0.1:${2 + (at % 2)}` }));
    await ask((peers) => peers.remove({ peer }));
  } finally {
    admin.close();
  }
}

const logOf = (host: Host): Promise<string> => readFile(host.logFile, 'utf8');

async function says(host: Host, wanted: RegExp, from = 0): Promise<void> {
  await until(
    { what: `sentineld of ${host.peer} to say ${wanted}`, timeoutMs: 60_000, everyMs: 100 },
    async () => wanted.test((await logOf(host)).slice(from)),
  );
}

test(
  'a peer that was down while the log was compacted is sent a snapshot',
  { timeout: LIMIT_MS },
  async () => {
    const { cluster } = loaded;
    const host = await quietHost();
    const { lastIndex } = await ownIndexes(host);
    await host.stopSentineld('SIGKILL');
    await fillLog(60);
    // The entry after its last one is gone from the leader's log.
    const leader = cluster.hosts.find(({ peer }) => peer !== host.peer);
    if (leader === undefined) throw new Error('no other host');
    await until(
      { what: 'a snapshot beyond the lost peer', timeoutMs: 30_000, everyMs: 200 },
      async () => (await ownIndexes(leader)).snapshotIndex > lastIndex + 20,
    );
    host.startSentineld();
    await loaded.waitForPeers('the peer to be current again', ({ peers }) =>
      peers.some(({ peer, lagEntries }) => peer === host.peer && lagEntries === 0),
    );
    expect((await ownIndexes(host)).snapshotIndex).toBeGreaterThan(lastIndex);
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    // What it was sent is on its disk: it starts from it, and still knows everybody.
    await host.stopSentineld('SIGKILL');
    host.startSentineld();
    const list = await until({ what: 'its answer', timeoutMs: 30_000, everyMs: 100 }, () =>
      listOf(host).catch(() => undefined),
    );
    expect(votersOf(list)).toEqual(['a', 'b', 'c']);
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  },
);

async function listOf(host: Host): Promise<PeerListView> {
  const admin = await loaded.adminOf(host);
  try {
    return await admin.peers.list();
  } finally {
    admin.close();
  }
}

async function ownIndexes(host: Host): Promise<{ lastIndex: number; snapshotIndex: number }> {
  const own = (await listOf(host)).peers.find(({ peer }) => peer === host.peer);
  return { lastIndex: own?.matchIndex ?? 0, snapshotIndex: own?.snapshotIndex ?? 0 };
}

test(
  'a voter whose disk was wiped is refused under its old name until it is added again',
  { timeout: LIMIT_MS },
  async () => {
    const { cluster, ctl } = loaded;
    const host = await quietHost();
    const rest = cluster.hosts.filter(({ peer }) => peer !== host.peer);
    await host.stopSentineld('SIGKILL');
    await rm(host.raftDirectory, { recursive: true });
    let from = (await logOf(host)).length;
    host.startSentineld();
    // What else it left on the disk betrays it.
    await until({ what: 'sentineld to end', timeoutMs: 30_000, everyMs: 50 }, () => host.sentineldFailure);
    expect((await logOf(host)).slice(from)).toMatch(/it has forgotten what it voted for.*peer remove/);
    await host.stopSentineld();

    // With nothing left, the others know its store.
    await rm(`${host.directory}/state`, { recursive: true });
    from = (await logOf(host)).length;
    host.startSentineld();
    await says(
      host,
      new RegExp(`disk was replaced.*peer remove ${host.peer}|peer remove ${host.peer}.*disk was replaced`),
      from,
    );
    const { peers } = JSON.parse((await ctl(['peer', 'list', '-o', 'json'], rest)).stdout) as {
      peers: { peer: string; reachable: boolean }[];
    };
    expect(peers.find(({ peer }) => peer === host.peer)).toMatchObject({ reachable: false });

    await host.stopSentineld('SIGTERM');
    expect(await ctl(['peer', 'remove', host.peer, '--yes'], rest)).toMatchObject({ exitCode: 0 });
    await rm(host.raftDirectory, { recursive: true });
    await cluster.makeJoining(host);
    host.startSentineld();
    expect(await ctl(['peer', 'add', host.peer, host.address], rest)).toMatchObject({ exitCode: 0 });
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  },
);

test(
  'a stopped peer whose store was damaged does not start, and says how to go on',
  { timeout: LIMIT_MS },
  async () => {
    const { cluster } = loaded;
    const host = await quietHost();
    await host.stopSentineld('SIGKILL');
    const copy = `${host.raftDirectory}.copy`;
    await cp(host.raftDirectory, copy, { recursive: true, preserveTimestamps: true });
    await damage(host.raftDirectory);
    const from = (await logOf(host)).length;
    host.startSentineld();
    await until({ what: 'sentineld to end', timeoutMs: 30_000, everyMs: 50 }, () => host.sentineldFailure);
    const said = (await logOf(host)).slice(from);
    expect(said).toContain(`sentinelctl peer remove ${host.peer}`);
    expect(said).toContain(`sentinelctl peer add ${host.peer}`);
    await host.stopSentineld();

    await rm(host.raftDirectory, { recursive: true });
    await rename(copy, host.raftDirectory);
    host.startSentineld();
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  },
);

/** Flips one bit in the middle of the largest file that holds entries. */
async function damage(directory: string): Promise<void> {
  const files: { path: string; size: number }[] = [];
  for (const name of await readdir(directory, { recursive: true })) {
    const path = join(directory, name);
    const found = await stat(path);
    if (found.isFile() && /\.(log|ldb)$/.test(name)) files.push({ path, size: found.size });
  }
  const [largest] = files.toSorted((a, b) => b.size - a.size);
  if (largest === undefined || largest.size === 0) throw new Error(`no entries below ${directory}`);
  const content = await readFile(largest.path);
  const at = Math.floor(content.length / 2);
  content[at] = (content[at] ?? 0) ^ 0x10;
  await writeFile(largest.path, content);
}
