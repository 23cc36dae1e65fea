// Checks that look at more than one key of the configuration, or beyond the file at password files and the environment.
// Reads those, changes nothing. Errors make the configuration unusable; warnings are for a person to read.
import { readFileSync, statSync } from 'node:fs';
import { didYouMean } from '../base/did-you-mean.ts';
import { parseDurationMs } from '../base/duration.ts';
import { formatEndpoint, isLoopback, isWildcard, parseEndpoint, type Endpoint } from './config-address.ts';
import { hbaFileLineProblem, hbaLineDanger, hbaWarnings, shownHbaLine } from '../cluster/hba-rules.ts';
import { checkBootstrap } from './config-bootstrap.ts';
import { checkInitdb } from './config-initdb.ts';
import { wrong } from './config-problems.ts';
import { RESERVED_PARAMETERS } from '../postgres/reserved-parameters.ts';
import {
  DEFAULT_PROMOTE_TIMEOUT,
  DEFAULT_RECOVERY_DOWN_AFTER,
  type AccountFile,
  type ConfigFile,
} from './config-schema.ts';

/** Where the checks put what they find; `key` is that of the value to change. */
export interface Findings {
  error(key: string, text: string): void;
  warning(key: string, text: string): void;
}

const VOTER_COUNT_MAX = 9;
const SECRET_BYTES_MAX = 1024;

/** Everything but the passwords; those are checked when they are read ({@link readPassword}). */
export function checkFile(file: ConfigFile, peer: string | undefined, findings: Findings): void {
  checkPeers(file, peer, findings);
  checkNode(file, peer, findings);
  checkVia(file, peer, findings);
  checkWatch(file, findings);
  checkRoles(file, findings);
  checkTiming(file, findings);
  checkBootstrap(file.bootstrap, file.node, findings);
}

/** The passwords of an account, the wanted one first, or undefined with an error among the findings. Never part of a message. */
export function readPassword(
  key: string,
  account: AccountFile,
  env: NodeJS.ProcessEnv,
  findings: Findings,
): readonly string[] | undefined {
  const given = (['password', 'password_file', 'password_env'] as const).filter(
    (option) => account[option] !== undefined,
  );
  if (given.length !== 1) {
    const state = given.length === 0 ? 'no password' : `${given.join(' and ')} are given`;
    findings.error(key, `${state}; expected exactly one of password_file, password_env and password`);
    return undefined;
  }
  if (account.password !== undefined)
    return listed(checkSecret(`${key}.password`, 'the value', account.password, findings));
  if (account.password_env !== undefined) {
    const value = env[account.password_env];
    if (value !== undefined)
      return listed(
        checkSecret(`${key}.password_env`, `the variable ${account.password_env}`, value, findings),
      );
    findings.error(`${key}.password_env`, `the environment variable ${account.password_env} is not set`);
    return undefined;
  }
  return readPasswords(`${key}.password_file`, account.password_file ?? '', findings);
}

const listed = (secret: string | undefined): readonly string[] | undefined =>
  secret === undefined ? undefined : [secret];

/** Of a file: one, or two while a password is changed. Undefined with an error among the findings; none of that holds a password. */
export function readPasswords(key: string, path: string, findings: Findings): readonly string[] | undefined {
  let text: string;
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw new Error('it is not a file');
    if (stat.size > SECRET_BYTES_MAX)
      throw new Error(`it has ${stat.size} bytes, a password has at most ${SECRET_BYTES_MAX}`);
    if ((stat.mode & 0o004) !== 0) findings.warning(key, `everybody may read ${path}; chmod 600 ${path}`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    findings.error(
      key,
      `cannot read ${path}: ${readable(error)}; expected a file that holds the password on its first line`,
    );
    return undefined;
  }
  const lines = text.replace(/\r?\n$/, '').split(/\r?\n/);
  if (lines.length > 2) {
    findings.error(
      key,
      `${path} has more than two lines; expected a password on the first, and on the second the one before it, while it is changed`,
    );
    return undefined;
  }
  const secrets = lines.map((line) => checkSecret(key, path, line, findings));
  return secrets.every((secret) => secret !== undefined) ? secrets : undefined;
}

function checkSecret(key: string, what: string, secret: string, findings: Findings): string | undefined {
  if (secret.trim() === '') findings.error(key, `${what} is empty; expected a password`);
  else if (/[\r\n\0]/.test(secret))
    findings.error(key, `${what} has more than one line; expected a password on the first`);
  else return secret;
  return undefined;
}

