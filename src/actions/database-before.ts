// Where this node has last run its group's database: kept beyond a restart of sentineld with another data directory, so that whoever offers the
// group another database (other-database.ts) is told where that does not hold all that was written. Must never stand in the way of a pass.
import { existsSync } from 'node:fs';
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { answers } from '../postgres/answering.ts';
import { type ControlData, parseControlData, readControlData } from '../postgres/control-data.ts';
import { readOwnFile, writeFileDurably } from '../postgres/durable-files.ts';
import { type Member, readMemberFile } from '../postgres/member.ts';
import { findPostmaster, isSameDirectory } from '../postgres/processes.ts';
import { changeSettings, readSettings, renderSynchronousStandbys } from '../postgres/settings.ts';
import type { AgentContext } from './context.ts';

interface Known {
  readonly dataDirectory: string;
  readonly systemIdentifier: string;
  /** Seconds since 1970: when PostgreSQL was last started on it; 0 where that is not known. */
  readonly startedAtS: number;
  /** Where it was before, as long as that has yet to be held back. */
  readonly left?: string;
}

const contentOf = (known: Known): string => `${JSON.stringify(known)}\n`;

const writeKnown = ({ instance }: AgentContext, known: Known): Promise<void> =>
  writeFileDurably({
    path: instance.options.databaseFile,
    content: contentOf(known),
    mode: 0o600,
    owner: undefined,
  });

/** Notes where the group's database is, once for each start of it. */
export async function rememberDatabase(context: AgentContext): Promise<void> {
  const { instance } = context;
  const systemIdentifier = context.group()?.systemIdentifier;
  const postmaster = instance.postmaster();
  if (postmaster === undefined || systemIdentifier === undefined) return;
  const data = await context.dataDirectory().catch(() => undefined);
  if (data?.kind !== 'ready' || data.control.systemIdentifier !== systemIdentifier) return;
  // Another node's, which a wrong configuration names, or one that is still being adopted.
  if (data.member === undefined) return;
  // Somebody may have started an old copy that the configuration names by mistake.
  if (instance.isForeign() && context.group()?.toAdopt.includes(instance.options.node) !== true) return;
  const { notes } = context;
  if (performance.now() < (notes.unknownDatabase?.untilMs ?? 0)) return;
  try {
    await context.once(`database ${systemIdentifier}`, async () => {
      const { dataDirectory, databaseFile } = instance.options;
      const known: Known = { dataDirectory, systemIdentifier, startedAtS: postmaster.startedAtS ?? 0 };
      const before = await readKnown(databaseFile);
      if (before !== undefined && contentOf(before) === contentOf(known)) return;
      const left = before?.dataDirectory === dataDirectory ? before.left : before?.dataDirectory;
      const noted = left === undefined ? known : { ...known, left };
      if (before === undefined || contentOf(before) !== contentOf(noted)) await writeKnown(context, noted);
      if (left === undefined) return;
      await holdBack(context, left);
      await writeKnown(context, known);
    });
    notes.unknownDatabase = undefined;
  } catch (error) {
    const message = 'where the database is could not be noted, or what it left not held back; trying again';
    warnOnce(context, { message, error: (error as Error).message, againAfterMs: AGAIN_MS });
  }
}

/** A start that fails is tried again and again. */
function warnOnce(
  { notes, log }: AgentContext,
  {
    message,
    error,
    againAfterMs = 0,
  }: { readonly message: string; readonly error: string; readonly againAfterMs?: number },
): void {
  if (notes.unknownDatabase?.error !== error) log('warn', message, { error });
  notes.unknownDatabase = { untilMs: performance.now() + againAfterMs, error };
}

/** Somebody may compare the two, with the one before on another port. */
const AGAIN_MS = 10_000;

/** The group is about to begin with another database than this node has run last: see {@link holdBack}. Throws nothing. */
export async function holdBackBefore(context: AgentContext): Promise<void> {
  const systemIdentifier = context.group()?.systemIdentifier;
  const before = await readKnown(context.instance.options.databaseFile);
  if (before === undefined || systemIdentifier === undefined) return;
  if (before.systemIdentifier === systemIdentifier) return;
  await holdBack(context, before.dataDirectory).catch((error: unknown) =>
    warnOnce(context, {
      message: `what is started in ${before.dataDirectory} may acknowledge writes that nobody has`,
      error: (error as Error).message,
    }),
  );
}

