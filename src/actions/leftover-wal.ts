// What a former primary had not archived yet: PostgreSQL's archiver leaves it alone once it is a standby. Before the node becomes one, and
// before a rewind or a clone, it is put aside, which needs no archive; leftover-archiver.ts archives it. Must never keep a node from its way back.
import { readdir } from 'node:fs/promises';
import { type Lsn, lsn } from '../base/lsn.ts';
import { isOnHistory, markArchived, readArchiving, readyFiles } from '../postgres/archive.ts';
import { type ControlData, readControlData } from '../postgres/control-data.ts';
import { type GroupHistory, groupEnds } from '../postgres/divergence.ts';
import { DIVERGED_LIMITS } from '../postgres/diverged.ts';
import { keepUnarchived } from '../postgres/keep-unarchived.ts';
import { isRewindInterrupted } from '../postgres/rewind-marker.ts';
import { reservedBySlots } from '../postgres/slot-files.ts';
import type { AgentContext } from './context.ts';
import type { FollowDuty } from './upstream-source.ts';

/** A host that is busy may take long to read a setting; what is not put aside then is destroyed by a rewind. */
const TRY_COUNT_MAX = 3;

/**
 * Once for each epoch; PostgreSQL is stopped, or a standby that does not stream yet. Throws where it failed and is worth another try, which
 * is the next pass; in the end it says what is lost and lets the node go on.
 */
export async function keepLeftovers(
  context: AgentContext,
  duty: FollowDuty,
  signal: AbortSignal,
): Promise<void> {
  const at = `${duty.incarnation}/${duty.epoch}`;
  const { leftovers } = context.notes;
  const failedCount = leftovers?.at === at ? leftovers.failedCount : 0;
  if (leftovers?.at === at && leftovers.isDone) return;
  const { dataDirectory, node, unarchivedDirectory: directory } = context.instance.options;
  // What is marked there then is the source's.
  if (await isRewindInterrupted(dataDirectory)) return;
  let waiting: readonly string[] = [];
  try {
    waiting = await readyFiles(dataDirectory);
    if (waiting.length > 0 && !(await keep(context, duty, signal))) return;
  } catch (error) {
    signal.throwIfAborted();
    context.notes.leftovers = { at, isDone: false, failedCount: failedCount + 1 };
    if (failedCount + 1 < TRY_COUNT_MAX) throw error;
    const reason = (error as Error).message;
    const files = await waitingOnHistory(dataDirectory, duty).catch(() => waiting);
    if (files.length > 0)
      context.announce(
        `${lost(files, node)}: they could not be put into ${directory}`.slice(0, TEXT_LENGTH_MAX),
        { files, reason },
      );
  } finally {
    if (waiting.length > 0) context.archiveLeftovers();
  }
  context.notes.leftovers = { at, isDone: true, failedCount: 0 };
}

/** False where it is to be looked at again, before a rewind or a clone. */
async function keep(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<boolean> {
  const { instance } = context;
  const { unarchivedDirectory: directory, node } = instance.options;
  const options = { ...instance.options, signal };
  const { mode, library } = await readArchiving(options);
  if (mode === 'off') return true;
  // As long as it runs it archives them itself.
  if (mode === 'always' && instance.postmaster() !== undefined) return false;
  if (library !== '') {
    const files = await waitingOnHistory(options.dataDirectory, duty);
    if (files.length > 0)
      context.announce(`${lost(files, node)}: archive_library works within PostgreSQL only`, { files });
    return true;
  }
  const history = historyOf(duty);
  const control = await readControlData(options.dataDirectory);
  // Version 14 has one in a running primary; then recovery begins where that says.
  const isLabelled = (await readdir(options.dataDirectory)).includes('backup_label');
  const neededFrom = isLabelled ? lsn(0n) : control.checkpointRedo;
  const usefulFrom = isLabelled ? lsn(0n) : await usefulOnFrom(options.dataDirectory, control, history);
  context.activity(undefined, 'putting WAL aside that is not in the archive yet');
  const kept = await keepUnarchived({
    ...{ ...options, directory, history, usefulFrom, neededFrom },
    segmentBytes: control.walSegmentBytes,
  });
  if (kept.files.length > 0)
    context.log('info', 'WAL that it had not archived as primary was put aside and is archived', {
      files: kept.files,
    });
  if (kept.lost.length > 0)
    context.announce(
      `${lost(kept.lost, node)}: no room for them in ${directory}, or PostgreSQL removed them first. Make a new base backup`,
      { files: kept.lost },
    );
  return true;
}

const historyOf = ({ upstream, branches }: FollowDuty): GroupHistory => ({ group: upstream, branches });

async function waitingOnHistory(dataDirectory: string, duty: FollowDuty): Promise<readonly string[]> {
  const { walSegmentBytes } = await readControlData(dataDirectory);
  const files = await readyFiles(dataDirectory);
  return files.filter((file) => isOnHistory(file, walSegmentBytes, historyOf(duty)));
}

/**
 * Where the WAL begins that is of use in the data directory. pg_rewind looks for the last checkpoint that both have in common: the control
 * file's, or a later one, where that lies on the group's history; else an earlier one that is not known here, and without it there is a
 * clone. What a transaction wrote before is of use when its diverged rows are saved, and what a slot reserves to whoever uses that.
 */
async function usefulOnFrom(
  dataDirectory: string,
  control: ControlData,
  history: GroupHistory,
): Promise<Lsn> {
  const ends = groupEnds(history);
  const end = ends.get(control.checkpointTimeline);
  const isCommon = ends.has(control.checkpointTimeline) && (end === undefined || control.checkpoint < end);
  if (!isCommon) return lsn(0n);
  const lookBack = control.checkpointRedo - BigInt(DIVERGED_LIMITS.lookBackBytesMax);
  const reserved = (await reservedBySlots(dataDirectory)) ?? control.checkpointRedo;
  const least = lookBack < reserved ? lookBack : reserved;
  return lsn(least < 0n ? 0n : least);
}

/** pg_rewind brings along what the source had not archived yet: that is the source's to archive. */
export async function forgetSourceArchiving(context: AgentContext): Promise<void> {
  const { options } = context.instance;
  const files = await readyFiles(options.dataDirectory);
  if (files.length === 0) return;
  // With `always` each node archives all that it has.
  const archiving = await readArchiving(options).catch(() => undefined);
  if (archiving?.mode === 'always') return;
  for (const file of files) await markArchived(options.dataDirectory, file);
}

const TEXT_LENGTH_MAX = 300;

function lost(files: readonly string[], node: string): string {
  return `${files.length} WAL files that ${node} wrote as primary are missing in the archive, ${files[0]} to ${files.at(-1)}`;
}
