// The configuration of one sentineld: reads the YAML file, validates all of it, and returns plain data. Says everything
// that is wrong at once. Reads password files; changes nothing. What the host is like is checked by config-environment.ts.
import type { LogRotation } from '../postgres/log-rotation.ts';
import type { InitSettings } from '../postgres/initdb-settings.ts';
import type { ProcessSettings } from '../postgres/process-settings.ts';
import { readFileSync, statSync } from 'node:fs';
import { isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, type Document } from 'yaml';
import type { Bootstrap } from '../actions/instance-options.ts';
import type { FenceCommand } from '../actions/fence-command.ts';
import type { PromoteCommand } from '../actions/promote-command.ts';
import { sourceText } from '../actions/site-source.ts';
import { parseDurationMs } from '../base/duration.ts';
import { groupId, nodeId, peerId, type GroupId, type NodeId, type PeerId } from '../base/ids.ts';
import type { NodeOptions, WatchedServer } from '../cluster/commands.ts';
import type { PeerAddress } from '../transport/types.ts';
import { parseEndpoint, type Endpoint } from './config-address.ts';
import { bootstrapOf } from './config-bootstrap.ts';
import { checkFile, nodeEndpoint, readable, readPassword } from './config-checks.ts';
import { initSettingsOf } from './config-initdb.ts';
import { ConfigError, formatProblem, problemsOfIssues, type ConfigProblem } from './config-problems.ts';
import { configJsonSchema, fileSchema, rateBytes, type ConfigFile } from './config-schema.ts';
import type { Routes } from './routes.ts';

export const DEFAULT_CONFIG_PATH = '/etc/pg-sentinel/sentineld.yaml';

export interface Config {
  /** The file that it was read from. */
  readonly path: string;
  readonly cluster: string;
  readonly peer: PeerId;
  /** Where the host is: a data centre or a rack. */
  readonly site: string | undefined;
  /** All voters, this one too, in the order of the file. Counts until the log says who they are and where. */
  readonly peers: readonly PeerAddress[];
  /** This peer is added to a running cluster: without a store it knows of no voters and waits to be told. */
  readonly isJoining: boolean;
  readonly listen: Endpoint;
  /** How this peer reaches others where not by the address that the log has. */
  readonly via: Routes;
  readonly stateDirectory: string;
  /** Undefined on a witness. */
  readonly node: NodeConfig | undefined;
  /** Servers that are only watched, in the order of their names. */
  readonly watch: readonly WatchedServer[];
  readonly users: UsersConfig;
  readonly timing: TimingConfig;
  readonly guard: GuardConfig;
  /** The fence command, where there is one. */
  readonly fence: FenceCommand | undefined;
  readonly raft: RaftConfig;
  /** What a clone reads from its source in a second; absent: as fast as it goes. */
  readonly cloneMaxRateBytes?: number | undefined;
  /** How the first data directory of a new group is restored from a backup; absent: an empty one is made. */
  readonly bootstrap?: Bootstrap | undefined;
  readonly log: LogConfig;
  /** For a person to read, each with file, line and key. */
  readonly warnings: readonly string[];
}

export interface NodeConfig {
  readonly name: NodeId;
  readonly group: GroupId;
  /** The named set of groups that the group belongs to. */
  readonly formation: string;
  readonly host: string;
  readonly port: number;
  readonly dataDirectory: string;
  readonly walDirectory: string | undefined;
  /** Where clones put tablespaces, by name or by their location on the source. */
  readonly tablespaces: ReadonlyMap<string, string>;
  readonly binDirectory: string | undefined;
  readonly osUser: string | undefined;
  readonly socketDirectory: string;
  readonly priority: number;
  /** Priority 0 stands for `noFailover`. */
  readonly options: NodeOptions;
  /** Names in lower case, values as PostgreSQL reads them (`on`, `1GB`); none of RESERVED_PARAMETERS. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly hba: readonly string[];
  readonly logRotation: LogRotation;
  readonly process: ProcessSettings;
  /** What promotes it in a failover; absent: the agent itself. */
  readonly promoteCommand?: PromoteCommand | undefined;
  /** What the first database of a new group is made with; left out: the defaults. */
  readonly initdb?: InitSettings | undefined;
  /** The other site that its group begins by following. */
  readonly follow?: FollowConfig | undefined;
}

