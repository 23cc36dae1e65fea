// A text is given to the person's editor: $VISUAL, $EDITOR, or vi.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Edited } from './context.ts';

/** Resolves once the editor has ended; rejects where it cannot be run or fails. The file is readable by nobody else. */
export async function editInEditor(env: NodeJS.ProcessEnv, text: string, fileName: string): Promise<Edited> {
  const folder = mkdtempSync(join(tmpdir(), 'sentinelctl-'));
  const path = join(folder, fileName);
  const discard = (): void => rmSync(folder, { recursive: true, force: true });
  const program = env['VISUAL'] || env['EDITOR'] || 'vi';
  try {
    writeFileSync(path, text, { mode: 0o600 });
    // As every program that asks for an editor does: it may hold arguments.
    const child = spawn('/bin/sh', ['-c', `${program} "$1"`, 'sh', path], { stdio: 'inherit' });
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    if (code !== 0)
      throw new Error(
        `nothing was changed: the editor (${program}) ended with ${signal ?? `exit code ${code}`}`,
      );
    return { text: readFileSync(path, 'utf8'), kept: path, discard };
  } catch (error) {
    discard();
    throw error;
  }
}
