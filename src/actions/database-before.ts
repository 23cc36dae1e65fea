// Where this node has last run its group's database: kept beyond a restart of sentineld with another data directory, so that whoever offers the
// group another database (other-database.ts) is told where that does not hold all that was written. Must never stand in the way of a pass.
import { existsSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type ControlData, readControlData } from '../postgres/control-data.ts';
import { writeFileDurably } from '../postgres/durable-files.ts';
import type { Member } from '../postgres/member.ts';
import { findPostmaster, isSameDirectory } from '../postgres/processes.ts';
import type { AgentContext } from './context.ts';

interface Known {
  readonly dataDirectory: string;
  readonly systemIdentifier: string;
  /** Seconds since 1970: when PostgreSQL was last started on it; 0 where that is not known. */
  readonly startedAtS: number;
}

/** Notes where the group's database is, once for each start of it. */
export async function rememberDatabase(context: AgentContext): Promise<void> {
  const { instance } = context;
  const systemIdentifier = context.group()?.systemIdentifier;
  const postmaster = instance.postmaster();
  if (postmaster === undefined || systemIdentifier === undefined) return;
  const data = await context.dataDirectory().catch(() => undefined);
  if (data?.kind !== 'ready' || data.control.systemIdentifier !== systemIdentifier) return;
  await context.once(`database ${systemIdentifier}`, async () => {
    const { dataDirectory, databaseFile } = instance.options;
    const known: Known = { dataDirectory, systemIdentifier, startedAtS: postmaster.startedAtS ?? 0 };
    const content = `${JSON.stringify(known)}\n`;
    if ((await readFile(databaseFile, 'utf8').catch(() => '')) === content) return;
    await writeFileDurably({ path: databaseFile, content, mode: 0o600, owner: undefined }).catch(
      (error: unknown) =>
        context.log('warn', 'where the database is could not be written down', {
          error: (error as Error).message,
        }),
    );
  });
}

async function readKnown(path: string): Promise<Known | undefined> {
  try {
    const { dataDirectory, systemIdentifier, startedAtS } = JSON.parse(
      await readFile(path, 'utf8'),
    ) as Partial<Known>;
    return typeof dataDirectory === 'string' && typeof systemIdentifier === 'string'
      ? { dataDirectory, systemIdentifier, startedAtS: Number(startedAtS ?? 0) }
      : undefined;
  } catch {
    return undefined;
  }
}

const ANEW =
  'what was written to it since is not in the new one: shut it down, and have pg_upgrade make the new one anew, in an empty data directory';

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
  if (known?.systemIdentifier === from && known.startedAtS > offered.control.writtenAtS)
    throw new Error(
      `the database before was started here at ${timeOf({ writtenAtS: known.startedAtS })}, and the new one was made before that (${offeredAt}); ${ANEW}`,
    );
  if (place === undefined) return unsure('it is not known here where the database before is');
  if (!isElsewhere) return unsure('the database before was in this very place');
  const control = await readControlData(place).catch(() => undefined);
  if (control === undefined && existsSync(join(place, 'global', 'pg_control.old')))
    return `made from that in ${place}, which cannot be started any more`;
  if (control?.systemIdentifier !== from) return unsure(`the database before is not in ${place} any more`);
  await mustBeFinished(dataDirectory, { place, control, madeAt: offered.control });
  return `written after the database before, in ${place}, was shut down`;
}

const unsure = (why: string): string =>
  `${why}, so that nobody can tell whether all that was written to it is in here: be sure of that`;

const timeOf = ({ writtenAtS }: Pick<ControlData, 'writtenAtS'>): string =>
  new Date(writtenAtS * 1000).toISOString();

/** Two templates, and `postgres`. */
const OF_INITDB = 3;

async function mustBeFinished(
  dataDirectory: string,
  {
    place,
    control,
    madeAt,
  }: { readonly place: string; readonly control: ControlData; readonly madeAt: ControlData },
): Promise<void> {
  if (control.state !== 'shut down')
    throw new Error(
      `the database before, in ${place}, was not shut down cleanly (it is "${control.state}"): set node.data_directory to that, start sentineld, and begin the upgrade anew`,
    );
  if (control.writtenAtS > madeAt.writtenAtS)
    throw new Error(
      `the database before, in ${place}, has run until ${timeOf(control)}, and the new one was made before that (${timeOf(madeAt)}); ${ANEW}`,
    );
  const [before, now] = [await countDatabases(place), await countDatabases(dataDirectory)];
  // As initdb makes it. Otherwise a directory may be left of a database that was dropped.
  if (now < before && now <= OF_INITDB)
    throw new Error(
      `${dataDirectory} holds ${now} databases with the templates, and the one before, in ${place}, holds ${before}: pg_upgrade has not made it`,
    );
}

/** With the templates. */
export async function countDatabases(dataDirectory: string): Promise<number> {
  return (await readdir(join(dataDirectory, 'base'))).filter((name) => /^\d+$/.test(name)).length;
}