export interface FollowConfig {
  readonly servers: readonly Endpoint[];
  /** Undefined: that of `users.replication`. */
  readonly account: AccountConfig | undefined;
  readonly slot: string | undefined;
  /** `sslmode` and `sslrootcert`, where they are given. */
  readonly parameters: Readonly<Record<string, string>>;
}

export interface UsersConfig {
  readonly superuser: { readonly name: string };
  /** Undefined only where there is no node (a witness need not know the password). */
  readonly replication: AccountConfig | undefined;
  readonly probe: AccountConfig;
}

export interface AccountConfig {
  readonly name: string;
  /** In clear: never to be logged. */
  readonly password: string;
  /** Still taken while the password is being changed, or taken already. */
  readonly former?: string;
  /** Where they came from, if from a file: it is read again when it changes. */
  readonly file?: string;
}

export interface TimingConfig {
  readonly probeIntervalMs: number;
  readonly downAfterMs: number;
  readonly writeDownAfterMs: number;
  readonly recoveryDownAfterMs: number;
  readonly restartGraceMs: number;
  readonly syncMemberTimeoutMs: number;
  readonly heartbeatIntervalMs: number;
  readonly electionTimeoutMs: number;
}

export interface GuardConfig {
  /** With a rule: a primary without proof and without a leader's word for so long is stopped. */
  readonly proofTimeoutMs: number;
  /** Path of the device, where one is used. */
  readonly watchdog: string | undefined;
}

export interface RaftConfig {
  /** Entries applied since the last snapshot after which the next is taken. */
  readonly snapshotEntries: number;
}

export interface LogConfig {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';
  readonly format: 'json' | 'pretty';
}

export interface LoadOptions {
  readonly path: string;
  /** `--peer`: overrides the file's `peer`. */
  readonly peer?: string | undefined;
  readonly env: NodeJS.ProcessEnv;
}

const FILE_BYTES_MAX = 1 << 20;
const DEFAULT_SNAPSHOT_ENTRIES = 10_000;

/** Reads and validates the file; throws {@link ConfigError} that lists everything wrong with it. */
export function loadConfig(options: LoadOptions): Config {
  const { path, env } = options;
  const { document, lineOf } = readYaml(path);
  const problems: ConfigProblem[] = [];
  const warnings: string[] = [];
  const findings = {
    error: (key: string, text: string) => void problems.push({ key, line: lineOf(key.split('.')), text }),
    warning: (key: string, text: string) =>
      void warnings.push(formatProblem(path, { key, line: lineOf(key.split('.')), text })),
  };
  const file = validate(document, lineOf, problems);
  if (file === undefined) throw new ConfigError(path, problems);

  const peer = options.peer ?? file.peer;
  checkFile(file, peer, findings);
  const probePassword = readPassword('users.probe', file.users.probe, env, findings);
  // A witness streams from nobody, so it need not hold the file with that password.
  const replication = file.node === undefined ? undefined : file.users.replication;
  const replicationPassword = replication && readPassword('users.replication', replication, env, findings);
  const source = file.node?.follow?.user;
  const sourcePassword = source && readPassword('node.follow.user', source, env, findings);
  const inlineSecret = file.users.probe.password ?? replication?.password ?? source?.password;
  if (inlineSecret !== undefined && isReadableByAll(path)) {
    findings.warning(
      '',
      `it holds a password and everybody may read it; chmod 600 ${path}, or use password_file`,
    );
  }
  if (problems.length > 0 || peer === undefined) throw new ConfigError(path, problems);

  const peers = Object.entries(file.peers).map(([name, text]) => ({ peer: peerId(name), ...endpoint(text) }));
  return {
    path,
    cluster: file.cluster,
    peer: peerId(peer),
    site: file.site,
    peers,
    isJoining: file.join,
    listen: endpoint(file.listen ?? file.peers[peer] ?? ''),
    via: routesOf(file),
    stateDirectory: file.state_directory,
    node: nodeOf(file, peer, source && accountOf(source, sourcePassword)),
    watch: (file.watch ?? [])
      .map(({ name, address, formation }) => ({ server: nodeId(name), ...endpoint(address), formation }))
      .sort((a, b) => (a.server < b.server ? -1 : 1)),
    users: {
      superuser: { name: file.users.superuser.name },
      replication: replication && accountOf(replication, replicationPassword),
      probe: accountOf(file.users.probe, probePassword),
    },
    timing: timingOf(file),
    guard: guardOf(file),
    fence: file.fence
      ? { command: file.fence.command, timeoutMs: durationMs(file.fence.timeout) }
      : undefined,
    raft: { snapshotEntries: file.raft?.snapshot_entries ?? DEFAULT_SNAPSHOT_ENTRIES },
    log: file.log ?? { level: 'info', format: 'json' },
    ...(file.clone?.max_rate === undefined ? {} : { cloneMaxRateBytes: rateBytes(file.clone.max_rate) }),
    ...(file.bootstrap ? { bootstrap: bootstrapOf(file.bootstrap) } : {}),
    warnings,
  };
}

