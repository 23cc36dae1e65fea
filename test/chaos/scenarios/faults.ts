// Faults that take more than one call, and conditions that scenarios wait for.
import { expect } from 'vitest';
import { delay, until, withDeadline } from '../../../src/base/clock.ts';
import { peerId } from '../../../src/base/ids.ts';
import { connectAdmin } from '../../../src/transport/admin-client.ts';
import type { PeerClient } from '../../../src/transport/admin-peer-client.ts';
import type { PeerChangeOutcome, StatusView } from '../../../src/transport/types.ts';
import type { ChaosCluster } from '../cluster/cluster.ts';
import type { ChaosHost } from '../cluster/host.ts';
import type { Weather } from '../cluster/links.ts';

/** Waits until a condition on the status holds, as some peer sees it. */
export async function statusWhere(
  cluster: ChaosCluster,
  what: string,
  timeoutMs: number,
  holds: (status: StatusView) => boolean,
): Promise<void> {
  await until({ what, timeoutMs, everyMs: 50 }, async () => {
    const status = await cluster.admin.status().catch(() => undefined);
    return status !== undefined && holds(status);
  });
}

/** As the host's own peer has it. */
export async function statusOf(host: ChaosHost): Promise<StatusView> {
  const admin = await connectAdmin({ addresses: [host.adminAddress()], timeoutMs: 5000 });
  try {
    return await admin.status();
  } finally {
    admin.close();
  }
}

export function ruleIs(rule: string): (status: StatusView) => boolean {
  return ({ groups: [group] }) => group?.rule === rule && group.ruleChange === undefined;
}

/** Asks for a change among the peers until the leader has made it: while the leader is being looked for, nobody makes any. */
export async function changePeers(
  cluster: ChaosCluster,
  what: string,
  make: (peers: PeerClient) => Promise<PeerChangeOutcome>,
): Promise<void> {
  let said = '';
  const addresses = cluster.hosts.map((host) => host.adminAddress());
  try {
    await until({ what, timeoutMs: 120_000, everyMs: 200 }, async () => {
      const admin = await connectAdmin({ addresses, timeoutMs: 2000 });
      const outcome = await make(admin.peers).catch((error: unknown) => String(error));
      admin.close();
      said = typeof outcome === 'string' ? outcome : JSON.stringify(outcome);
      return typeof outcome !== 'string' && outcome.kind === 'done';
    });
  } catch (error) {
    throw new Error(`${(error as Error).message}: ${said}`, { cause: error });
  }
}

/** Raft's leadership goes to the host's peer. */
export async function lead(cluster: ChaosCluster, host: ChaosHost): Promise<void> {
  const isLeader = ({ leader }: StatusView): boolean => leader === host.peer;
  if (!isLeader(await cluster.admin.status()))
    await changePeers(cluster, `${host.peer} to lead`, (peers) => peers.transfer({ to: peerId(host.peer) }));
  await statusWhere(cluster, `${host.peer} to lead`, 30_000, isLeader);
}

/** The weather of all links. */
export async function spoilAll(
  cluster: ChaosCluster,
  weather: Weather,
  kinds?: readonly ('raft' | 'node')[],
): Promise<void> {
  for (const a of cluster.hosts)
    for (const b of cluster.hosts)
      if (a.number < b.number) await cluster.links.spoil(a.number, b.number, weather, kinds);
}

const PROMOTION_TIMEOUT_MS = 30_000;

/**
 * Has PostgreSQL crash on the primary, and kills the host that is promoted before the log has its word that it is done: slow links
 * between the peers give time for that. Returns that host.
 */
export async function killDuringPromotion(cluster: ChaosCluster, primary: ChaosHost): Promise<ChaosHost> {
  const before = (await cluster.admin.events(1)).at(-1)?.index ?? 0;
  await spoilAll(cluster, { latencyMs: 200, jitterMs: 0 }, ['raft']);
  // The leader steps down where it hears from nobody for the moment in which the links become slow.
  await delay(1000);
  await statusWhere(cluster, 'a leader by slow links', 60_000, ({ leader }) => leader !== undefined);
  const candidate = await promoting(cluster, primary);
  await candidate.kill();
  await cluster.links.heal();
  // What came of the promotion: the first that the log has of the group after it. The next one may have ended by now, too.
  const outcome = await until(
    { what: 'what comes after the promotion', timeoutMs: 60_000, everyMs: 100 },
    async () => {
      const events = await cluster.admin.events(200).catch(() => []);
      const kinds = events
        .filter(({ index, refused }) => index > before && refused === undefined)
        .map(({ kind }) => kind);
      const promotion = kinds.indexOf('promote');
      if (promotion < 0) return undefined;
      return kinds.slice(promotion).find((kind) => ['promoted', 'begin-failover'].includes(kind));
    },
  );
  expect(outcome, 'the kill came after the promotion').toBe('begin-failover');
  return candidate;
}

