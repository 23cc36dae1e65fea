// A cluster of three hosts under write load, for tests that provoke one danger each. Whatever a test does to the processes is
// undone after it, and the whole history of writes is judged: every acknowledged write is there, nobody acknowledged after
// another node had taken over.
//
// PG_SENTINEL_TEST_UNSAFE=no-cut, or another name of unsafe.ts, runs the same tests on a sentineld without that protection: they must
// then fail (docs/safety.md says which; unsafe.ts how it is left out).
import { readFileSync } from 'node:fs';
import type { Client } from 'pg';
import { expect, onTestFailed } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import type { GroupSettings } from '../../../src/cluster/commands.ts';
import type { EventView, GroupView } from '../../../src/transport/types.ts';
import { isAcked, type Acked } from '../../../harness/attempt.ts';
import { clusterAdmin } from '../../../harness/admin.ts';
import { INSERT, prepareClients, readBack } from '../../../harness/clients.ts';
import { GROUP } from '../../../harness/cluster-config.ts';
import { checkHistory } from '../../../harness/history.ts';
import type { Host } from '../../../harness/host.ts';
import { startLocalCluster, type LocalCluster } from '../../../harness/local-cluster.ts';
import { signalAll } from '../../../harness/processes.ts';
import { asSuperuser, connectSuperuser } from '../../../harness/superuser.ts';
import {
  CLIENT_DEFAULTS,
  startStubbornWriter,
  startWriter,
  type Writer,
  type WriterSettings,
} from '../../../harness/writer.ts';
import { type Unsafe, buildUnsafe } from './unsafe.ts';

/** Only catches hangs. */
export const LIMIT_MS = 120_000;
/** Of a whole test, healthy cluster to healthy cluster. */
export const TEST_MS = 400_000;

export interface Load {
  /** The primary when the load began, and the others. */
  readonly primary: Host;
  readonly standbys: readonly [Host, Host];
  /** Acknowledged so far, in the order in which clients learned of it. */
  acks(): readonly Acked[];
  /** Waits for `count` acknowledgements by any of `nodes` (all, if left out) that end from now on. */
  moreAcks(count: number, nodes?: readonly Host[]): Promise<void>;
  /** The log's entries since the load began that were not refused, oldest first. */
  events(): Promise<readonly EventView[]>;
  /** Waits for an entry of that kind whose text matches, since the load began; the `count`th of them. */
  event(kind: string, text?: RegExp, count?: number): Promise<EventView>;
  /** Changes settings of the group, as a person would. */
  change(change: Partial<GroupSettings>): Promise<void>;
  /** The group's state as the log has it; not asked of `primary`'s host, which may hang. */
  waitFor(what: string, condition: (group: GroupView) => boolean): Promise<GroupView>;
  /** What sentineld of that host has logged since the load began. */
  logOf(host: Host): string;
  /** SIGSTOP; SIGCONT at the end of the test, whatever comes, or when the returned function is called. */
  stop(...pids: readonly number[]): () => void;
  /** Called at the end of the test, the last one first. */
  undo(work: () => void | Promise<void>): void;
}

export interface Judged {
  readonly acks: readonly Acked[];
  readonly events: readonly EventView[];
  /** The primaries since the load began, in the order of their epochs. */
  readonly primaries: readonly string[];
  /** What led to each of them, in one line, for the message of an assertion about `primaries`. */
  readonly why: string;
}

export interface SceneOptions {
  /** Peers beside the three hosts, so that a majority of peers is left when most hosts are not. */
  readonly witnessCount?: number;
}

export interface Ending {
  /** Before what `danger` has broken is undone: whoever is primary then is asked what is there. */
  readonly isJudgedAtOnce?: boolean;
  /** Durability async: the last writes may be lost. */
  readonly mayLose?: boolean;
}

export interface Scene {
  readonly cluster: LocalCluster;
  /** On a healthy cluster: writers on every node, then `danger`, until all is healthy again; judges the history. */
  underLoad(danger: (load: Load) => Promise<void>, ending?: Ending): Promise<Judged>;
  close(): Promise<void>;
}

const UNSAFE = process.env['PG_SENTINEL_TEST_UNSAFE'] as Unsafe | undefined;
const PACE_MS = 4;
const STUBBORN_PACE_MS = 20;
const EVENTS_MAX = 1000;
/** Characters of each host's log, of a test that failed. */
const LOG_SHOWN = 20_000;