type LineOf = (path: readonly PropertyKey[]) => number | undefined;

function readYaml(path: string): { readonly document: Document.Parsed; readonly lineOf: LineOf } {
  let text: string;
  try {
    if (statSync(path).size > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const hint = 'give the file of this host as --config FILE';
    throw new ConfigError(path, [
      { key: '', line: undefined, text: `cannot read the configuration: ${readable(error)}; ${hint}` },
    ]);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    const problems = document.errors.map((error) => {
      const line = lines.linePos(error.pos[0]).line;
      const bracket = /:\s*\[[0-9a-fA-F:.%]+\]:\d+/.test(text.split('\n')[line - 1] ?? '');
      const hint = bracket ? '; put an address with brackets in quotes' : '';
      return { key: '', line, text: `not YAML: ${error.message}${hint}` };
    });
    throw new ConfigError(path, problems);
  }
  return { document, lineOf: (keys) => lineAt(document, lines, keys) };
}

/** The line of the key, or of the nearest section around it that is in the file. */
function lineAt(
  document: Document.Parsed,
  lines: LineCounter,
  keys: readonly PropertyKey[],
): number | undefined {
  let at: unknown = document.contents;
  let offset: number | undefined;
  for (const key of keys) {
    const found = isMap(at)
      ? at.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === String(key))
      : undefined;
    const place: unknown = isSeq(at) ? at.items[Number(key)] : found?.key;
    if (!isNode(place)) break;
    offset = place.range?.[0];
    at = isSeq(at) ? place : found?.value;
  }
  return offset === undefined ? undefined : lines.linePos(offset).line;
}

/** The file in its shape, or undefined with the problems. Unknown keys do not keep the rest from being checked. */
function validate(
  document: Document.Parsed,
  lineOf: LineOf,
  problems: ConfigProblem[],
): ConfigFile | undefined {
  const data: unknown = document.toJS() ?? {};
  const first = fileSchema.safeParse(data);
  if (first.success) return first.data;
  problems.push(...problemsOfIssues(first.error.issues, { data, lineOf, jsonSchema: configJsonSchema() }));
  for (const issue of first.error.issues) {
    if (issue.code !== 'unrecognized_keys') return undefined;
    for (const key of issue.keys) document.deleteIn([...issue.path.map(String), key]);
  }
  const second = fileSchema.safeParse(document.toJS());
  return second.success ? second.data : undefined;
}