/** Resolves when the log has the host's report, which comes of `begin`, that its WAL streams are cut. */
export async function cutReported(
  cluster: ChaosCluster,
  host: ChaosHost,
  begin: () => Promise<void>,
): Promise<void> {
  const before = (await cluster.admin.events(1)).at(-1)?.index ?? 0;
  await begin();
  await until(
    { what: `a report of ${host.node}`, timeoutMs: PROMOTION_TIMEOUT_MS, everyMs: 20 },
    async () => {
      const events = await cluster.admin.events(50).catch(() => []);
      return events.some(
        ({ index, kind, text }) =>
          index > before && kind === 'cut-report' && text.startsWith(`${host.node} `),
      );
    },
  );
}

/**
 * The host that is chosen for promotion after a crash on the primary, as soon as some peer tells of it. With slow links the failover may
 * take longer to begin than a crashed primary waits for one: it is killed whenever it is back.
 */
async function promoting(cluster: ChaosCluster, primary: ChaosHost): Promise<ChaosHost> {
  const watching = new AbortController();
  const admins = await Promise.all(
    cluster.hosts.map((host) => connectAdmin({ addresses: [host.adminAddress()], timeoutMs: 5000 })),
  );
  try {
    const chosen = new Promise<string>((resolve) => {
      const look = ({ groups: [group] }: StatusView): void => {
        if (group?.phase === 'promoting' && group.primary !== undefined) resolve(group.primary);
      };
      for (const admin of admins) admin.watch(look, watching.signal).catch(() => undefined);
    });
    await primary.signalPostgres('KILL');
    const node = await withDeadline(
      'a promotion',
      PROMOTION_TIMEOUT_MS,
      Promise.race([chosen, keepKilled(primary, watching.signal)]),
    );
    const host = cluster.hosts.find((each) => each.node === node);
    if (host === undefined) throw new Error(`${node}, which is promoted, is on no host of ours`);
    return host;
  } finally {
    watching.abort();
    for (const admin of admins) admin.close();
  }
}

async function keepKilled(host: ChaosHost, signal: AbortSignal): Promise<never> {
  for (;;) {
    await delay(500);
    signal.throwIfAborted();
    // There is nothing to kill where it is still down.
    await host.signalPostgres('KILL').catch(() => undefined);
  }
}

const SEGMENTS_MAX = 64;

/** Fills the disk of a primary, then uses up the WAL segments that it keeps in reserve: from then on it cannot write. */
export async function fillDiskOf(primary: ChaosHost): Promise<void> {
  await primary.fillDisk();
  for (let count = 0; count < SEGMENTS_MAX; count++) {
    const used = primary.sql("SELECT pg_logical_emit_message(false, 'fill', 'a'); SELECT pg_switch_wal()");
    const isUsed = await used.then(
      () => true,
      () => false,
    );
    if (!isUsed) return;
  }
  throw new Error(`${primary.node} still has WAL segments after ${SEGMENTS_MAX} on a full disk`);
}

const LINK_FULL_TIMEOUT_MS = 30_000;

/** Writes WAL until none of it goes to the standby any more: every buffer on the way is full. */
export async function fillWalLink(primary: ChaosHost, standby: ChaosHost): Promise<void> {
  const write =
    "SELECT count(pg_logical_emit_message(false, 'fill', repeat('a', 1000000))) FROM generate_series(1, 16)";
  const position = `SELECT sent_lsn FROM pg_stat_replication WHERE application_name ~ '^${standby.node}_'`;
  let before = '';
  const what = `WAL that does not go to ${standby.node}`;
  await until({ what, timeoutMs: LINK_FULL_TIMEOUT_MS, everyMs: 500 }, async () => {
    await primary.sql(write);
    const sent = await primary.sql(position);
    const isFull = sent !== '' && sent === before;
    before = sent;
    return isFull;
  });
}