/**
 * Nobody looks at the data directory that this node had before: a server that somebody starts in it must acknowledge nothing, also where its last rule
 * was to be alone. Before it becomes the node's again its settings are written anew.
 */
async function holdBack(context: AgentContext, left: string): Promise<void> {
  const { dataDirectory, node, clusterName, user } = context.instance.options;
  if (left === dataDirectory) return;
  if (!(await answers(left))) {
    warnOnce(context, {
      message: `${left}, the data directory before, does not answer: see that nobody starts what is in it`,
      error: `no answer from ${left}`,
    });
    return;
  }
  if (isSameDirectory(left, dataDirectory) || (await readMemberFile(left))?.node !== node) return;
  if (findPostmaster(left) !== undefined)
    throw new Error(`PostgreSQL runs in ${left}, the data directory before`);
  const present = await readSettings(left);
  const nobody = renderSynchronousStandbys({ kind: 'nobody' });
  if (present.get('cluster_name') !== clusterName || present.get(STANDBYS) === nobody) return;
  await changeSettings({ dataDirectory: left, changes: { [STANDBYS]: nobody }, owner: user.owner });
  context.log('info', `the node is in ${dataDirectory} now: nobody is acknowledged anything in ${left}`);
}

const STANDBYS = 'synchronous_standby_names';
/** Of the file. */
const BYTES_MAX = 1 << 16;

async function readKnown(path: string): Promise<Known | undefined> {
  try {
    const text = (await readOwnFile(path, undefined, BYTES_MAX)) ?? '';
    const { dataDirectory, systemIdentifier, startedAtS, left } = JSON.parse(text) as Partial<Known>;
    if (typeof dataDirectory !== 'string' || typeof systemIdentifier !== 'string') return undefined;
    const known = { dataDirectory, systemIdentifier, startedAtS: Number(startedAtS ?? 0) };
    return typeof left === 'string' ? { ...known, left } : known;
  } catch {
    return undefined;
  }
}

/** The group's database was found in another place than it is expected in: known beyond the end of the guard, which was told of that. */
export async function rememberPlace(context: AgentContext, place: string): Promise<void> {
  const systemIdentifier = context.group()?.systemIdentifier;
  if (systemIdentifier === undefined) return;
  if ((await readKnown(context.instance.options.databaseFile)) !== undefined) return;
  await writeKnown(context, { dataDirectory: place, systemIdentifier, startedAtS: 0 }).catch(
    (error: unknown) =>
      context.log('warn', `that the database is in ${place} could not be noted`, {
        error: (error as Error).message,
      }),
  );
}

/** Where this node has last run the group's database; undefined: not known, or it has run another one since. */
export async function rememberedPlace({ instance, group }: AgentContext): Promise<string | undefined> {
  const known = await readKnown(instance.options.databaseFile);
  return known?.systemIdentifier === group()?.systemIdentifier ? known?.dataDirectory : undefined;
}

const ANEW =
  'what was written to it since is not in the new one: shut it down, and have pg_upgrade make the new one anew, in an empty data directory';
/** By pg_restore, or by logical replication: nothing here says how much of the one before it has. */
const MADE_OTHERWISE = 'One that was made in another way is to be a group of its own';

/**
 * What a person has to know of how the database in the data directory compares with the one of system identifier `from`, which the group has. Throws
 * where it does not hold the last that was written to that.
 */