/** `no such file or directory` rather than `ENOENT: no such file or directory, open '...'`. */
export function readable(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return /^E[A-Z]+: ([^,]+)/.exec(message)?.[1] ?? message;
}

function checkPeers(file: ConfigFile, peer: string | undefined, findings: Findings): void {
  const names = Object.keys(file.peers);
  const list = names.join(', ');
  if (names.length === 0)
    findings.error('peers', 'none is given; expected three or five, each as NAME: host:port');
  else if (names.length > VOTER_COUNT_MAX)
    findings.error('peers', `${names.length} are given; expected at most ${VOTER_COUNT_MAX}`);
  else if (names.length === 1)
    findings.warning('peers', 'one peer: nothing fails over when it is lost; three are advised');
  else if (names.length % 2 === 0 && !file.join) {
    findings.warning(
      'peers',
      `${names.length} peers bear no more losses than ${names.length - 1}; three or five are advised`,
    );
  }
  if (file.join && names.length === 1)
    findings.error('join', 'true is given, but "peers" names no peer of the running cluster; list those too');
  if (peer === undefined) findings.error('peer', `missing; expected one of ${list}, here or as --peer`);
  else if (!names.includes(peer)) {
    const near = didYouMean(peer, names);
    findings.error(
      'peer',
      wrong('peer', peer, `one of ${list}`) + (near === undefined ? '' : `; did you mean "${near}"?`),
    );
  }
  const owners = new Map<string, string>();
  for (const [name, text] of Object.entries(file.peers)) {
    const endpoint = parseEndpoint(text);
    if (endpoint !== undefined && isWildcard(endpoint.host)) {
      findings.error(
        `peers.${name}`,
        wrong('', text, 'an address that the other peers can reach; put this one under "listen"'),
      );
    }
    const owner = owners.get(text.toLowerCase());
    if (owner !== undefined)
      findings.error(
        `peers.${name}`,
        `"${text}" is also the address of peer ${owner}; expected one of its own`,
      );
    else owners.set(text.toLowerCase(), name);
  }
  const hosts = Object.values(file.peers).map((text) => parseEndpoint(text)?.host ?? '');
  if (hosts.some(isLoopback) && !hosts.every(isLoopback)) {
    findings.warning(
      'peers',
      'some addresses are on loopback, others are not: peers on other hosts cannot reach the former',
    );
  }
}

/** Routes are to others. A peer or node may be added later, so an unknown name is no error. */
function checkVia(file: ConfigFile, peer: string | undefined, findings: Findings): void {
  const { peers = {}, nodes = {} } = file.via ?? {};
  if (peer !== undefined && Object.hasOwn(peers, peer))
    findings.error(`via.peers.${peer}`, `"${peer}" is this peer itself; expected other peers`);
  const own = file.node?.name;
  if (own !== undefined && Object.hasOwn(nodes, own))
    findings.error(`via.nodes.${own}`, `"${own}" is the node of this host; expected those of others`);
  for (const [section, routes] of Object.entries({ peers, nodes }))
    for (const [name, text] of Object.entries(routes))
      if (isWildcard(parseEndpoint(text)?.host ?? ''))
        findings.error(`via.${section}.${name}`, wrong('', text, 'an address that this peer can connect to'));
}

/** Names are told apart by whoever reads status; what is watched must not be what is managed. */
function checkWatch(file: ConfigFile, findings: Findings): void {
  const names = new Set<string>();
  const owners = new Map<string, string>();
  for (const [at, { name, address }] of (file.watch ?? []).entries()) {
    const key = `watch.${at}`;
    if (names.has(name))
      findings.error(`${key}.name`, `"${name}" is listed twice; expected each server once`);
    names.add(name);
    if (name === file.node?.name)
      findings.error(
        `${key}.name`,
        `"${name}" is the node of this host; expected a server that is only watched`,
      );
    const text = address.toLowerCase();
    const owner = owners.get(text);
    if (owner !== undefined)
      findings.error(
        `${key}.address`,
        `"${address}" is also the address of ${owner}; expected one of its own`,
      );
    else owners.set(text, name);
    if (text === file.node?.address?.toLowerCase())
      findings.error(
        `${key}.address`,
        `"${address}" is the address of the node of this host; expected a server that is only watched`,
      );
    if (isWildcard(parseEndpoint(address)?.host ?? ''))
      findings.error(`${key}.address`, wrong('', address, 'an address that the peers can connect to'));
  }
}

