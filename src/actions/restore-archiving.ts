// Archiving of a restored group: it has the system identifier of the cluster that the backup is of, so that nothing is archived before its primary takes
// writes, and nothing by itself where nobody could ask the archive which timelines it has.
import { resumeArchiving } from '../postgres/restored-files.ts';
import { type AgentContext, query } from './context.ts';

/** For {@link AgentContext.once}: again once somebody has named the archive. */
export const archivingKey = (context: AgentContext): string => `archiving ${isNamed(context)}`;

/** In the settings of the group: of before it was restored there are none. */
function isNamed({ instance }: AgentContext): boolean {
  const settings = instance.options.groupParameters();
  return ['archive_command', 'archive_library'].some((name) => (settings.get(name) ?? '') !== '');
}

/** The group takes writes: its WAL goes to the archive, if the configuration of pg-sentinel says so. */
export async function archiveAgain(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { instance } = context;
  const outcome = await resume(context);
  if (outcome === 'held')
    context.announce(
      'the restored group archives no WAL: it was restored without a restore_command, so that nobody knows which timelines an archive has already; have archive_command in the settings of the group (sentinelctl settings set) write to an empty place',
    );
  if (outcome !== 'resumed') return;
  instance.reload();
  const rows = await instance.session.query<{ mode: string }>(
    "select current_setting('archive_mode') as mode",
    [],
    query(context, signal),
  );
  context.announce(
    rows[0]?.mode === 'off'
      ? 'the restored group archives no WAL: nothing of how the old server did was taken over; set archive_mode and archive_command (sentinelctl settings set), to a place where no other cluster writes'
      : 'the restored group archives its WAL from here on; it has the system identifier of the cluster that the backup is of, which must not write to the same place any more',
  );
}

/** Of a clone that was made before the group took writes; only with archive_mode = always a standby archives. */
export async function archiveOnStandby(context: AgentContext): Promise<void> {
  if ((await resume(context)) === 'resumed') context.instance.reload();
}

/** What cannot be read must not keep a primary from anything else. */
async function resume(context: AgentContext): ReturnType<typeof resumeArchiving> {
  const { dataDirectory, user } = context.instance.options;
  try {
    return await resumeArchiving({ dataDirectory, owner: user.owner, isNamed: isNamed(context) });
  } catch (error) {
    context.announce(
      `it cannot be told whether archiving was suspended for a restore: ${(error as Error).message}`,
    );
    return 'none';
  }
}
