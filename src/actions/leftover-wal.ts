// Before a former primary becomes a standby, what it had not archived yet is archived: afterwards nobody would. Bounded, and said where it
// does not succeed; the way back of the node is not held up for ever by a broken archive.
import type { Epoch } from '../base/ids.ts';
import { archiveLeftovers } from '../postgres/archive.ts';
import type { AgentContext } from './context.ts';

const ARCHIVE_TIMEOUT_MS = 60_000;

/** Once for each epoch: what could not be archived then is lost to the archive, and said. */
export async function archiveFirst(
  context: AgentContext,
  duty: { readonly epoch: Epoch },
  signal: AbortSignal,
): Promise<void> {
  if (context.notes.archivedAt === duty.epoch) return;
  const { binaries, user, dataDirectory } = context.instance.options;
  const isRunning = context.instance.postmaster() !== undefined;
  const failed = (files: readonly string[], reason: string): void =>
    context.announce(
      `${files.length} WAL files that ${context.instance.options.node} wrote as primary could not be archived${files.length === 0 ? '' : `, ${files[0]} to ${files.at(-1)}`}: ${reason}. Restores cannot get past them; make a new base backup`,
      { files, reason },
    );
  try {
    const outcome = await archiveLeftovers({
      binaries,
      user,
      dataDirectory,
      isRunning,
      timeoutMs: ARCHIVE_TIMEOUT_MS,
      signal,
    });
    if (outcome.kind === 'done')
      context.log('info', 'what it had not archived yet as primary is archived', { files: outcome.files });
    if (outcome.kind === 'failed') failed(outcome.left, outcome.reason);
  } catch (error) {
    signal.throwIfAborted();
    failed([], (error as Error).message);
  }
  context.notes.archivedAt = duty.epoch;
}
