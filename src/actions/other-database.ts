// A data directory that holds another database than the group's, such as one that pg_upgrade has made: what is said of it, and what has to be so
// before a person's word makes it the group's. Changes nothing on disk.
import { readFile, readdir, readlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import type { ControlData } from '../postgres/control-data.ts';
import { lostTablespaces } from '../postgres/version-directory.ts';
import type { AgentContext } from './context.ts';
import { type DataDirectory, inspectDataDirectory } from './data-directory.ts';
import { compareWithBefore, countDatabases } from './database-before.ts';

export interface OfferedDatabase {
  /** System identifiers: of the group's database, and of the one in the data directory. */
  readonly from: string;
  readonly to: string;
  /** For a person: where it is, and what it is like. */
  readonly text: string;
}

/** The data directory of the primary holds another database, which is to be the group's. `propose` resolves with what was done. */
export interface ReplacementRequest {
  readonly kind: 'replace-database';
  readonly propose: (offer: OfferedDatabase) => Promise<string>;
}

/** Throws why the database that is here cannot become the group's. */
export async function offerDatabase(context: AgentContext, { propose }: ReplacementRequest): Promise<string> {
  const duty = context.duty();
  const from = context.group()?.systemIdentifier;
  // After a recovery of the log all nodes are cut off.
  const isFit = duty.kind === 'primary' || duty.kind === 'create' || duty.kind === 'cut';
  if (!isFit || from === undefined)
    throw new Error(`its part is another by now (${duty.kind}); nothing was done`);
  if (!(await context.confirms(duty.kind, duty)))
    throw new Error('the log cannot be read through a leader, or says otherwise; nothing was done');
  const { dataDirectory, node, binaries } = context.instance.options;
  if (context.instance.postmaster() !== undefined)
    throw new Error(
      `PostgreSQL runs in ${dataDirectory}: stop it first, with pg_ctl stop; where it has run since pg_upgrade was there, that has to be run again`,
    );
  const data = await inspectDataDirectory(dataDirectory, node);
  if (data.kind !== 'ready')
    throw new Error(
      data.kind === 'absent' ? `there is no data directory in ${dataDirectory}` : `not taken: ${data.reason}`,
    );
  const { systemIdentifier: to, state } = data.control;
  if (from === to)
    throw new Error(
      `${dataDirectory} holds the database that the group has already (system identifier ${to}): node.data_directory has to name the new one, and sentineld has to be restarted for that. If it has run since pg_upgrade was there, run that again first`,
    );
  const version = (await readFile(join(dataDirectory, 'PG_VERSION'), 'utf8')).trim();
  if (version !== `${binaries.version}`)
    throw new Error(
      `${dataDirectory} is of PostgreSQL ${version}, and sentineld runs ${binaries.directory} (${binaries.version}): restart sentineld, or set node.bin_directory`,
    );
  const names = await readdir(dataDirectory);
  if (state !== 'shut down')
    throw new Error(
      `${dataDirectory} was not shut down cleanly as a primary (it is "${state}"): while sentineld is stopped, ${names.includes(STANDBY) ? 'pg_ctl start, pg_ctl promote and pg_ctl stop make one of that standby' : 'start it with pg_ctl start and stop it with pg_ctl stop'}, or have pg_upgrade make it anew`,
    );
  const stray = UNFINISHED.find((name) => names.includes(name));
  if (stray !== undefined)
    throw new Error(
      `${dataDirectory} holds ${stray}: it is a standby's, or a copy that was never recovered; nothing was done`,
    );
  if (names.includes(UPGRADING))
    throw new Error(
      `${dataDirectory} holds ${UPGRADING}: pg_upgrade has not ended, or it has failed; if its last run has said that the upgrade is complete, remove that directory`,
    );
  await mustHaveTablespaces(dataDirectory);
  const compared = await compareWithBefore(context, from, data);
  await mustHavePort(context);
  const count = await countDatabases(dataDirectory);
  const text = `${dataDirectory}, PostgreSQL ${version}, system identifier ${to}, ${count} databases with the templates; ${compared}`;
  return propose({ from, to, text });
}

const STANDBY = 'standby.signal';
const UNFINISHED = [STANDBY, 'recovery.signal', 'backup_label', 'tablespace_map'];

/** What pg_upgrade (from 15 on) writes down in the new data directory while it runs, and leaves there where it fails. */
const UPGRADING = 'pg_upgrade_output.d';

/** PostgreSQL starts without: what is in them would be missing from then on. */
async function mustHaveTablespaces(dataDirectory: string): Promise<void> {
  const [lost] = await lostTablespaces(dataDirectory);
  if (lost === undefined) return;
  const location = await readlink(dirname(lost)).catch(() => dirname(lost));
  throw new Error(
    `${dataDirectory} has a tablespace at ${location}, and there is no ${basename(lost)}, which holds its tables, indexes and databases there: put that back (a volume that is not mounted, or what was removed with the files of another version), or do without this database; nothing was done`,
  );
}

/** The old server may still run, out of its own directory: writes that it takes would be lost. */
async function mustHavePort(context: AgentContext): Promise<void> {
  const { port, listenAddresses } = context.instance.options;
  for (const host of listenAddresses.flatMap((each) => (each === '*' ? EVERYWHERE : [each]))) {
    const code = await tryToListen(host, port);
    if (code === 'EADDRINUSE')
      throw new Error(
        `something listens on port ${port} here, such as the server of the database before: stop it first. If it has run since pg_upgrade was there, what it took is not in the new one: run that again`,
      );
    // A host without IPv6 has no such address.
    const isMissing = code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL';
    if (code !== undefined && !(isMissing && host === EVERYWHERE[1]))
      throw new Error(`PostgreSQL could not listen on port ${port} of ${host} (${code}); nothing was done`);
  }
}

const EVERYWHERE = ['0.0.0.0', '::'];

/** As PostgreSQL will. The error's code, undefined where it can. */
const tryToListen = (host: string, port: number): Promise<string | undefined> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });

