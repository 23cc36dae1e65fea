// Terminals for tests: a tmux server of our own (its own socket), windows in it, and what they show. Ended by `close`.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { PROJECT } from './programs.ts';

export interface Terminal {
  open(
    command: string,
    size: { readonly columns: number; readonly rows: number },
  ): Promise<{ text(): Promise<string> }>;
  close(): Promise<void>;
}

const call = promisify(execFile);

/** Undefined where there is no tmux. */
export async function openTerminal(): Promise<Terminal | undefined> {
  const socket = `pg-sentinel-test-${process.pid}`;
  const tmux = (...args: string[]) =>
    call('tmux', ['-L', socket, '-f', '/dev/null', ...args], { cwd: PROJECT });
  const found = await call('tmux', ['-V']).catch(() => undefined);
  if (found === undefined) return undefined;
  let count = 0;
  return {
    async open(command, { columns, rows }) {
      const name = `w${count++}`;
      // The window outlives the command, so that its last words can be read.
      await tmux(
        'new-session',
        '-d',
        '-s',
        name,
        '-x',
        String(columns),
        '-y',
        String(rows),
        `${command}; exec sleep 600`,
      );
      return { text: async () => (await tmux('capture-pane', '-p', '-t', name)).stdout };
    },
    close: async () => void (await tmux('kill-server').catch(() => undefined)),
  };
}
