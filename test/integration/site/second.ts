// The second site: a cluster of two nodes and a witness that follows two servers by hand, the first site (source.ts), and what its tests ask of it.
import type { HostPlan } from '../../../harness/cluster-config.ts';
import type { Host } from '../../../harness/host.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import type { GroupView } from '../../../src/transport/types.ts';
import { sql } from '../dangers/scene.ts';
import { HEALTHY_TIMEOUT_MS, runSentinelctl } from '../raft/load.ts';
import { type Source, planSource } from './source.ts';

export interface Second {
  readonly source: Source;
  readonly cluster: LocalCluster;
  /** Its first host, by whose file the first site's accounts are made. */
  readonly plan: HostPlan;
  /** `sentinelctl` with the words of `line`, asked of this site. */
  ctl(line: string): ReturnType<typeof runSentinelctl>;
  waitFor(what: string, isWanted: (group: GroupView) => boolean): Promise<GroupView>;
  close(): Promise<void>;
}

/** Both sites run afterwards; whether the second one streams is not waited for. */
export async function startSecond({ slot }: { readonly slot?: string } = {}): Promise<Second> {
  const stop = new AbortController();
  const source = await planSource();
  const servers = source.servers.map(({ address, nodePort }) => `${address}:${nodePort}`);
  let plan: HostPlan | undefined;
  try {
    const cluster = await startLocalCluster({
      cluster: 'second',
      hostCount: 3,
      witnessCount: 1,
      // As there: a standby never has less.
      parameters: () => ({ max_connections: 80 }),
      node: () => ({ follow: { servers, ...(slot === undefined ? {} : { slot }) } }),
      signal: stop.signal,
      prepare: async ([first]) => {
        if (first === undefined) throw new Error('no host');
        plan = first;
        await source.start(first);
      },
    });
    if (plan === undefined) throw new Error('no host was prepared');
    const addresses = cluster.hosts.map(({ address }) => address).join(',');
    return {
      ...{ source, cluster, plan },
      ctl: (line) => runSentinelctl(['--peers', addresses, ...line.split(' ')]),
      waitFor: (what, isWanted) => cluster.waitFor(what, HEALTHY_TIMEOUT_MS, isWanted),
      async close() {
        stop.abort(new Error('the test is over'));
        await cluster.close();
        await source.close();
      },
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

export const bothStream = ({ phase, nodes }: GroupView): boolean =>
  phase === 'following' && nodes.length === 2 && nodes.every(({ state }) => state === 'streaming');

/** What a node says that somebody has opened. */
export const LEFT = /was opened for writes here, and is left as it is/;

/** Its agent may end the statement with the server; one that went along with another may not run any more. */
export const promoteByHand = (host: Host) => sql(host, 'select pg_promote(false)').catch(() => undefined);