export async function compareWithBefore(
  context: AgentContext,
  from: string,
  offered: { readonly control: ControlData; readonly member: Member | undefined },
): Promise<string> {
  const { dataDirectory, databaseFile } = context.instance.options;
  const known = await readKnown(databaseFile);
  const place = known?.systemIdentifier === from ? known.dataDirectory : undefined;
  if (place !== undefined && !(await answers(place)))
    throw new Error(`${place}, where this node has run the database before, does not answer`);
  const isElsewhere = place !== undefined && !isSameDirectory(place, dataDirectory);
  const running = isElsewhere ? findPostmaster(place) : undefined;
  if (running !== undefined)
    throw new Error(
      `PostgreSQL runs in ${place}, with the database before (process ${running.pid}); ${ANEW}`,
    );
  const offeredAt = timeOf(offered.control);
  // A log that was recovered may have forgotten that.
  if (known?.systemIdentifier === offered.control.systemIdentifier)
    return `the one that this node has run last, until ${offeredAt}`;
  // pg_upgrade writes into a data directory that initdb has made, and that was nobody's.
  if (offered.member !== undefined)
    return `one that this node had before, last written at ${offeredAt}: all that was written since is lost`;
  const madeAtS = await madeAtOf(dataDirectory, offered.control);
  if (madeAtS === undefined)
    return unsure('when it was made cannot be told: it has not the databases of one');
  if (known?.systemIdentifier === from && known.startedAtS > madeAtS)
    throw new Error(
      `the database before was started here at ${timeOf({ writtenAtS: known.startedAtS })}, and the new one was made before that (${timeOf({ writtenAtS: madeAtS })}); ${ANEW}. ${MADE_OTHERWISE}`,
    );
  if (place === undefined) return unsure('it is not known here where the database before is');
  if (!isElsewhere) return unsure('the database before was in this very place');
  const isLinked = !existsSync(join(place, 'global', 'pg_control'));
  const control = await (isLinked ? readRenamed(place) : readControlData(place)).catch(() => undefined);
  if (control?.systemIdentifier !== from) return unsure(`the database before is not in ${place} any more`);
  mustBeFinished(dataDirectory, { place, control, offered: offered.control, madeAtS });
  return isLinked
    ? `made from that in ${place}, which cannot be started any more`
    : `made after the database before, in ${place}, was shut down`;
}

/** By `pg_upgrade --link`: what is there is the new one's as well. */
async function readRenamed(place: string): Promise<ControlData | undefined> {
  const parsed = parseControlData(await readFile(join(place, 'global', 'pg_control.old')));
  return parsed.kind === 'parsed' ? parsed.control : undefined;
}

/**
 * Seconds since 1970. The control file says when it was last written to, which a start for a look moves on. pg_upgrade makes all databases anew, after it
 * has stopped the old server for the last time, and nobody writes this file of them later. `template1` is always among them, under the number that it had
 * in the old one: another one than 1 where that was itself upgraded to a version before 15.
 */
async function madeAtOf(dataDirectory: string, { writtenAtS }: ControlData): Promise<number | undefined> {
  const numbers = (await databasesOf(dataDirectory)).filter((number) => !AS_INITDB_MADE.includes(number));
  const times = await Promise.all(
    numbers.map((number) =>
      stat(join(dataDirectory, 'base', number, 'PG_VERSION')).then(
        ({ mtimeMs }) => [Math.floor(mtimeMs / 1000)],
        () => [],
      ),
    ),
  );
  const found = times.flat();
  return found.length === 0 ? undefined : Math.min(writtenAtS, ...found);
}

/** From 15 on `template0`, which pg_upgrade leaves as it is, and `postgres`, which it leaves where the old one has none. */
const AS_INITDB_MADE = ['4', '5'];

const unsure = (why: string): string =>
  `${why}, so that nobody can tell whether all that was written to it is in here: be sure of that`;

const timeOf = ({ writtenAtS }: Pick<ControlData, 'writtenAtS'>): string =>
  new Date(writtenAtS * 1000).toISOString();

function mustBeFinished(
  dataDirectory: string,
  {
    place,
    control,
    offered,
    madeAtS,
  }: {
    readonly place: string;
    readonly control: ControlData;
    readonly offered: ControlData;
    readonly madeAtS: number;
  },
): void {
  if (control.state !== 'shut down')
    throw new Error(
      `the database before, in ${place}, was not shut down cleanly (it is "${control.state}"): set node.data_directory to that, start sentineld, and begin the upgrade anew`,
    );
  if (control.writtenAtS > madeAtS)
    throw new Error(
      `the database before, in ${place}, has run until ${timeOf(control)}, and the new one was made before that (${timeOf({ writtenAtS: madeAtS })}); ${ANEW}. ${MADE_OTHERWISE}`,
    );
  // As initdb makes it, or made before the one before has gone on.
  if (control.nextTransactionId > offered.nextTransactionId)
    throw new Error(
      `${dataDirectory} has had fewer transactions (${offered.nextTransactionId}) than the database before, in ${place} (${control.nextTransactionId}): pg_upgrade, which goes on from there, has not made it. ${MADE_OTHERWISE}`,
    );
}

/** With the templates. */
export const countDatabases = async (dataDirectory: string): Promise<number> =>
  (await databasesOf(dataDirectory)).length;

const databasesOf = async (dataDirectory: string): Promise<readonly string[]> =>
  (await readdir(join(dataDirectory, 'base'))).filter((name) => /^\d+$/.test(name));