function nodeOf(
  file: ConfigFile,
  peer: string,
  sourceAccount: AccountConfig | undefined,
): NodeConfig | undefined {
  const { node } = file;
  const address = nodeEndpoint(file, peer);
  if (node === undefined || address === undefined) return undefined;
  const follow = node.follow ? followOf(node.follow, sourceAccount) : undefined;
  const initdb = initSettingsOf(node.initdb);
  return {
    name: nodeId(node.name),
    group: groupId(node.group),
    formation: node.formation,
    ...address,
    dataDirectory: node.data_directory,
    walDirectory: node.wal_directory,
    tablespaces: new Map(Object.entries(node.tablespaces ?? {})),
    binDirectory: node.bin_directory,
    osUser: node.os_user,
    socketDirectory: node.socket_directory ?? `${file.state_directory}/socket`,
    priority: node.priority,
    options: {
      noFailover: node.no_failover || node.priority === 0,
      noSync: node.no_sync,
      applyDelayMs: Math.round(durationMs(node.apply_delay)),
      ...(node.upstream === undefined ? {} : { upstream: nodeId(node.upstream) }),
      ...(follow === undefined ? {} : { source: sourceText(follow.servers) }),
    },
    parameters: Object.fromEntries(
      Object.entries(node.parameters ?? {}).map(([name, value]) => [
        name.toLowerCase(),
        parameterText(value),
      ]),
    ),
    hba: node.hba ?? [],
    logRotation: { bytesMax: node.log_size_mb * 1024 * 1024, fileCount: node.log_files },
    process: { oomScoreAdj: node.oom_score_adj, coreLimitMb: node.core_limit_mb },
    ...(node.promote_command === undefined
      ? {}
      : {
          promoteCommand: { command: node.promote_command, timeoutMs: durationMs(node.promote_timeout) },
        }),
    ...(initdb === undefined ? {} : { initdb }),
    ...(follow === undefined ? {} : { follow }),
  };
}

function followOf(
  follow: NonNullable<NonNullable<ConfigFile['node']>['follow']>,
  account: AccountConfig | undefined,
): FollowConfig {
  const { slot, sslmode, sslrootcert } = follow;
  return {
    servers: follow.servers.map(endpoint),
    account,
    slot,
    parameters: {
      ...(sslmode === undefined ? {} : { sslmode }),
      ...(sslrootcert === undefined ? {} : { sslrootcert }),
    },
  };
}

function accountOf(
  account: { readonly name: string; readonly password_file?: string | undefined },
  passwords: readonly string[] = [],
): AccountConfig {
  const [password = '', former] = passwords;
  return {
    ...{ name: account.name, password },
    ...(former === undefined ? {} : { former }),
    ...(account.password_file === undefined ? {} : { file: account.password_file }),
  };
}

function routesOf(file: ConfigFile): Routes {
  const { peers = {}, nodes = {} } = file.via ?? {};
  return {
    peers: new Map(Object.entries(peers).map(([name, text]) => [peerId(name), endpoint(text)])),
    nodes: new Map(Object.entries(nodes).map(([name, text]) => [nodeId(name), endpoint(text)])),
  };
}

function parameterText(value: string | number | boolean): string {
  return typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);
}

function timingOf(file: ConfigFile): TimingConfig {
  const timing = file.timing ?? fileSchema.shape.timing.unwrap().unwrap().parse({});
  return {
    probeIntervalMs: durationMs(timing.probe_interval),
    downAfterMs: durationMs(timing.down_after),
    writeDownAfterMs: durationMs(timing.write_down_after),
    recoveryDownAfterMs: durationMs(timing.recovery_down_after),
    restartGraceMs: durationMs(timing.restart_grace),
    syncMemberTimeoutMs: durationMs(timing.sync_member_timeout),
    heartbeatIntervalMs: durationMs(timing.heartbeat_interval),
    electionTimeoutMs: durationMs(timing.election_timeout),
  };
}

function guardOf(file: ConfigFile): GuardConfig {
  const guard = file.guard ?? fileSchema.shape.guard.unwrap().unwrap().parse({});
  return { proofTimeoutMs: durationMs(guard.proof_timeout), watchdog: guard.watchdog };
}

/** For texts that the schema has accepted. */
function durationMs(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === undefined) throw new TypeError(`"${text}" passed the schema as a duration`);
  return ms;
}

/** For texts that the schema has accepted. */
function endpoint(text: string): Endpoint {
  const parsed = parseEndpoint(text);
  if (parsed === undefined) throw new TypeError(`"${text}" passed the schema as an address`);
  return parsed;
}

function isReadableByAll(path: string): boolean {
  return (statSync(path).mode & 0o004) !== 0;
}
