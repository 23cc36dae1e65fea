// The PostgreSQL that is given back by `sentineld --leave`, as far as it can be asked, and what depends on how it was built. Each question has a
// deadline; none of them has to be answered.
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { socketOf } from '../actions/foreign.ts';
import { until } from '../base/clock.ts';
import { type NodeId, slotPrefix } from '../base/ids.ts';
import { readOwnFile, writeFileDurably } from '../postgres/durable-files.ts';
import { takenOverFrom, withoutOurs } from '../postgres/foreign-server.ts';
import { autoConfWith } from '../postgres/give-back.ts';
import { runProgram, type OsUser } from '../postgres/os-user.ts';
import { findPostmaster } from '../postgres/processes.ts';
import { writeAsUser } from '../postgres/server-files.ts';
import { openSession, type Session } from '../postgres/session.ts';
import { parseSettings } from '../postgres/settings.ts';
import type { Config, NodeConfig } from './config.ts';
import type { Asked, Server } from './leave-report.ts';

const ASK_TIMEOUT_MS = 5000;
const RELOAD_TIMEOUT_MS = 10_000;
const PROGRAM_TIMEOUT_MS = 10_000;

/** Those of members of these nodes, such as `pg2_0a1b2c3d`: people's own may look alike, but for the name. */
export function slotsOfMembers(names: readonly string[], nodes: Iterable<NodeId>): string[] {
  const prefixes = new Set([...nodes].map((node) => slotPrefix(node)));
  return names.filter((name) => {
    const [, prefix] = /^(.+)_[0-9a-f]{8}$/.exec(name) ?? [];
    return prefix !== undefined && prefixes.has(prefix);
  });
}

/**
 * Whether it is left as a standby: as was decided while anything of ours is in its directory. Afterwards it is its owner's, who may have promoted it, and stays what
 * it was found to be. `found`: it is a standby by now.
 */
export const isLeftAsStandby = (server: {
  readonly role: 'primary' | 'standby';
  readonly isOurs: boolean;
  readonly found: boolean;
}): boolean => (server.isOurs ? server.role === 'standby' : server.found);

/** Through its own socket, as the user it runs as: that one is let in before and after. Undefined where it does not run, or does not answer. */
export async function askServer(
  config: Config,
  node: NodeConfig,
  user: OsUser,
  nodes: readonly NodeId[],
): Promise<Asked | undefined> {
  if (findPostmaster(node.dataDirectory) === undefined) return undefined;
  return withSession(config, node, user, async (session) => {
    const { replication, probe } = config.users;
    const [row] = await session.query<Asked>(QUESTION, [[replication?.name ?? '', probe.name]], {
      timeoutMs: ASK_TIMEOUT_MS,
    });
    return row === undefined ? undefined : { ...row, slots: slotsOfMembers(row.slots, nodes) };
  }).catch(() => undefined);
}

const QUESTION = `select pg_is_in_recovery() as "isStandby", current_setting('hba_file') as hba,
  array(select slot_name::text from pg_replication_slots where slot_type = 'physical' order by 1) as slots,
  array(select rolname::text from pg_roles where rolname = any ($1) order by 1) as roles,
  to_regnamespace('pg_sentinel') is not null as "hasSchema"`;

async function withSession<T>(
  config: Config,
  node: NodeConfig,
  user: OsUser,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const session = openSession({
    ...{ socketDirectory: node.socketDirectory, port: node.port, superuser: config.users.superuser.name },
    elsewhere: () => socketOf(findPostmaster(node.dataDirectory), user),
  });
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

/** Slots of members in a data directory whose server cannot be asked. */
export async function ourSlots(dataDirectory: string, nodes: readonly NodeId[]): Promise<string[]> {
  const names = await readdir(join(dataDirectory, 'pg_replslot')).catch(() => []);
  return slotsOfMembers(names, nodes).toSorted();
}

/** Until its commits wait for nobody any more, by what it says itself; else what to look at. */
export async function waitForReload(config: Config, node: NodeConfig, user: OsUser): Promise<string[]> {
  const isInForce = async (session: Session): Promise<boolean> => {
    const [row] = await session.query<{ names: string; upstream: string }>(
      `select current_setting('synchronous_standby_names') as names, current_setting('primary_conninfo') as upstream`,
      [],
      { timeoutMs: ASK_TIMEOUT_MS },
    );
    return row?.names === '' && row.upstream === '';
  };
  try {
    await withSession(config, node, user, (session) =>
      until({ what: 'reload', timeoutMs: RELOAD_TIMEOUT_MS, everyMs: 50 }, () => isInForce(session)),
    );
    return [];
  } catch (error) {
    return [
      `it was told to read its settings again, but was not seen to commit without waiting for standbys: look at synchronous_standby_names and primary_conninfo (${(error as Error).message})`,
    ];
  }
}

/** Makes sure of a directory for its socket from its next start on: where its default cannot be written to, it would not start. */
export async function fittingSocket({ binaries, user }: Server, dataDirectory: string): Promise<string[]> {
  const run = (program: string, args: readonly string[]) =>
    runProgram({ user, program, arguments: args, cwd: '/', timeoutMs: PROGRAM_TIMEOUT_MS });
  const asked = await run(join(binaries.directory, 'postgres'), [
    ...['-D', dataDirectory, '-C', 'unix_socket_directories'],
  ]);
  if (asked.exitCode !== 0)
    return [`PostgreSQL does not take its configuration: ${asked.output.trim() || 'it says nothing'}`];
  const [directory = ''] = asked.stdout.trim().split(',');
  if (directory === '' || directory.startsWith('@')) return [];
  const isWritable = await run('/bin/sh', ['-c', '[ -d "$1" ] && [ -w "$1" ]', 'sh', directory]);
  if (isWritable.exitCode === 0) return [];
  const path = join(dataDirectory, 'postgresql.auto.conf');
  const present = (await readOwnFile(path, user.owner)) ?? '';
  const content = autoConfWith(present, new Map([['unix_socket_directories', '/tmp']]));
  if (content !== present) await writeFileDurably({ path, content, mode: 0o600, owner: user.owner });
  return [
    `its socket will be in /tmp: ${user.name} cannot write to ${directory}, where it would be by default`,
  ];
}

/**
 * Takes our block out of the pg_hba.conf that an adopted server had of its own, outside of the data directory. `running`: the one that the server says
 * it reads now. Returns those that were changed.
 */
export async function freeTheirHba(
  dataDirectory: string,
  running: string | undefined,
  user: OsUser,
): Promise<string[]> {
  const conf = (await readOwnFile(join(dataDirectory, 'postgresql.conf'), user.owner)) ?? '';
  const former = takenOverFrom(conf);
  const named = former === undefined ? undefined : await hbaNamedIn(former, user);
  const paths = new Set([running, named].flatMap((path) => path ?? []));
  const changed: string[] = [];
  for (const path of paths) {
    // His alone; what he may not write is not ours to change.
    const present = (await readOwnFile(path, user.owner).catch(() => undefined)) ?? '';
    const content = withoutOurs(present);
    if (content === present) continue;
    await writeAsUser(user, path, content);
    changed.push(path);
  }
  return changed;
}

async function hbaNamedIn(configFile: string, user: OsUser): Promise<string | undefined> {
  const text = await readOwnFile(configFile, user.owner).catch(() => undefined);
  if (text === undefined) return undefined;
  return parseSettings(text).get('hba_file') ?? join(dirname(configFile), 'pg_hba.conf');
}
