// What a former primary had not archived yet is archived by its agent: PostgreSQL's archiver does not, once it is a standby. Beside a standby
// that streams, which keeps it for a while; and before a rewind or a clone takes it away. Must never hold up the way back of a node for
// long: what is then lost to the archive is said.
import { delay } from '../base/clock.ts';
import type { Epoch } from '../base/ids.ts';
import { type ArchiveOutcome, archiveLeftovers } from '../postgres/archive.ts';
import type { AgentContext } from './context.ts';

const ARCHIVE_TIMEOUT_MS = 30_000;
const RETRY_MS = 1000;
const BESIDE_EVERY_MS = 10_000;

type Scope = { readonly epoch: Epoch };

/** Before the data directory is rewound or replaced: as long as it takes, but no longer than {@link ARCHIVE_TIMEOUT_MS}. */
export async function archiveBefore(context: AgentContext, duty: Scope, signal: AbortSignal): Promise<void> {
  if (context.notes.archivedAt === duty.epoch) return;
  const startedMs = performance.now();
  for (;;) {
    const leftMs = ARCHIVE_TIMEOUT_MS - (performance.now() - startedMs);
    const outcome = await attempt(context, Math.max(leftMs, RETRY_MS), signal);
    const isOver = outcome.kind !== 'failed' || leftMs <= RETRY_MS;
    if (isOver && outcome.kind === 'failed')
      context.announce(
        `${describe(context, outcome)}. They are lost to the archive, and restores cannot get past them: make a new base backup`,
        { files: outcome.left },
      );
    if (isOver) break;
    await delay(RETRY_MS, signal);
    signal.throwIfAborted();
  }
  context.notes.archivedAt = duty.epoch;
}

/** Beside a standby that streams: now and then, until it has succeeded. */
export async function archiveBeside(context: AgentContext, duty: Scope, signal: AbortSignal): Promise<void> {
  if (context.notes.archivedAt === duty.epoch) return;
  const period = Math.floor(performance.now() / BESIDE_EVERY_MS);
  await context.once(`archive ${period}`, async () => {
    const outcome = await attempt(context, ARCHIVE_TIMEOUT_MS, signal);
    if (outcome.kind === 'failed')
      context.announce(
        `${describe(context, outcome)}. It is tried again, as long as wal_keep_size keeps them`,
        { files: outcome.left },
      );
    else context.notes.archivedAt = duty.epoch;
  });
}

async function attempt(
  context: AgentContext,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ArchiveOutcome> {
  const { binaries, user, dataDirectory } = context.instance.options;
  const isRunning = context.instance.postmaster() !== undefined;
  try {
    const outcome = await archiveLeftovers({ binaries, user, dataDirectory, isRunning, timeoutMs, signal });
    if (outcome.kind !== 'nothing' && outcome.files.length > 0)
      context.log('info', 'WAL that it had not archived as primary is archived', { files: outcome.files });
    return outcome;
  } catch (error) {
    signal.throwIfAborted();
    return { kind: 'failed', files: [], left: [], reason: (error as Error).message };
  }
}

function describe(
  context: AgentContext,
  { left, reason }: Extract<ArchiveOutcome, { kind: 'failed' }>,
): string {
  const names = left.length === 0 ? '' : `, ${left[0]} to ${left.at(-1)}`;
  const count = left.length === 0 ? '' : `${left.length} `;
  return `${count}WAL files that ${context.instance.options.node} wrote as primary could not be archived${names}: ${reason}`;
}
