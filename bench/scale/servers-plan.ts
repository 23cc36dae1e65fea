// What the benchmark and the program with the simulated PostgreSQL servers (servers.ts) say to each other.

export interface ServersPlan {
  /** One address for each node; they all listen on the same port. */
  readonly hosts: readonly string[];
  readonly port: number;
  readonly probePassword: string;
}

export type ServerRole = 'down' | 'standby' | 'primary';

export interface ServerChange {
  /** Position in {@link ServersPlan.hosts}. */
  readonly at: number;
  readonly role: ServerRole;
}

export type ServersRequest =
  /** Answered, with the time in nanoseconds of the machine's monotonic clock, once all is done. */
  { readonly kind: 'set'; readonly changes: readonly ServerChange[] } | { readonly kind: 'counts' };

export interface ServerCounts {
  readonly reads: number;
  readonly writes: number;
  /** New connections that were only to be answered. */
  readonly checks: number;
}