/** The node's address: as given, else port 5432 on the host of its peer. */
export function nodeEndpoint(file: ConfigFile, peer: string | undefined): Endpoint | undefined {
  if (file.node?.address !== undefined) return parseEndpoint(file.node.address);
  const own = parseEndpoint(file.peers[peer ?? ''] ?? '');
  return own === undefined ? undefined : { host: own.host, port: 5432 };
}

function checkNode(file: ConfigFile, peer: string | undefined, findings: Findings): void {
  const { node } = file;
  if (node === undefined) return;
  const endpoint = nodeEndpoint(file, peer);
  if (endpoint !== undefined) {
    const text = formatEndpoint(endpoint);
    if (isWildcard(endpoint.host))
      findings.error(
        'node.address',
        wrong('', text, 'an address that clients and the other peers can reach'),
      );
    const owner = Object.entries(file.peers).find(
      ([, address]) => address.toLowerCase() === text.toLowerCase(),
    );
    if (owner !== undefined)
      findings.error(
        'node.address',
        `"${text}" is also the address of peer ${owner[0]}; expected PostgreSQL's own port`,
      );
    const peersElsewhere = Object.values(file.peers).some(
      (address) => !isLoopback(parseEndpoint(address)?.host ?? ''),
    );
    if (isLoopback(endpoint.host) && peersElsewhere)
      findings.warning('node.address', `"${text}" cannot be reached from other hosts`);
  }
  if (node.upstream === node.name)
    findings.error('node.upstream', wrong('', node.upstream, 'another node of its group than itself'));
  checkPromotion(file, node, findings);
  checkFollow(file, node, findings);
  checkInitdb(file.node?.initdb, firstFrom(file), findings);
  checkDirectories(file, node, findings);
  for (const [name, value] of Object.entries(node.parameters ?? {})) {
    const reason = RESERVED_PARAMETERS.get(name.toLowerCase());
    if (reason !== undefined)
      findings.error(`node.parameters.${name}`, `pg-sentinel sets ${name} itself (${reason}); remove it`);
    if (typeof value === 'string' && /[\r\n\0]/.test(value))
      findings.error(`node.parameters.${name}`, 'holds a line break; expected one line');
  }
  for (const [at, line] of (node.hba ?? []).entries()) checkHbaLine(`node.hba.${at}`, line, findings);
}

function checkPromotion(
  file: ConfigFile,
  { promote_command: command, promote_timeout: timeout }: NonNullable<ConfigFile['node']>,
  findings: Findings,
): void {
  if (command === undefined) {
    if (timeout !== DEFAULT_PROMOTE_TIMEOUT)
      findings.warning('node.promote_timeout', 'it has no effect without node.promote_command');
    return;
  }
  const downAfter = file.timing?.recovery_down_after ?? DEFAULT_RECOVERY_DOWN_AFTER;
  if ((parseDurationMs(timeout) ?? 0) >= (parseDurationMs(downAfter) ?? 0))
    findings.warning(
      'node.promote_timeout',
      `${timeout} is not shorter than timing.recovery_down_after (${downAfter}): by then the other peers hold a node that is still in recovery for down`,
    );
}

/** Where the first database of a group comes from, if initdb does not make it. */
const firstFrom = ({ bootstrap, node }: ConfigFile): string | undefined =>
  bootstrap ? 'the backup of bootstrap' : node?.follow ? 'the other site of node.follow' : undefined;

/** The other site is another cluster: none of its servers is this node. */
function checkFollow(
  file: ConfigFile,
  { follow, address }: NonNullable<ConfigFile['node']>,
  findings: Findings,
): void {
  if (follow === undefined || follow === null) return;
  const seen = new Set<string>();
  for (const [at, text] of follow.servers.entries()) {
    const key = `node.follow.servers.${at}`;
    if (isWildcard(parseEndpoint(text)?.host ?? ''))
      findings.error(key, wrong('', text, 'an address that this host can connect to'));
    if (text.toLowerCase() === address?.toLowerCase())
      findings.error(key, `"${text}" is the address of this node; expected servers of the other site`);
    if (seen.has(text.toLowerCase()))
      findings.error(key, `"${text}" is listed twice; expected each server once`);
    seen.add(text.toLowerCase());
  }
  const { sslmode, sslrootcert } = follow;
  if (sslmode?.startsWith('verify') === true && sslrootcert === undefined)
    findings.error(
      'node.follow.sslrootcert',
      wrong('', undefined, `the certificate authority, as node.follow.sslmode is ${sslmode}`),
    );
  if (sslrootcert !== undefined && sslmode?.startsWith('verify') !== true)
    findings.error('node.follow.sslrootcert', 'is used with sslmode verify-ca and verify-full only');
  if (file.bootstrap !== undefined && file.bootstrap !== null)
    findings.error(
      'bootstrap',
      'it is given together with node.follow; expected one of them: a new group begins with a backup, or with what the other site holds',
    );
  if (file.node?.upstream !== undefined)
    findings.warning(
      'node.upstream',
      'while its group follows the other site, every node streams from the site leader',
    );
}

