// The shape of sentineld's configuration file, in zod: every key, its default and its limits. The texts given as `error`
// complete the sentence "expected ...". Checks that look at more than one key are in config-checks.ts.
import { z } from 'zod';
import { WATCHED_COUNT_MAX } from '../cluster/hosts.ts';
import { bootstrap } from './config-bootstrap.ts';
import { followSection } from './config-follow.ts';
import { initdbSection } from './config-initdb.ts';
import { account, address, command, duration, name, path, roleName } from './config-kinds.ts';

const parameterValue = z.union([z.string(), z.number(), z.boolean()], {
  error: 'text, a number or true/false, as PostgreSQL would take it',
});

const whole = (min: number, max: number) => {
  const error = `a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
};

export const DEFAULT_PROMOTE_TIMEOUT = '20s';
export const DEFAULT_RECOVERY_DOWN_AFTER = '30s';

const PARAMETER_RULE = 'the name of a PostgreSQL parameter, such as shared_buffers';
const node = z
  .strictObject(
    {
      name: name('Name of this PostgreSQL node, unique in the cluster'),
      group: name('The group of one primary and its standbys that the node belongs to').default('main'),
      formation: name(
        'The named set of groups that this group belongs to, the same on every host of the group',
      ).default('default'),
      address: address(
        "Where clients, standbys and peers reach PostgreSQL; default: the host of this peer's address, port 5432",
      ).optional(),
      data_directory: path(
        "PostgreSQL's data directory; made by sentineld where it is missing",
        '/var/lib/postgresql/15/shop',
      ),
      wal_directory: path(
        'Each data directory that is made here gets a directory of its own for WAL within this one; default: pg_wal in the data directory',
        '/wal/shop',
      ).optional(),
      tablespaces: z
        .record(
          z.string().min(1),
          path('A directory; each clone gets one of its own within it', '/fast/shop'),
          { error: 'a mapping of tablespaces, by name or by their location on the source, to directories' },
        )
        .nullish()
        .meta({
          description:
            'Where clones of this node put tablespaces, by name or by their location on the source; default: where they are there',
          examples: [{ fast: '/fast/shop' }],
        }),
      bin_directory: path(
        "Directory of PostgreSQL's programs; found by itself where left out",
        '/usr/lib/postgresql/15/bin',
      ).optional(),
      os_user: z
        .string({ error: 'the name of an operating-system user' })
        .regex(/^[a-zA-Z_][\w.-]*\$?$/, { error: 'the name of an operating-system user' })
        .optional()
        .meta({
          description:
            'User that PostgreSQL runs as when sentineld runs as root; default: postgres, else nobody',
        }),
      socket_directory: path(
        'Private directory of the Unix socket; default: STATE_DIRECTORY/socket',
        '/run/pg-sentinel',
      ).optional(),
      priority: z
        .int({ error: 'a whole number from 0 to 1000' })
        .min(0, { error: 'a whole number from 0 to 1000' })
        .max(1000, { error: 'a whole number from 0 to 1000' })
        .default(100)
        .meta({
          description:
            'Of candidates that stand equally far, the one of higher priority is promoted; 0: never promoted, as no_failover',
        }),
      no_failover: z.boolean({ error: 'true or false' }).default(false).meta({
        description: 'True: never promoted, unless a person forces it by its name; no commit waits for it',
      }),
      no_sync: z
        .boolean({ error: 'true or false' })
        .default(false)
        .meta({ description: 'True: no commit waits for it; it may be promoted' }),
      apply_delay: duration({
        default: '0s',
        min: '0s',
        max: '240h',
        description:
          'It replays so much later than its primary wrote (recovery_min_apply_delay): a delayed replica, never promoted, and no commit waits for it',
      }),
      upstream: name(
        'A standby of the same group that this one streams from while that is well; default: the primary. No commit waits for it',
      ).optional(),
      promote_command: command(
        'Program that has this node promoted in a failover, in place of pg-sentinel itself, and its arguments; run without a shell, as the user that PostgreSQL runs as',
        ['/usr/local/sbin/promote', '--via', 'ssh'],
      ).optional(),
      promote_timeout: duration({
        default: DEFAULT_PROMOTE_TIMEOUT,
        min: '1s',
        max: '10min',
        description:
          'The promote command is ended, and the promotion has failed, where the node does not take writes after this',
      }),
      follow: followSection,
      initdb: initdbSection,
      parameters: z
        .record(z.string().regex(/^[a-zA-Z_][\w.]*$/, { error: PARAMETER_RULE }), parameterValue, {
          error: 'a mapping of PostgreSQL parameters to values',
        })
        .nullish()
        .meta({ description: 'PostgreSQL parameters; those that pg-sentinel sets itself are refused' }),
      hba: z
        .array(z.string({ error: 'a line of pg_hba.conf in quotes' }), {
          error: 'a list of pg_hba.conf lines',
        })
        .nullish()
        .meta({
          description: 'Further lines for pg_hba.conf',
          examples: [['host all all 10.0.0.0/24 scram-sha-256']],
        }),
      log_size_mb: whole(1, 100_000).default(100).meta({
        description: "PostgreSQL's log (STATE_DIRECTORY/postgresql/NAME.log) is begun anew above this, in MB",
      }),
      log_files: whole(1, 1000).default(5).meta({
        description: 'Older logs of PostgreSQL that are kept beside it, as NAME.log.1 and so on',
      }),
      oom_score_adj: whole(-1000, 1000).default(-900).meta({
        description:
          'How readily the kernel ends the postmaster when memory runs out; its children have 0. Lowered only where sentineld may (root)',
      }),
      core_limit_mb: z
        .union([z.literal('unlimited'), whole(0, 1_000_000)], {
          error: 'a whole number of MB from 0 to 1000000, or unlimited',
        })
        .optional()
        .meta({ description: 'Size limit of core files of PostgreSQL; default: that of sentineld' }),
    },
    { error: 'the node of this host, or no key "node" at all on a witness' },
  )
  .optional()
  .meta({ description: 'The PostgreSQL node of this host; leave it out on a witness' });

const WATCH_RULE = 'a list of servers, each with name and address';
const watch = z
  .array(
    z.strictObject(
      {
        name: name('Name of the server, unlike that of any node'),
        address: address('Where the peers reach it'),
        formation: name('The formation that it is shown with').default('default'),
      },
      { error: 'a server with name and address' },
    ),
    { error: WATCH_RULE },
  )
  .max(WATCHED_COUNT_MAX, { error: `at most ${WATCHED_COUNT_MAX} servers` })
  .nullish()
  .meta({
    description:
      'PostgreSQL servers that all voters watch and tell of, and that pg-sentinel never touches; one host that lists them is enough',
  });

const timing = z
  .strictObject(
    {
      probe_interval: duration({
        default: '500ms',
        min: '20ms',
        max: '1min',
        description: 'Time between two probes of a node',
      }),
      down_after: duration({
        default: '2s',
        min: '100ms',
        max: '10min',
        description: 'A node that does not answer is held for down after this',
      }),
      write_down_after: duration({
        default: '10s',
        min: '200ms',
        max: '1h',
        description: 'A primary that answers but cannot write is held for down after this',
      }),
      recovery_down_after: duration({
        default: DEFAULT_RECOVERY_DOWN_AFTER,
        min: '1s',
        max: '24h',
        description: 'A primary that is starting up or in recovery is held for down after this',
      }),
      restart_grace: duration({
        default: '10s',
        min: '0ms',
        max: '1h',
        description: 'Time that a clean shutdown by an administrator is given to come back',
      }),
      sync_member_timeout: duration({
        default: '700ms',
        min: '100ms',
        max: '10min',
        description: 'A lost standby is taken out of the sync rule after this',
      }),
      heartbeat_interval: duration({
        default: '125ms',
        min: '10ms',
        max: '10s',
        description: 'Time between heartbeats of the Raft leader',
      }),
      election_timeout: duration({
        default: '500ms',
        min: '50ms',
        max: '1min',
        description: 'A follower that hears nothing from the leader for this long stands for election',
      }),
    },
    { error: 'a mapping of durations' },
  )
  .nullish()
  .meta({ description: 'Durations, each with a unit' });

const guard = z
  .strictObject(
    {
      proof_timeout: duration({
        default: '30s',
        min: '1s',
        max: '1h',
        description:
          'With durability quorum or strict: a primary whose standbys take nothing any more, and which no Raft leader confirms, is stopped after this',
      }),
      watchdog: path(
        'A watchdog device that the guard keeps from resetting the host while the node is primary; default: none',
        '/dev/watchdog',
      ).optional(),
    },
    { error: 'a mapping with proof_timeout and watchdog' },
  )
  .nullish()
  .meta({ description: 'The guard of the primary' });

const fence = z
  .strictObject(
    {
      command: command(
        'Program that switches off the host of a former primary that does not answer, and its arguments; run without a shell',
        ['/usr/local/sbin/power-off', '--wait'],
      ),
      timeout: duration({
        default: '30s',
        min: '1s',
        max: '10min',
        description: 'The fence command is ended, and has failed, after this',
      }),
    },
    { error: 'a mapping with command and timeout' },
  )
  .nullish()
  .meta({ description: 'Switching off the host of a former primary that does not answer (STONITH)' });

const SNAPSHOT_RULE = 'a whole number from 1 to 10000000';
const raft = z
  .strictObject(
    {
      snapshot_entries: z
        .int({ error: SNAPSHOT_RULE })
        .min(1, { error: SNAPSHOT_RULE })
        .max(10_000_000, { error: SNAPSHOT_RULE })
        .default(10_000)
        .meta({
          description:
            'Entries applied since the last snapshot after which the next is taken and the log before it is removed',
        }),
    },
    { error: 'a mapping with snapshot_entries' },
  )
  .nullish()
  .meta({ description: 'The Raft log' });

const RATE_RULE = 'a size for each second with a unit, kB or MB, from 32kB to 1024MB, such as 50MB';
const clone = z
  .strictObject(
    {
      max_rate: z
        .string({ error: RATE_RULE })
        .refine((text) => rateBytes(text) !== undefined, { error: RATE_RULE })
        .optional()
        .meta({
          description: 'What a clone reads from its source in a second at the most; default: no limit',
          pattern: '^\\d+(kB|MB)$',
          examples: ['50MB'],
        }),
    },
    { error: 'a mapping with max_rate' },
  )
  .nullish()
  .meta({ description: 'Clones of this node from the primary' });

/** Within what PostgreSQL takes for a rate; undefined for anything else. */
export function rateBytes(text: string): number | undefined {
  const [, digits = '', unit] = /^(\d{1,7})(kB|MB)$/.exec(text) ?? [];
  const bytes = Number(digits) * (unit === 'MB' ? 1 << 20 : 1 << 10);
  return bytes >= 32 << 10 && bytes <= 1 << 30 ? bytes : undefined;
}

const log = z
  .strictObject(
    {
      level: z
        .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal'], {
          error: 'one of trace, debug, info, warn, error, fatal',
        })
        .default('info'),
      format: z.enum(['json', 'pretty'], { error: 'json or pretty' }).default('json'),
    },
    { error: 'a mapping with level and format' },
  )
  .nullish()
  .meta({ description: 'What sentineld writes to standard output' });

const route = (what: string) =>
  z.record(name(`Name of a ${what}`), address(`How this peer reaches that ${what}`), {
    error: `the ${what}s, each as NAME: host:port`,
  });

const via = z
  .strictObject(
    { peers: route('peer').default({}), nodes: route('node').default({}) },
    { error: 'a mapping with peers and nodes' },
  )
  .nullish()
  .meta({
    description:
      'How this peer reaches others where that is not the address that the cluster knows, through a tunnel or a proxy say',
  });

/** The whole file. Strict: a key that is not here is refused. */
export const fileSchema = z.strictObject(
  {
    cluster: name('Name of the cluster; peers of another cluster are refused'),
    peer: name('Which of `peers` this host is; `--peer` overrides it').optional(),
    peers: z
      .record(name('Name of a peer'), address('Where the other peers reach it'), {
        error: 'the peers, each as NAME: host:port',
      })
      .meta({
        description:
          'All voters of the cluster, three or five, the same on every host; from the first start on the log says who they are',
      }),
    site: name(
      'Where this host is, such as a data centre; see the settings site_policy and failback of a group',
    ).optional(),
    join: z.boolean({ error: 'true or false' }).default(false).meta({
      description:
        'True on a host that is added to a running cluster with `sentinelctl peer add`; counts at the first start only',
    }),
    via,
    listen: address('Where this peer listens; default: its address in `peers`').optional(),
    state_directory: path('Directory for the Raft log and the fence file', '/var/lib/pg-sentinel'),
    node,
    watch,
    users: z
      .strictObject(
        {
          superuser: z
            .strictObject({ name: roleName('postgres') }, { error: 'a mapping with a name' })
            .default({ name: 'postgres' })
            .meta({ description: 'Superuser, used through the private socket only' }),
          replication: account(
            'Role that standbys stream with; needed where there is a node',
            'sentinel_replication',
          ).optional(),
          probe: account('Role that peers watch nodes with', 'sentinel_probe'),
        },
        { error: 'a mapping with superuser, replication and probe' },
      )
      .meta({ description: 'The PostgreSQL roles that pg-sentinel uses; the same on every host' }),
    timing,
    guard,
    fence,
    raft,
    log,
    clone,
    bootstrap,
  },
  { error: 'a mapping with cluster, peers, state_directory, node and users' },
);

/** The file as it stands, defaults filled in; durations and addresses are still text. */
export type ConfigFile = z.output<typeof fileSchema>;
export type AccountFile = z.output<ReturnType<typeof account>>;

/** JSON Schema of the file, for editors: docs/sentineld.schema.json. */
export function configJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(fileSchema, { io: 'input' });
  return { ...schema, title: 'Configuration of sentineld (pg-sentinel)' };
}
