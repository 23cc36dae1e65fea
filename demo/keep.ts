// What to try in the demo's cluster, as commands to copy.
import { relative } from 'node:path';
import { compiled } from '../harness/programs.ts';
import type { LocalCluster } from '../harness/local-cluster.ts';

/** The command that shows the same from another terminal, by way of a peer that has answered. */
export function watchHint(cluster: LocalCluster, answeredBy: string): string {
  const address = cluster.hosts.find(({ peer }) => peer === answeredBy)?.address ?? '';
  return `watch: ${sentinelctl()} --peers ${address} status --watch`;
}

const sentinelctl = (): string => `node ${relative(process.cwd(), compiled('src/cli/sentinelctl.js'))}`;

export function keepLines(cluster: LocalCluster): string[] {
  const peers = cluster.hosts.map(({ address }) => address).join(',');
  const data = cluster.hosts.map(
    ({ node, dataDirectory }) => `    ${node}  kill -9 $(head -1 ${dataDirectory}/postmaster.pid)`,
  );
  return [
    '  The cluster is left running. In another terminal, in this directory:',
    '',
    `    export PG_SENTINEL_PEERS=${peers}`,
    `    ${sentinelctl()} status --watch`,
    `    ${sentinelctl()} events`,
    `    ${sentinelctl()} failover`,
    `    ${sentinelctl()} uri`,
    '',
    '  Kill a node again, and watch:',
    '',
    ...data,
    '',
    '  Ctrl-C here stops everything and removes it.',
  ];
}
