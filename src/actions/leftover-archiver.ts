// Archives the WAL that a former primary has put aside (leftover-wal.ts), beside the agent's passes and for as long as it takes: what is in
// the directory is all that it knows, so a restart changes nothing. One command at a time; costs nothing while there is nothing.
import { delay } from '../base/clock.ts';
import { type ArchiveOptions, archiveKept, keptFiles, readArchiving } from '../postgres/archive.ts';
import type { AgentContext } from './context.ts';

const RETRY_MS = 1000;
const RETRY_MS_MAX = 60_000;
const TEXT_LENGTH_MAX = 200;
/** While a clone or a rewind is under way there may be no configuration to read. */
const UNREADABLE_COUNT_MAX = 5;

export interface LeftoverArchiver {
  /** There is something new in the directory. */
  wake(): void;
  /** Ends a command that runs; what is not archived waits for the next start. */
  close(): Promise<void>;
}

type Failure = { readonly kind: 'refused' | 'unreadable'; readonly reason: string };

export function startLeftoverArchiver(
  options: Omit<ArchiveOptions, 'signal'> & {
    readonly node: string;
    readonly unarchivedDirectory: string;
    readonly retryMs?: number;
  } & Pick<AgentContext, 'announce' | 'withdraw' | 'log'>,
): LeftoverArchiver {
  const { unarchivedDirectory: directory, node } = options;
  const retryMs = options.retryMs ?? RETRY_MS;
  const closing = new AbortController();
  let running: Promise<void> | undefined;
  let isAgain = false;

  /** Until there is nothing left, or the first that fails. */
  const attempt = async (): Promise<Failure | undefined> => {
    const { signal } = closing;
    const settings = await readArchiving({ ...options, signal }).catch((error: unknown) => error as Error);
    if (settings instanceof Error) return { kind: 'unreadable', reason: settings.message };
    const { mode, command, library } = settings;
    if (mode === 'off') return { kind: 'refused', reason: 'archive_mode is off' };
    if (library !== '') return { kind: 'refused', reason: 'archive_library works within PostgreSQL only' };
    if (command === '') return { kind: 'refused', reason: 'there is no archive_command' };
    for (const file of await keptFiles(directory)) {
      if (signal.aborted) return undefined;
      const reason = await archiveKept({ ...options, directory, file, command, signal });
      if (reason !== undefined) return { kind: 'refused', reason: `archive_command: ${reason}` };
      options.log('info', 'WAL that it had not archived as primary is archived', { file });
    }
    return undefined;
  };

  const run = async (): Promise<void> => {
    let failureCount = 0;
    let said: string | undefined;
    for (;;) {
      const unreadable = (error: unknown): Failure => ({
        kind: 'unreadable',
        reason: (error as Error).message,
      });
      const waiting = await keptFiles(directory).catch(unreadable);
      if (closing.signal.aborted || (Array.isArray(waiting) && waiting.length === 0)) break;
      const failure = Array.isArray(waiting) ? await attempt().catch(unreadable) : waiting;
      if (closing.signal.aborted) return;
      if (failure === undefined) {
        failureCount = 0;
        continue;
      }
      failureCount += 1;
      if (said === undefined && (failure.kind === 'refused' || failureCount >= UNREADABLE_COUNT_MAX)) {
        const text = `WAL files that ${node} wrote as primary could not be archived: ${failure.reason}`;
        said = text.slice(0, TEXT_LENGTH_MAX);
        options.announce(said, { directory, files: waiting, ...failure });
      }
      await delay(Math.min(retryMs * 2 ** (failureCount - 1), RETRY_MS_MAX), closing.signal);
    }
    if (said === undefined || closing.signal.aborted) return;
    options.withdraw(said);
    options.announce(`the WAL files that ${node} wrote as primary are archived now`);
  };

  const wake = (): void => {
    isAgain = true;
    if (running !== undefined || closing.signal.aborted) return;
    running = (async () => {
      while (isAgain && !closing.signal.aborted) {
        isAgain = false;
        await run();
      }
      running = undefined;
    })();
  };
  wake();

  return {
    wake,
    async close() {
      closing.abort();
      await running;
    },
  };
}