export async function openScene({ witnessCount = 0 }: SceneOptions = {}): Promise<Scene> {
  const abandon = new AbortController();
  const unsafe = UNSAFE === undefined ? undefined : await buildUnsafe(UNSAFE);
  const cluster = await startLocalCluster({
    cluster: 'dangers',
    hostCount: 3 + witnessCount,
    witnessCount,
    signal: abandon.signal,
    ...(unsafe === undefined ? {} : { ...unsafe.options, isRuleEnforced: UNSAFE !== 'no-rule' }),
  });
  try {
    await cluster.waitUntilHealthy(LIMIT_MS);
    const client = await prepareClients(await cluster.primary());
    let count = 0;
    return {
      cluster,
      underLoad: (danger, ending = {}) =>
        underLoad({ cluster, client, prefix: `t${(count += 1)}-`, danger, ending }),
      async close() {
        abandon.abort();
        await cluster.close();
        await unsafe?.remove();
      },
    };
  } catch (error) {
    await cluster.close();
    throw error;
  }
}

async function underLoad(options: {
  readonly cluster: LocalCluster;
  readonly client: WriterSettings['client'];
  readonly prefix: string;
  readonly danger: (load: Load) => Promise<void>;
  readonly ending: Ending;
}): Promise<Judged> {
  const { cluster, client, prefix, danger, ending } = options;
  const before = await cluster.waitUntilHealthy(LIMIT_MS);
  const primary = cluster.hostOf(before.primary ?? '');
  const others = cluster.hosts.filter((host) => host !== primary);
  const [one, two] = others.filter(({ isWitness }) => !isWitness);
  if (one === undefined || two === undefined) throw new Error('three hosts are needed');
  const admin = clusterAdmin(others.map(({ address }) => address));
  const since = (await admin.events(1)).at(-1)?.index ?? 0;
  const logSizes = new Map(cluster.hosts.map((host) => [host, readFileSync(host.logFile).length]));
  const writers = startWriters(cluster, client, prefix);
  const undone: (() => void | Promise<void>)[] = [];

  const acks = (): Acked[] =>
    writers.flatMap(({ attempts }) => attempts.filter(isAcked)).sort((a, b) => a.endMs - b.endMs);
  const events = async (): Promise<EventView[]> =>
    (await admin.events(EVENTS_MAX)).filter(
      ({ index, refused }) => index > since && (refused === undefined || refused === ''),
    );
  const load: Load = {
    primary,
    standbys: [one, two],
    acks,
    events,
    async moreAcks(wanted, nodes = cluster.hosts) {
      const fromMs = performance.now();
      const names = nodes.map(({ node }) => node);
      const what = `${wanted} more acknowledgements by ${names.join(', ')}`;
      await until({ what, timeoutMs: LIMIT_MS, everyMs: 10 }, () => {
        const more = acks().filter(({ node, startMs }) => startMs > fromMs && names.includes(node));
        return more.length >= wanted;
      });
    },
    event: (kind, text = /./, count = 1) =>
      until({ what: `an entry ${kind} (${text}) of the log`, timeoutMs: LIMIT_MS, everyMs: 20 }, async () => {
        const found = (await events().catch(() => [])).filter(
          (event) => event.kind === kind && text.test(event.text),
        );
        return found[count - 1];
      }),
    async change(change) {
      await until({ what: 'settings to be changed', timeoutMs: LIMIT_MS, everyMs: 100 }, async () => {
        const asked = admin.steer({ kind: 'settings', group: GROUP, change }, LIMIT_MS);
        return (await asked.catch(() => undefined))?.kind === 'done';
      });
    },
    waitFor: (what, condition) =>
      until({ what, timeoutMs: LIMIT_MS, everyMs: 20 }, async () => {
        const status = await admin.status().catch(() => undefined);
        const group = status?.groups.find((each) => each.group === GROUP);
        return group !== undefined && condition(group) ? group : undefined;
      }),
    logOf: (host) => readFileSync(host.logFile).subarray(logSizes.get(host)).toString(),
    stop(...pids) {
      signalAll(pids, 'SIGSTOP');
      const go = once(() => signalAll(pids, 'SIGCONT'));
      undone.push(go);
      return go;
    },
    undo: (work) => void undone.push(work),
  };
  let all: EventView[] = [];
  onTestFailed(() => {
    console.log(all.map(({ index, atMs, text }) => `${index} ${atMs} ${text}`).join('\n'));
    for (const host of cluster.hosts)
      console.log(`sentineld of ${host.node}:\n${load.logOf(host).slice(-LOG_SHOWN)}`);
  });
  try {
    await Promise.all(writers.map((writer) => writer.connected(LIMIT_MS)));
    await load.moreAcks(50);
    await danger(load);
    let after: GroupView;
    if (ending.isJudgedAtOnce === true) {
      after = await load.waitFor('a primary', ({ phase }) => phase === 'running');
    } else {
      await undoAll(undone);
      after = await cluster.waitUntilHealthy(LIMIT_MS);
      await load.moreAcks(20, [cluster.hostOf(after.primary ?? '')]);
    }
    await Promise.all(writers.map((writer) => writer.stop()));
    all = await events();
    const primaries = [primary.node, ...all.flatMap(promotedNode)];
    const attempts = writers.flatMap((writer) => [...writer.attempts]);
    const there = await readBack(cluster.hostOf(after.primary ?? ''), prefix);
    const verdict = checkHistory({ attempts, readBack: there, primaries });
    const shown = (found: readonly Acked[]): string[] => found.map(({ id, node }) => `${id} by ${node}`);
    if (ending.mayLose !== true) expect.soft(shown(verdict.lost), 'NoAcknowledgedWriteLost').toEqual([]);
    expect.soft(shown(verdict.doubles), 'AtMostOneAcknowledger').toEqual([]);
    expect.soft(verdict.duplicates, 'NoWriteTwice').toEqual([]);
    return { acks: acks(), events: all, primaries, why: whyPrimaries(all) };
  } catch (error) {
    all = await events().catch(() => all);
    throw error;
  } finally {
    await undoAll(undone);
    await Promise.all(writers.map((writer) => writer.stop()));
    admin.close();
  }
}

