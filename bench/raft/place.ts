// The directory of one run of the benchmark, on a real disk, with a reaper that leaves nothing of it behind.
import { chmod, mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endEverythingBelow, removePlace } from '../../harness/place.ts';
import { startReaper } from '../../harness/reaper.ts';
import { type Spread, spreadOf } from './arithmetic.ts';

export interface Place {
  readonly directory: string;
  /** Ends every process that works below the directory, and removes it. */
  close(): Promise<void>;
}

const END_TIMEOUT_MS = 20_000;
/** `f_type` of statfs(2): an fsync there costs nothing and measures nothing. */
const MEMORY_FILE_SYSTEMS = new Map([
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
]);

/** Throws where the directory lies in memory. */
export async function openPlace(below: string | undefined): Promise<Place> {
  const base = below ?? tmpdir();
  const memory = MEMORY_FILE_SYSTEMS.get((await statfs(base)).type);
  if (memory !== undefined)
    throw new Error(`cannot measure in ${base}: it is a ${memory}, without a disk; pass --directory`);
  const directory = await mkdtemp(join(base, 'pg-sentinel-raft-'));
  await chmod(directory, 0o755);
  const reaper = startReaper(directory, []);
  return {
    directory,
    async close() {
      try {
        await endEverythingBelow({ directory, dataDirectories: [], timeoutMs: END_TIMEOUT_MS });
        await removePlace(directory);
      } finally {
        await reaper.dismiss();
      }
    },
  };
}

const SYNC_COUNT = 200;
const SYNC_BYTES = 4096;

/** What one appended page with fdatasync costs here: without it, figures of two machines cannot be compared. */
export async function measureSync(directory: string): Promise<Spread> {
  const path = join(directory, 'sync-probe');
  const handle = await open(path, 'w');
  const page = Buffer.alloc(SYNC_BYTES, 'p');
  const times: number[] = [];
  try {
    for (let count = 0; count < SYNC_COUNT; count++) {
      const startMs = performance.now();
      await handle.write(page);
      await handle.datasync();
      times.push(performance.now() - startMs);
    }
  } finally {
    await handle.close();
    await rm(path, { force: true });
  }
  return spreadOf(times);
}
