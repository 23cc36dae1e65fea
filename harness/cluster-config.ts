// The configuration files of a local cluster's peers, with default timing: the demo and the benchmark measure what a user gets.
import { stringify } from 'yaml';
import { type Cable, LAN } from './network.ts';

export interface HostPlan {
  readonly peer: string;
  readonly node: string;
  /** Everything of this host is below it. */
  readonly directory: string;
  /** Where the host is reached: 127.0.0.1, or its end of {@link HostPlan.cable}. */
  readonly address: string;
  readonly peerPort: number;
  readonly nodePort: number;
  /** The group of its node. */
  readonly group: string;
  /** A peer without a PostgreSQL; its `node` is nothing but a name. */
  readonly isWitness: boolean;
  /** Only where the cluster has a network of its own. */
  readonly cable: Cable | undefined;
}

export interface ClusterSecrets {
  readonly replication: string;
  readonly probe: string;
}

export const GROUP = 'main';
export const SUPERUSER = 'postgres';

const stateDirectory = (host: HostPlan): string => `${host.directory}/state`;
export const raftDirectory = (host: HostPlan): string => `${stateDirectory(host)}/raft`;
export const dataDirectory = (host: HostPlan): string => `${host.directory}/pgdata`;
export const postgresLogFile = (host: HostPlan): string =>
  `${stateDirectory(host)}/postgresql/${host.node}.log`;
export const socketDirectory = (host: HostPlan): string => `${host.directory}/s`;
export const configFile = (host: HostPlan): string => `${host.directory}/sentineld.yaml`;

/** The YAML of one peer. */
export function renderConfig(options: {
  readonly cluster: string;
  readonly host: HostPlan;
  readonly hosts: readonly HostPlan[];
  readonly secrets: ClusterSecrets;
  readonly binDirectory: string;
  /** The host is added to a running cluster. */
  readonly isJoining?: boolean | undefined;
  readonly snapshotEntries?: number | undefined;
  /** Further keys of the file. */
  readonly settings?: Readonly<Record<string, unknown>> | undefined;
  /** Further keys of its node. */
  readonly node?: Readonly<Record<string, unknown>> | undefined;
  /** Further PostgreSQL parameters. */
  readonly parameters?: Readonly<Record<string, string | number | boolean>> | undefined;
}): string {
  const { host, secrets, snapshotEntries } = options;
  return stringify({
    cluster: options.cluster,
    peer: host.peer,
    peers: Object.fromEntries(options.hosts.map((each) => [each.peer, `${each.address}:${each.peerPort}`])),
    ...(options.isJoining === true ? { join: true } : {}),
    state_directory: stateDirectory(host),
    ...(host.isWitness
      ? {}
      : { node: nodeSection(host, options.binDirectory, options.parameters, options.node) }),
    users: {
      superuser: { name: SUPERUSER },
      replication: { name: 'sentinel_replication', password: secrets.replication },
      probe: { name: 'sentinel_probe', password: secrets.probe },
    },
    ...(snapshotEntries === undefined ? {} : { raft: { snapshot_entries: snapshotEntries } }),
    log: { level: 'info', format: 'json' },
    ...options.settings,
  });
}

function nodeSection(
  host: HostPlan,
  binDirectory: string,
  parameters: Readonly<Record<string, string | number | boolean>> = {},
  more: Readonly<Record<string, unknown>> = {},
) {
  return {
    name: host.node,
    group: host.group,
    ...more,
    address: `${host.address}:${host.nodePort}`,
    data_directory: dataDirectory(host),
    socket_directory: socketDirectory(host),
    bin_directory: binDirectory,
    // Small, because three servers share this machine; `mmap` keeps their shared memory files in the data directory.
    parameters: {
      shared_buffers: '32MB',
      max_connections: 60,
      dynamic_shared_memory_type: 'mmap',
      ...parameters,
    },
    hba: [`host all all ${host.cable === undefined ? '127.0.0.1/32' : LAN} scram-sha-256`],
  };
}