/**
 * One client that follows the primary, and two pinned to every node: one waits for its insert for ever (its session survives
 * whatever the server does), one gives up after a second and connects to the same node again.
 */
function startWriters(cluster: LocalCluster, client: WriterSettings['client'], prefix: string): Writer[] {
  const common = { ...CLIENT_DEFAULTS, client, insert: INSERT };
  const targets = cluster.hosts.filter(({ isWitness }) => !isWitness).map(({ target }) => target);
  return [
    startWriter({ ...common, name: `${prefix}client`, paceMs: PACE_MS, targets }),
    ...targets.flatMap((target) =>
      [undefined, CLIENT_DEFAULTS.statementTimeoutMs].map((statementTimeoutMs) => {
        const name = `${prefix}${target.node}-${statementTimeoutMs === undefined ? 'patient' : 'hasty'}`;
        return startStubbornWriter({ ...common, name, paceMs: STUBBORN_PACE_MS, statementTimeoutMs, target });
      }),
    ),
  ];
}

/** The node that an entry of the log gives a new timeline to; it may acknowledge from then on. */
function promotedNode({ kind, text }: EventView): string[] {
  return kind === 'promote' ? text.split(' ').slice(0, 1) : [];
}

const REASONS = ['subjective-down', 'begin-failover', 'promote', 'promotion-failed', 'resume'];

function whyPrimaries(events: readonly EventView[]): string {
  const reasons = events.filter(({ kind }) => REASONS.includes(kind));
  return reasons.map(({ atMs, text }) => `${atMs % 1_000_000} ${text}`).join('; ');
}

async function undoAll(work: (() => void | Promise<void>)[]): Promise<void> {
  for (let next = work.pop(); next !== undefined; next = work.pop()) await next();
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) work();
    isDone = true;
  };
}

const LOCALLY = { isLocal: true };

/** A superuser's session on the node's private socket; its own commits wait for nobody. The caller ends it. */
export const connectTo = (host: Host): Promise<Client> => connectSuperuser(host, LOCALLY);

/** One statement by the superuser; its own commit waits for nobody. */
export const sql = async <Row extends object>(host: Host, text: string): Promise<Row[]> =>
  (await asSuperuser(host, (client) => client.query<Row>(text), LOCALLY)).rows;