function checkDirectories(file: ConfigFile, node: NonNullable<ConfigFile['node']>, findings: Findings): void {
  const data = node.data_directory;
  const inside = (path: string): boolean => path === data || path.startsWith(`${data}/`);
  if (inside(file.state_directory)) {
    findings.error(
      'state_directory',
      `"${file.state_directory}" is inside node.data_directory, which a clone replaces; expected one outside`,
    );
  } else if (inside(node.socket_directory ?? `${file.state_directory}/socket`)) {
    findings.error(
      'node.socket_directory',
      `"${node.socket_directory}" is inside node.data_directory, which a clone replaces; expected one outside`,
    );
  }
  const { wal_directory: wal, tablespaces } = node;
  const outside = Object.entries(tablespaces ?? {}).map(([name, path]) => [`tablespaces.${name}`, path]);
  for (const [key = '', path = ''] of [...(wal === undefined ? [] : [['wal_directory', wal]]), ...outside])
    if (inside(path))
      findings.error(
        `node.${key}`,
        `"${path}" is inside node.data_directory, which a clone replaces; expected one outside`,
      );
}

const HBA_KINDS = ['local', 'host', 'hostssl', 'hostnossl', 'hostgssenc', 'hostnogssenc'];

function checkHbaLine(key: string, line: string, findings: Findings): void {
  const [kind = '', , ...rest] = line.trim().split(/\s+/);
  const danger = hbaLineDanger(line);
  const problem = hbaFileLineProblem(line);
  const shown = shownHbaLine(line);
  if (/[\r\n\0]/.test(line)) {
    findings.error(key, 'holds a line break; expected one rule for each entry of the list');
    return;
  }
  if (!HBA_KINDS.includes(kind) || rest.length < 2) {
    findings.error(
      key,
      wrong('', shown, 'a line of pg_hba.conf such as "host all all 10.0.0.0/24 scram-sha-256"'),
    );
    return;
  }
  if (danger !== undefined) findings.error(key, `"${shown}" ${danger}`);
  else if (problem !== undefined) findings.error(key, problem);
  else if (hbaWarnings([line]).length > 0)
    findings.warning(key, `"${shown}" lets clients in without a password`);
}

function checkRoles(file: ConfigFile, findings: Findings): void {
  const { superuser, replication, probe } = file.users;
  if (file.node !== undefined && replication === undefined) {
    findings.error(
      'users.replication',
      wrong('', undefined, 'the role that standbys stream with, as there is a node on this host'),
    );
  }
  const owners = new Map<string, string>();
  for (const [role, account] of Object.entries({ superuser, replication, probe })) {
    if (account === undefined) continue;
    const owner = owners.get(account.name);
    if (owner !== undefined)
      findings.error(
        `users.${role}.name`,
        `"${account.name}" is also users.${owner}.name; expected a role of its own`,
      );
    else owners.set(account.name, role);
  }
}

function checkTiming(file: ConfigFile, findings: Findings): void {
  const timing = file.timing ?? undefined;
  if (timing === undefined) return;
  const atLeastTwice = (key: keyof typeof timing, of: keyof typeof timing): void => {
    if ((parseDurationMs(timing[key]) ?? 0) >= 2 * (parseDurationMs(timing[of]) ?? 0)) return;
    findings.error(`timing.${key}`, wrong('', timing[key], `at least twice timing.${of} (${timing[of]})`));
  };
  atLeastTwice('down_after', 'probe_interval');
  atLeastTwice('write_down_after', 'probe_interval');
  atLeastTwice('election_timeout', 'heartbeat_interval');
  if ((parseDurationMs(timing.write_down_after) ?? 0) < (parseDurationMs(timing.down_after) ?? 0)) {
    findings.warning(
      'timing.write_down_after',
      `${timing.write_down_after} is shorter than timing.down_after (${timing.down_after}): a slow disk fails over before a lost host does`,
    );
  }
}
