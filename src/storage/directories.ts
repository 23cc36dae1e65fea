// Directories that survive a power failure: each new name is made durable in the directory that holds it.
// Must never report a directory or file as created before its name is durable.
import { mkdir, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/** Creates `directory` and what is missing above it, with access for the owner only. */
export async function createDurableDirectory(directory: string): Promise<void> {
  const firstCreated = await mkdir(directory, { recursive: true, mode: 0o700 });
  if (firstCreated === undefined) return;
  const top = dirname(resolve(firstCreated));
  for (let path = dirname(resolve(directory)); path.length >= top.length; path = dirname(path)) {
    await syncDirectory(path);
    if (path === dirname(path)) return;
  }
}

/** Makes the names in `directory` durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
