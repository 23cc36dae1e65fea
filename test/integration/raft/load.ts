// A local cluster under write load, steered by the built sentinelctl as a person would, and the question that every test here
// ends with: is anything lost that was acknowledged, and did two nodes acknowledge side by side?
import { execFile } from 'node:child_process';
import { delay, until } from '../../../src/base/clock.ts';
import { connectAdmin, type AdminClient } from '../../../src/transport/admin-client.ts';
import type { PeerListView } from '../../../src/transport/types.ts';
import { INSERT, prepareClients, readBack } from '../../../harness/clients.ts';
import { GROUP } from '../../../harness/cluster-config.ts';
import { checkHistory, type Verdict } from '../../../harness/history.ts';
import type { Host } from '../../../harness/host.ts';
import {
  startLocalCluster,
  type LocalCluster,
  type LocalClusterOptions,
} from '../../../harness/local-cluster.ts';
import { compiled } from '../../../harness/programs.ts';
import { CLIENT_DEFAULTS, startWriter, type WriterSettings } from '../../../harness/writer.ts';

/** They only catch hangs. */
export const HEALTHY_TIMEOUT_MS = 180_000;
export const LIMIT_MS = 480_000;
const COMMAND_TIMEOUT_MS = 120_000;

const WRITER_COUNT = 3;

export interface LoadedCluster {
  readonly cluster: LocalCluster;
  /** Writes all the while `during` runs, and judges what the writers saw, from the primary at the end. */
  writeWhile(during: () => Promise<void>): Promise<Verdict>;
  /** `sentinelctl --peers ... ARGS`: asks `hosts`, by default all that were started. */
  ctl(args: readonly string[], hosts?: readonly Host[]): Promise<Ended>;
  /** Asks until the leader's list of peers is as wanted. */
  waitForPeers(what: string, isWanted: (list: PeerListView) => boolean): Promise<PeerListView>;
  /** The admin service of one host. */
  adminOf(host: Host): Promise<AdminClient>;
  close(): Promise<void>;
}

export interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export async function startLoadedCluster(
  options: Omit<LocalClusterOptions, 'signal' | 'hostCount'> & { readonly hostCount?: number },
): Promise<LoadedCluster> {
  const stop = new AbortController();
  const cluster = await startLocalCluster({ hostCount: 3, ...options, signal: stop.signal });
  const close = async (): Promise<void> => {
    stop.abort(new Error('the test is over'));
    await cluster.close();
  };
  try {
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    const client = await prepareClients(await cluster.primary());
    return { cluster, close, ...handles(cluster, client) };
  } catch (error) {
    await close();
    throw error;
  }
}

function handles(
  cluster: LocalCluster,
  client: WriterSettings['client'],
): Omit<LoadedCluster, 'cluster' | 'close'> {
  let runCount = 0;

  const ctl = (args: readonly string[], hosts: readonly Host[] = cluster.hosts): Promise<Ended> =>
    runSentinelctl(['--peers', hosts.map(({ address }) => address).join(','), ...args]);

  return {
    ctl,
    adminOf: (host) => connectAdmin({ addresses: [host.address], timeoutMs: 5000 }),
    async writeWhile(during) {
      runCount += 1;
      const prefix = `run${runCount}-`;
      const targets = cluster.hosts
        .filter(({ group, isWitness }) => group === GROUP && !isWitness)
        .map(({ target }) => target);
      const writers = Array.from({ length: WRITER_COUNT }, (_, at) =>
        startWriter({
          ...CLIENT_DEFAULTS,
          name: `${prefix}${at}`,
          client,
          insert: INSERT,
          paceMs: 5,
          targets,
        }),
      );
      try {
        await Promise.all(writers.map((writer) => writer.connected(30_000)));
        await delay(500);
        await during();
        await delay(500);
      } finally {
        await Promise.all(writers.map((writer) => writer.stop()));
      }
      const attempts = writers.flatMap((writer) => writer.attempts);
      const found = await readBack(await cluster.primary(), prefix);
      return checkHistory({ attempts, readBack: found });
    },
    async waitForPeers(what, isWanted) {
      let last = 'no answer';
      return until({ what, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 200 }, async () => {
        const { stdout, stderr } = await ctl(['peer', 'list', '-o', 'json']);
        last = stdout + stderr;
        if (stdout === '') return undefined;
        const list = JSON.parse(stdout) as PeerListView;
        return isWanted(list) ? list : undefined;
      }).catch((error: unknown) => {
        throw new Error(`${(error as Error).message}; last seen: ${last}`, { cause: error });
      });
    },
  };
}

/** Nothing acknowledged is missing, nothing is there twice, no two nodes acknowledged side by side; and there was load. */
export function harmOf(verdict: Verdict): unknown {
  const { acked, lost, duplicates, doubles } = verdict;
  return acked < 50 ? { acked } : [...lost, ...duplicates, ...doubles];
}

export const votersOf = (list: PeerListView): string[] =>
  list.peers.filter(({ kind }) => kind === 'voter').map(({ peer }) => peer);

/** As a person would. */
export function runSentinelctl(args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const { PG_SENTINEL_PEERS: _, ...env } = process.env;
    const child = execFile(
      process.execPath,
      [compiled('src/cli/sentinelctl.js'), ...args],
      { cwd: '/', env, timeout: COMMAND_TIMEOUT_MS, killSignal: 'SIGKILL' },
      (_error, stdout, stderr) => {
        if (child.signalCode !== null)
          reject(new Error(`sentinelctl ${args.join(' ')} did not end: ${stdout}${stderr}`));
        else resolve({ exitCode: child.exitCode, stdout, stderr });
      },
    );
    child.stdin?.end();
  });
}
