// A data directory that somebody else has made and PostgreSQL has left cleanly becomes the first one of a group: whether it may, and what of
// its configuration is taken along. Never touches its data.
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type ConfigTree, readConfigTree, settingsOfTree } from '../postgres/config-files.ts';
import { type ControlData, endedAsStandby } from '../postgres/control-data.ts';
import { writeFileDurably } from '../postgres/durable-files.ts';
import {
  type HbaLines,
  hbaLines,
  settingsOfCommandLine,
  isToDecode,
  takenOverConfiguration,
} from '../postgres/foreign-server.ts';
import { MEMBER_FILE, readMemberFile } from '../postgres/member.ts';
import { managerText, otherManagers, runningProcesses } from '../postgres/other-managers.ts';
import { startOfOs } from '../postgres/os-start.ts';
import { allGone } from '../postgres/processes.ts';
import { SETTINGS_FILE, readSettings } from '../postgres/settings.ts';
import { configReaderOf, readAsUser, realPathAsUser, replaceFileAsUser } from '../postgres/user-files.ts';
import type { LocalHost } from './host.ts';

/** Why it cannot become the first one; each a sentence without its end. */
export async function* whyNotTaken(host: LocalHost, control: ControlData): AsyncIterable<string> {
  const { config, node } = host;
  const { dataDirectory } = node;
  const names = await readdir(dataDirectory);
  const running = allGone({ dataDirectory, sharedMemoryId: undefined });
  if (!running.gone) {
    yield `PostgreSQL runs in ${dataDirectory} (processes ${running.pids.join(', ')}): stop it first; sentinelctl adopt takes over servers that go on running`;
    return;
  }
  yield* whyNotClean(dataDirectory, names, control);
  const member = await readMemberFile(dataDirectory);
  if (member !== undefined)
    yield `${dataDirectory} is a copy of the data directory of node ${member.node} of pg-sentinel, by its ${MEMBER_FILE}: clone this node instead; where it is to begin a new cluster, remove that file`;
  else if (names.includes(MEMBER_FILE))
    yield `${join(dataDirectory, MEMBER_FILE)} cannot be read: it belongs to another cluster of pg-sentinel; where this is to begin a new one, remove that file`;
  const cluster = (await readSettings(dataDirectory)).get('cluster_name');
  if (cluster !== undefined && cluster !== config.cluster)
    yield `${dataDirectory} belongs to cluster ${cluster} of pg-sentinel, by its ${SETTINGS_FILE}; where it is to begin a new cluster, remove that file`;
  for (const link of await readdir(join(dataDirectory, 'pg_tblspc')).catch(() => []))
    if ((await stat(join(dataDirectory, 'pg_tblspc', link)).catch(() => undefined)) === undefined)
      yield `its tablespace pg_tblspc/${link} leads nowhere: restore what it leads to`;
  for (const manager of await otherManagers(await runningProcesses(), dataDirectory))
    yield `${managerText(manager)} runs on this host and would act on it: stop it first`;
  const files = await configurationOf(host);
  const byOs = startOfOs({ configFile: files.configFile, unit: undefined });
  if (byOs !== undefined) yield byOs;
  const { missing, unreadable } = files.tree;
  for (const path of missing.filter((each) => each !== join(dataDirectory, 'postgresql.conf')))
    yield `its configuration is not complete: there is no ${path}`;
  for (const [path, reason] of unreadable) yield `its configuration cannot be read, ${path}: ${reason}`;
  const { problem } = await hbaOf(host, files.hbaFile);
  if (problem !== undefined) yield problem;
}

async function* whyNotClean(
  dataDirectory: string,
  names: readonly string[],
  control: ControlData,
): AsyncIterable<string> {
  for (const name of ['backup_label', 'tablespace_map'])
    if (names.includes(name))
      yield `${dataDirectory} holds ${name}: it is a copy of a server that ran, and was never recovered; start PostgreSQL on it once and stop it`;
  const { state } = control;
  const isStandby = endedAsStandby(control);
  const signal = names.find((name) => name === 'standby.signal' || name === 'recovery.signal');
  if (isStandby || signal !== undefined) {
    const why = isStandby ? `it was ${state}` : `it holds ${signal}`;
    yield `${dataDirectory} is a standby's (${why}): promote it with pg_ctl promote and stop it, or clone this node from its primary's group`;
  } else if (state !== 'shut down')
    yield `${dataDirectory} was not shut down cleanly (it was "${state}"): start PostgreSQL on it once and stop it with pg_ctl stop`;
  await Promise.resolve();
}