/** Throws where a group that has a database is to begin with another one, or with an empty one. */
export function mustBeDatabaseOfGroup(context: AgentContext, data: DataDirectory): void {
  const expected = context.group()?.systemIdentifier;
  if (expected === undefined) return;
  const { dataDirectory } = context.instance.options;
  const wanted = `the group is to go on with the database of system identifier ${expected}; set node.data_directory to where that is, and restart sentineld`;
  if (data.kind === 'absent')
    throw new Error(`cannot go on: there is no data directory in ${dataDirectory}, and ${wanted}`);
  // Also what was being restored from a backup, for another group or an earlier one.
  if (data.kind !== 'ready') throw new Error(`cannot go on: ${data.reason}, and ${wanted}`);
  const other = otherDatabaseText(context, data.control);
  if (other !== undefined) throw new Error(`cannot go on: ${other}`);
}

/** Throws where the data directory holds another database than the group's: what it holds says nothing about the group's. */
export function mustNotBeOther(context: AgentContext, data: DataDirectory): void {
  const other = data.kind === 'ready' ? otherDatabaseText(context, data.control) : undefined;
  if (other !== undefined) throw new Error(`not reported where it stands: ${other}`);
}

/** Of the primary, for people; undefined where its data directory holds the group's database. */
export function otherDatabaseText(
  context: AgentContext,
  control: Pick<ControlData, 'systemIdentifier'>,
): string | undefined {
  const { node } = context.instance.options;
  const other = othersText(context, control);
  return (
    other &&
    `${other}; put node.data_directory back and restart sentineld, or, where the group is to go on with this one, as after pg_upgrade: sentinelctl node replace-database ${node}`
  );
}

/** Why no standby is made of the data directory; undefined where it holds the group's database. */
export function noStandbyText(
  context: AgentContext,
  control: Pick<ControlData, 'systemIdentifier'>,
): string | undefined {
  const other = othersText(context, control);
  return (
    other && `cannot make a standby: ${other}; move it away, or have node.data_directory name another place`
  );
}

function othersText(
  context: AgentContext,
  { systemIdentifier }: Pick<ControlData, 'systemIdentifier'>,
): string | undefined {
  const expected = context.group()?.systemIdentifier;
  return expected === undefined || expected === systemIdentifier
    ? undefined
    : `${context.instance.options.dataDirectory} holds another database (system identifier ${systemIdentifier}, the group has ${expected})`;
}
