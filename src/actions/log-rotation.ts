// Looks after the size of the file that our PostgreSQL writes to, beside the agent's loop.
import { rotateLog } from '../postgres/log-rotation.ts';
import type { AgentContext } from './context.ts';
import type { InstanceOptions } from './instance-options.ts';

const EVERY_MS = 10_000;

export interface LogRotationWatch {
  /** Resolves once nothing of it runs any more. */
  close(): Promise<void>;
}

export function startLogRotation(
  options: Pick<InstanceOptions, 'logFile' | 'logRotation' | 'user'>,
  log: AgentContext['log'],
  everyMs = EVERY_MS,
): LogRotationWatch {
  const { logRotation: rotation, logFile: path, user } = options;
  let failure: string | undefined;
  let running: Promise<void> | undefined;
  const look = async (): Promise<void> => {
    if (rotation === undefined) return;
    try {
      if (await rotateLog({ path, rotation, owner: user.owner }))
        log('info', "PostgreSQL's log has begun anew", { file: path });
      failure = undefined;
    } catch (error) {
      const { message } = error as Error;
      if (message !== failure) log('warn', "cannot bound the size of PostgreSQL's log", { error: message });
      failure = message;
    }
  };
  const timer = setInterval(() => {
    running ??= look().finally(() => (running = undefined));
  }, everyMs).unref();
  return {
    async close() {
      clearInterval(timer);
      await running;
    },
  };
}
