// The file with the rules of pg_hba.conf that were taken over from an adopted server, and what its first line says: that all of that server's settings
// were taken over in the adoption that is going on. It is written last. People may edit the rules.
import { readFileSync } from 'node:fs';
import { writeFileDurably } from '../postgres/durable-files.ts';

const HEAD = '# Taken over from an adopted server; may be edited.';
/** The rules count as before. */
const EARLIER_HEAD = '# Taken over in an earlier adoption; may be edited.';

export async function writeTakenOver(path: string, rules: readonly string[]): Promise<void> {
  await write(path, [HEAD, ...rules, ''].join('\n'));
}

/** Whether the server that is being adopted may be started with what was taken over. Also of a file that an older version has written meanwhile. */
export function isTakenOver(path: string): boolean {
  return read(path)?.startsWith(`${HEAD}\n`) === true;
}

/**
 * Called while no adoption goes on, before one can begin: what an earlier one has left says nothing of a server that has run on since with its owner's
 * settings. It stays so whatever ends this process.
 */
export async function endTakenOver(path: string): Promise<void> {
  if (isTakenOver(path)) await write(path, EARLIER_HEAD + (read(path) ?? HEAD).slice(HEAD.length));
}

const write = (path: string, content: string): Promise<void> =>
  writeFileDurably({ path, content, mode: 0o600, owner: undefined });

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
