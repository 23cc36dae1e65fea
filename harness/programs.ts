// Where the compiled programs are, seen from a compiled file as well as from a test that runs the source.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The absolute path of a compiled file such as `src/daemon/sentineld.js`; throws when it was not built. */
export function compiled(path: string): string {
  const here = resolve(fileURLToPath(import.meta.url), '..', '..');
  const root = import.meta.url.endsWith('.ts') ? join(here, 'dist') : here;
  const file = join(root, path);
  if (!existsSync(file)) throw new Error(`${file} is missing: run npm run build`);
  return file;
}