interface ConfigurationFiles {
  readonly configFile: string;
  readonly hbaFile: string;
  readonly identFile: string;
  readonly tree: ConfigTree;
}

/**
 * Those that its server was started with last, by its postmaster.opts, or those of Debian's cluster of that name; else its own.
 * PostgreSQL's user names them: they are read with his rights.
 */
async function configurationOf({ node, user }: LocalHost): Promise<ConfigurationFiles> {
  const { dataDirectory } = node;
  const options = (await readAsUser(user, join(dataDirectory, 'postmaster.opts'))) ?? '';
  const given = settingsOfCommandLine(options).get('config_file');
  const inside = join(dataDirectory, 'postgresql.conf');
  const debian = join(
    '/etc/postgresql',
    basename(dirname(dataDirectory)),
    basename(dataDirectory),
    'postgresql.conf',
  );
  const isThere = async (path: string): Promise<boolean> => (await realPathAsUser(user, path)) !== undefined;
  let configFile = inside;
  const started = given === undefined ? undefined : await realPathAsUser(user, given);
  if (started !== undefined) configFile = started;
  else if (!(await isThere(inside)) && (await isThere(debian))) configFile = debian;
  const tree = await readConfigTree(configReaderOf(user), configFile);
  const settings = new Map(settingsOfTree(tree).map(({ name, value }) => [name, value]));
  const placed = (name: string, fallback: string): string =>
    resolve(dataDirectory, settings.get(name) ?? fallback);
  return {
    configFile,
    hbaFile: placed('hba_file', 'pg_hba.conf'),
    identFile: placed('ident_file', 'pg_ident.conf'),
    tree,
  };
}

/** What is taken along, each a part of a sentence; for a plan. */
export async function takenAlong(host: LocalHost): Promise<string[]> {
  const { node, paths } = host;
  const { configFile, hbaFile, identFile } = await configurationOf(host);
  const outside = (path: string): boolean => dirname(path) !== node.dataDirectory;
  const { kept } = await hbaOf(host, hbaFile);
  return [
    ...(outside(configFile) ? [`the settings of ${configFile} are written to its postgresql.conf`] : []),
    ...(outside(identFile) ? [`${identFile} is copied to its pg_ident.conf`] : []),
    ...(kept.length > 0 ? [`${kept.length} lines of ${hbaFile} are kept in ${paths.adoptedHbaFile}`] : []),
  ];
}

/** Writes what is taken along; may be repeated. */
export async function takeAlong(host: LocalHost): Promise<void> {
  const { node, paths, user } = host;
  const { dataDirectory } = node;
  const { configFile, hbaFile, identFile, tree } = await configurationOf(host);
  const { kept } = await hbaOf(host, hbaFile);
  if (kept.length > 0) {
    const lines = ['# Taken over with a data directory; may be edited.', ...kept, ''];
    await writeAdoptedHba(paths.adoptedHbaFile, lines);
  }
  const identPath = join(dataDirectory, 'pg_ident.conf');
  if (identFile !== identPath) {
    await replaceFileAsUser(user, identPath, (await readAsUser(user, identFile)) ?? '');
  }
  const path = join(dataDirectory, 'postgresql.conf');
  if (configFile === path) return;
  const settings = settingsOfTree(tree);
  const content = takenOverConfiguration({
    ...{ settings, configFile, isInside: false, present: '' },
    decodes: isToDecode(settings, false),
  });
  if (content !== undefined) await replaceFileAsUser(user, path, content);
}

/** None where pg-sentinel has written the file. */
async function hbaOf({ user }: LocalHost, path: string): Promise<Pick<HbaLines, 'kept' | 'problem'>> {
  const text = (await readAsUser(user, path)) ?? '';
  return text.startsWith('# Written by pg-sentinel') ? { kept: [], problem: undefined } : hbaLines(text);
}

/** Read by sentineld, as which this process runs: it is its own, as in an adoption. */
export const writeAdoptedHba = (path: string, lines: readonly string[]): Promise<void> =>
  writeFileDurably({ path, content: lines.join('\n'), mode: 0o600, owner: undefined });
