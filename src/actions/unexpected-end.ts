// What is known of an end of PostgreSQL that was not ours: whether somebody shut it down, and may start it again, or it crashed.
import { delay } from '../base/clock.ts';
import { isStoppedCleanly, readControlData } from '../postgres/control-data.ts';
import type { Announcements } from './announcements.ts';
import type { AgentContext, UnexpectedEnd } from './context.ts';

export interface UnexpectedEnds {
  /** It has ended just now. Resolves when it was said, and the grace for whoever shut it down is over. */
  note(): Promise<void>;
  current(): UnexpectedEnd | undefined;
  /** It runs again, or its end counts no more. `false` where none was known. */
  clear(): boolean;
}

export function createUnexpectedEnds(options: {
  readonly dataDirectory: string;
  /** For whoever shuts a server down to start it again. */
  readonly restartGraceMs: number;
  readonly isRunning: () => boolean;
  readonly announce: AgentContext['announce'];
  readonly announcements: Pick<Announcements, 'replace'>;
  /** Nobody has started it again. */
  readonly onGone: () => void;
  readonly onNoted: () => void;
  readonly signal: AbortSignal;
}): UnexpectedEnds {
  const { dataDirectory, isRunning, signal } = options;
  let end: UnexpectedEnd | undefined;
  return {
    async note() {
      // At once: a pass that is under way is not to take it for one that was stopped by this process.
      const atFirst: UnexpectedEnd = { atMs: performance.now(), isClean: true };
      end = atFirst;
      const control = await readControlData(dataDirectory).catch(() => undefined);
      const isClean = control !== undefined && isStoppedCleanly(control);
      const noted: UnexpectedEnd = { ...atFirst, isClean };
      if (end === atFirst) end = noted;
      options.announce(endText(noted));
      if (isClean) await delay(options.restartGraceMs, signal);
      if (end === noted && !signal.aborted && !isRunning()) options.onGone();
      options.onNoted();
    },
    current: () => end,
    clear() {
      if (end === undefined) return false;
      const said = endText(end);
      end = undefined;
      if (isRunning()) options.announcements.replace(said, `${said}, and runs again`);
      return true;
    },
  };
}

const endText = ({ isClean }: UnexpectedEnd): string =>
  isClean ? 'PostgreSQL was shut down by somebody else' : 'PostgreSQL has crashed or was killed';
