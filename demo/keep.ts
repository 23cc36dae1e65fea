// What to try in a cluster that was left running, as commands to copy.
import { relative } from 'node:path';
import { compiled } from '../harness/programs.ts';
import type { LocalCluster } from '../harness/local-cluster.ts';

export function keepLines(cluster: LocalCluster): string[] {
  const program = relative(process.cwd(), compiled('src/cli/sentinelctl.js'));
  const peers = cluster.hosts.map(({ address }) => address).join(',');
  const data = cluster.hosts.map(({ node, dataDirectory }) => `    ${node}  kill -9 $(head -1 ${dataDirectory}/postmaster.pid)`);
  return [
    '  The cluster is left running. In another terminal, in this directory:',
    '',
    `    export PG_SENTINEL_PEERS=${peers}`,
    `    node ${program} status --watch`,
    `    node ${program} events`,
    `    node ${program} failover`,
    `    node ${program} uri`,
    '',
    '  Kill a node again, and watch:',
    '',
    ...data,
    '',
    '  Ctrl-C here stops everything and removes it.',
  ];
}
