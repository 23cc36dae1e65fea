// This host as its configuration describes it: the node, PostgreSQL's user and programs, the directories of the agent. Makes those that
// are missing, and keeps everybody else out of the data directory while it is worked on; a dry run changes nothing.
import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { holderOf, lockDirectory } from '../actions/directory-lock.ts';
import { instancePaths } from '../actions/instance-files.ts';
import { endInterruptedRejoin } from '../actions/interrupted-rejoin.ts';
import { checkEnvironment } from '../daemon/config-environment.ts';
import { ConfigError } from '../daemon/config-problems.ts';
import { type Config, type NodeConfig, loadConfig } from '../daemon/config.ts';
import { type Binaries, findBinaries } from '../postgres/binaries.ts';
import { finishInterruptedClone } from '../postgres/clone.ts';
import { removeInterruptedInit } from '../postgres/initdb.ts';
import { type OsUser, findOsUser, parsePasswd } from '../postgres/os-user.ts';
import { makeDirectory } from '../postgres/own-directories.ts';
import { type DataDirectory, inspectDataDirectory } from '../actions/data-directory.ts';
import { LocalError, type LocalRequest, refusal } from './request.ts';

export interface LocalHost {
  readonly config: Config;
  readonly node: NodeConfig;
  readonly user: OsUser;
  readonly paths: ReturnType<typeof instancePaths>;
}

/** Throws {@link LocalError} where the configuration, or this host, cannot be used. */
export async function openHost(request: LocalRequest): Promise<LocalHost> {
  const { config: path, peer, env } = request;
  let config: Config;
  try {
    config = loadConfig({ path, peer, env });
  } catch (error) {
    if (error instanceof ConfigError) throw new LocalError('usage', error.message, { cause: error });
    throw error;
  }
  const { node } = config;
  if (node === undefined)
    throw new LocalError('usage', `${path} has no "node": a witness has no data directory`);
  for (const warning of [...config.warnings, ...(await checkHost(config))]) request.note(warning);
  await checkOwner(config.stateDirectory);
  const user = await findOsUser({ configured: node.osUser });
  return { config, node, user, paths: instancePaths(config.stateDirectory, node.name) };
}

/** Throws {@link LocalError} where this host cannot be used; warnings for people. */
async function checkHost(config: Config): Promise<readonly string[]> {
  try {
    return await checkEnvironment(config);
  } catch (error) {
    if (error instanceof ConfigError) throw refusal(error.message);
    throw error;
  }
}

/**
 * Throws where root would work in a directory of another user, who could lead it elsewhere by links, and whose sentineld could not use what root
 * makes in it.
 */
export async function checkOwner(stateDirectory: string, uid = process.getuid?.()): Promise<void> {
  const found = await stat(stateDirectory).catch(() => undefined);
  if (uid !== 0 || found === undefined || found.uid === 0) return;
  const users = parsePasswd(await readFile('/etc/passwd', 'utf8').catch(() => ''));
  const name = [...users.values()].find((each) => each.uid === found.uid)?.name ?? `#${found.uid}`;
  throw refusal(
    `the state directory ${stateDirectory} belongs to ${name}, as whom sentineld runs: run this as ${name} too, not as root (sudo -u ${name} sentinelctl ...)`,
  );
}

/**
 * Runs `work` while nobody else makes or replaces the data directory, with what an earlier attempt has left put right or away before. It is
 * run dry first, so that what is refused has changed nothing. A dry run only looks whether somebody else is at work. `what` is for others to
 * read.
 */
export async function alone<R extends LocalRequest, T>(
  request: R,
  host: LocalHost,
  what: string,
  work: (request: R, data: DataDirectory) => Promise<T>,
): Promise<T> {
  const { dataDirectory, name } = host.node;
  const { lockDirectory: directory } = host.paths;
  const taken = (by: string): LocalError =>
    refusal(`${by} works on ${dataDirectory}: wait until it has ended`);
  const by = await holderOf(directory);
  if (by !== undefined) throw taken(by);
  const dry = request.dryRun ? request : { ...request, dryRun: true, note: () => undefined };
  const outcome = await work(dry, await inspectDataDirectory(dataDirectory, name));
  if (request.dryRun) return outcome;
  await makeDirectories(request, host);
  const lock = await lockDirectory(directory, what);
  if (lock.kind === 'taken') throw taken(lock.by);
  try {
    // Somebody may have had this host leave the cluster while the dry run asked the peers.
    await checkHost(host.config);
    const tidy = { dataDirectory, user: host.user, onNote: request.note };
    await endInterruptedRejoin({ ...host.paths, dataDirectory, user: host.user });
    await finishInterruptedClone(tidy);
    await removeInterruptedInit(tidy);
    return await work(request, await inspectDataDirectory(dataDirectory, name));
  } finally {
    lock.release();
  }
}

async function makeDirectories({ note }: LocalRequest, { config, user, paths }: LocalHost): Promise<void> {
  const { stateDirectory } = config;
  if ((await stat(stateDirectory).catch(() => undefined)) === undefined && process.getuid?.() === 0)
    note(
      `${stateDirectory} is made, and belongs to root: where sentineld is another user, give it to that one with all that is in it`,
    );
  await mkdir(stateDirectory, { recursive: true, mode: 0o755 });
  await makeDirectory(user, paths.passfileDirectory);
  await makeDirectory(user, programsDirectory(config));
}

const programsDirectory = ({ stateDirectory }: Config): string => join(stateDirectory, 'postgresql');

/** PostgreSQL's programs, as sentineld finds them. Undefined in a dry run where npm's are to be copied first. */
export async function findPrograms(
  { dryRun }: LocalRequest,
  { config, node, user }: LocalHost,
): Promise<Binaries | undefined> {
  const { binDirectory, dataDirectory } = node;
  const privateDirectory = dryRun ? undefined : programsDirectory(config);
  const found = findBinaries({ user, binDirectory, dataDirectory, privateDirectory });
  // checkEnvironment has seen that there are some.
  return dryRun ? found.catch(() => undefined) : found;
}
