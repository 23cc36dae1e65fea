// `sentineld --leave`: gives this host's PostgreSQL back to its administrator, on a host whose sentineld is stopped. Decides first and writes that
// down: from then on no sentineld starts here, and a run that was broken off is completed by the next. Must never touch data, nor stop or
// start PostgreSQL.
import { existsSync } from 'node:fs';
import { readFile, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { holderOf, lockDirectory } from '../actions/directory-lock.ts';
import { isForeignServer } from '../actions/foreign.ts';
import { instancePaths } from '../actions/instance-files.ts';
import { type NodeId, isName, nodeId } from '../base/ids.ts';
import { openGuardKeeper } from '../guard/keeper.ts';
import { findBinaries } from '../postgres/binaries.ts';
import { writeFileDurably } from '../postgres/durable-files.ts';
import { giveBackFiles, holdsOurs } from '../postgres/give-back.ts';
import { reloadPostgres } from '../postgres/lifecycle.ts';
import { findOsUser, parsePasswd } from '../postgres/os-user.ts';
import { findPostmaster } from '../postgres/processes.ts';
import { hasStandbySignal, writeStandbySignal } from '../postgres/upstream.ts';
import { isRewindInterrupted } from '../postgres/rewind-marker.ts';
import type { Config, NodeConfig } from './config.ts';
import { type Leave, mayLeave } from './leave-check.ts';
import { removableFiles } from './leave-files.ts';
import { LEFT_FILE, type OwnLog, askOthers, openOwnLog } from './leave-log.ts';
import { type Report, type Server, reportOf } from './leave-report.ts';
import {
  askServer,
  fittingSocket,
  freeTheirHba,
  isLeftAsStandby,
  ourSlots,
  waitForReload,
} from './leave-server.ts';
import { version } from './version.ts';

export interface LeaveOptions {
  readonly config: Config;
  readonly isDryRun: boolean;
  /** A person's word that no other sentineld of the cluster runs, or will. */
  readonly areOthersGone: boolean;
  readonly print: (line: string) => void;
}

type May = Extract<Leave, { readonly kind: 'may' }>;

/** Throws where this host must not leave, with the reason and what to do; nothing was changed then. */
export async function leave(options: LeaveOptions): Promise<void> {
  const { config, print } = options;
  await checkUser(config);
  const log = await openOwnLog(config);
  let release = (): void => undefined;
  try {
    release = await keepOthersOut(options);
    const decision = await decide(options, log);
    const { node } = config;
    const server = node === undefined ? undefined : await lookAt(config, node, decision, log);
    const upstream = [...(log.state?.nodes.values() ?? [])].find(({ node }) => node === decision.primary);
    const report: Report = {
      ...{ config, server, upstream, primary: decision.primary },
      ...{ note: decision.note, keepsakes: await keepsakesOf(config) },
      files: await removableFiles(config, server?.binaries.directory),
      isRoot: process.getuid?.() === 0,
    };
    if (options.isDryRun) {
      for (const line of reportOf(report, 'planned')) print(line);
      return;
    }
    await writeDecision(config, decision);
    const done = server === undefined || node === undefined ? server : await giveBack(config, node, server);
    for (const line of reportOf({ ...report, server: done }, 'done')) print(line);
  } finally {
    release();
    await log.close();
  }
}

/**
 * Throws where another process makes or replaces the data directory: `sentinelctl node create` or `clone`. Until what is returned is called
 * none of them begins; a dry run, which changes nothing, only looks.
 */
async function keepOthersOut({ config, isDryRun }: LeaveOptions): Promise<() => void> {
  const { node, stateDirectory } = config;
  if (node === undefined || !existsSync(stateDirectory)) return () => undefined;
  const { lockDirectory: directory } = instancePaths(stateDirectory, node.name);
  const lock = isDryRun ? undefined : await lockDirectory(directory, 'sentineld --leave');
  const by = lock === undefined ? await holderOf(directory) : lock.kind === 'taken' ? lock.by : undefined;
  if (by !== undefined)
    throw new Error(
      `this host cannot leave: ${by} works on ${node.dataDirectory}: wait until it has ended; nothing was changed`,
    );
  return lock?.kind === 'held' ? lock.release : () => undefined;
}

/** Opening the log writes to it, also where nothing else is changed: files of another user in there would keep sentineld from starting. */
async function checkUser({ stateDirectory }: Config): Promise<void> {
  // Whoever made the log; the directory around it may have been made beforehand, by somebody else.
  const owner = await stat(join(stateDirectory, 'raft'))
    .catch(() => stat(stateDirectory))
    .catch(() => undefined);
  const own = process.geteuid?.();
  if (owner === undefined || own === undefined || owner.uid === own) return;
  const entries = parsePasswd(await readFile('/etc/passwd', 'utf8').catch(() => ''));
  const name = [...entries.values()].find(({ uid }) => uid === owner.uid)?.name ?? `the user ${owner.uid}`;
  throw new Error(
    `the log in the state directory ${stateDirectory} belongs to ${name}: run this as ${name}, as sentineld was; nothing was changed`,
  );
}

/** As it was decided before, where an earlier run was broken off, or is repeated: nothing of the cluster has run here since. */
async function decide({ config, areOthersGone }: LeaveOptions, log: OwnLog): Promise<May> {
  const before = await readDecision(config);
  if (before !== undefined) return before;
  const { node, peer: self } = config;
  const directory = node?.dataDirectory;
  // What is left once the state directory was removed as well.
  if (log.state === undefined && log.problem === undefined && !existsSync(config.stateDirectory)) {
    if (directory === undefined || !(await holdsOurs(directory)))
      return { kind: 'may', role: (await dataOf(directory))?.role ?? 'standby', primary: undefined };
  }
  if (directory !== undefined && (await isRewindInterrupted(directory)))
    throw new Error(
      `a rewind of ${directory} was interrupted: its files do not fit together, and no PostgreSQL can run on it. Let sentineld clone it, or remove it (with ${directory}.rewinding); nothing was changed`,
    );
  const verdict = mayLeave({
    ...{ self, state: log.state, last: log.last, problem: log.problem, areOthersGone },
    node: node && { name: node.name, group: node.group },
    others: await askOthers(config, log.state),
    data: await dataOf(directory),
  });
  if (verdict.kind === 'refused')
    throw new Error(
      `this host cannot leave: ${verdict.reason}${log.problem === undefined ? '' : ` (${log.problem})`}`,
    );
  return verdict;
}

async function dataOf(
  directory: string | undefined,
): Promise<{ readonly role: 'primary' | 'standby'; readonly isRunning: boolean } | undefined> {
  if (directory === undefined || !existsSync(join(directory, 'PG_VERSION'))) return undefined;
  const isStandby = await hasStandbySignal(directory);
  return { role: isStandby ? 'standby' : 'primary', isRunning: findPostmaster(directory) !== undefined };
}

const decisionPath = (config: Config): string => join(config.stateDirectory, LEFT_FILE);

async function readDecision(config: Config): Promise<May | undefined> {
  const text = await readFile(decisionPath(config), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const { role, primary } = JSON.parse(text) as Partial<May>;
  return { kind: 'may', role: role === 'primary' ? 'primary' : 'standby', primary };
}

async function writeDecision(config: Config, { role, primary }: May): Promise<void> {
  if (!existsSync(config.stateDirectory) || existsSync(decisionPath(config))) return;
  const content = `${JSON.stringify({ role, primary, at: new Date().toISOString(), version: version() })}\n`;
  await writeFileDurably({ path: decisionPath(config), content, mode: 0o600, owner: undefined });
}

async function lookAt(
  config: Config,
  node: NodeConfig,
  { role }: May,
  log: OwnLog,
): Promise<Server | undefined> {
  if (!existsSync(join(node.dataDirectory, 'PG_VERSION'))) return undefined;
  const user = await findOsUser({ configured: node.osUser });
  const { dataDirectory } = node;
  const binaries = await findBinaries({
    ...{ user, binDirectory: node.binDirectory, dataDirectory },
    privateDirectory: join(config.stateDirectory, 'postgresql'),
  });
  const nodes = knownNodes(config, log);
  const asked = await askServer(config, node, user, nodes);
  const postmaster = findPostmaster(dataDirectory);
  const isOurs = await holdsOurs(dataDirectory, user.owner);
  const found = asked?.isStandby ?? (await hasStandbySignal(dataDirectory));
  return {
    ...{ node, user, binaries, asked, postmaster, isOurs },
    isForeign: isForeignServer(postmaster, node),
    slots: asked === undefined ? await ourSlots(dataDirectory, nodes) : asked.slots,
    isStandby: isLeftAsStandby({ role, isOurs, found }),
    ...{ kept: new Map<string, string>(), theirHba: [], notes: [] },
  };
}

/** Nodes whose members may have had slots here: of the log, those that were taken out too, and, where it has none, named as their peers. */
function knownNodes({ peers }: Config, { state }: OwnLog): NodeId[] {
  const removed = [...(state?.removed.values() ?? [])].map(({ node }) => node);
  return [...(state?.nodes.keys() ?? []), ...removed, ...peers.flatMap(({ peer }) => asNode(peer))];
}

const asNode = (name: string): NodeId[] => (isName(name) ? [nodeId(name)] : []);

async function giveBack(config: Config, node: NodeConfig, server: Server): Promise<Server> {
  const { user } = server;
  const { dataDirectory } = node;
  await endGuard(config, node);
  if (server.isStandby && findPostmaster(dataDirectory) === undefined)
    await writeStandbySignal(dataDirectory, user.owner);
  // Before pg_hba.conf in the data directory, which is what says that there is one elsewhere.
  const theirHba = await freeTheirHba(dataDirectory, server.asked?.hba, user);
  const { kept } = await giveBackFiles({
    ...{ dataDirectory, owner: user.owner },
    access: {
      osUser: user.name,
      hba: {
        superuser: config.users.superuser.name,
        replicationUser: config.users.replication?.name ?? '',
        probeUser: config.users.probe.name,
        memberNetworks: ['0.0.0.0/0', '::/0'],
        userNetworks: [],
        extraLines: [...node.hba, ...(await adoptedLines(config, node))],
      },
    },
  });
  const notes = await fittingSocket(server, dataDirectory);
  if (reloadPostgres(dataDirectory)) notes.push(...(await waitForReload(config, node, user)));
  await removeSecrets(config, node);
  return { ...server, kept, theirHba, notes, postmaster: findPostmaster(dataDirectory) };
}

async function adoptedLines(config: Config, node: NodeConfig): Promise<string[]> {
  const { adoptedHbaFile } = instancePaths(config.stateDirectory, node.name);
  const text = await readFile(adoptedHbaFile, 'utf8').catch(() => '');
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

/** Directories of the state directory that hold something for a person. */
async function keepsakesOf({ stateDirectory, node }: Config): Promise<string[]> {
  if (node === undefined) return [];
  const { divergedDirectory, unarchivedDirectory } = instancePaths(stateDirectory, node.name);
  const found = [divergedDirectory, unarchivedDirectory].map(async (path) =>
    (await readdir(path).catch(() => [])).length > 0 ? [path] : [],
  );
  return (await Promise.all(found)).flat();
}

/** It would stop a primary that nobody can prove any more to be one. */
async function endGuard(config: Config, node: NodeConfig): Promise<void> {
  const { guardDirectory: directory } = instancePaths(config.stateDirectory, node.name);
  if (!existsSync(directory)) return;
  const keeper = openGuardKeeper({
    ...{ directory, version: version(), log: () => undefined, onChange: () => undefined },
    program: fileURLToPath(new URL('../guard/main.js', import.meta.url)),
  });
  try {
    await keeper.dismiss();
  } finally {
    keeper.close();
  }
}

async function removeSecrets(config: Config, node: NodeConfig): Promise<void> {
  const { passfileDirectory, guardDirectory } = instancePaths(config.stateDirectory, node.name);
  for (const path of [passfileDirectory, guardDirectory]) await rm(path, { recursive: true, force: true });
}
