// An idle cluster writes nothing to its log: not a byte of the Raft directories changes. IDLE_SECONDS makes it longer.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import { LIMIT_MS, startLoadedCluster, type LoadedCluster } from './load.ts';

const IDLE_MS = 1000 * Number(process.env['IDLE_SECONDS'] ?? 30);
const SETTLED_MS = 5000;

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'idle', snapshotEntries: 5 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

/** Every file below the directory: size, time of change, content; one that goes away meanwhile is left out. */
function pictureOf(directory: string): Record<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return Object.fromEntries(
    files.flatMap((entry): [string, string][] => {
      const path = join(entry.parentPath, entry.name);
      try {
        const { size, mtimeMs } = statSync(path);
        const hash = createHash('sha256').update(readFileSync(path)).digest('hex');
        return [[path, `${size} ${mtimeMs} ${hash}`]];
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        return [];
      }
    }),
  );
}

/** The files that are there in one picture only, or differ, each with what both have of it. */
function differing(before: Record<string, string>, after: Record<string, string>): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((path) => before[path] !== after[path])
    .map((path) => `${path}: ${before[path] ?? 'not there'} -> ${after[path] ?? 'not there'}`);
}

test(
  'an idle cluster leaves its Raft directories byte for byte alone',
  { timeout: LIMIT_MS + IDLE_MS },
  async () => {
    const picture = (): Record<string, string>[] =>
      loaded.cluster.hosts.map((host) => pictureOf(host.raftDirectory));
    const { peer } = await loaded.cluster.primary();
    // A leader on the primary's host makes room by itself once all has been quiet for some seconds, and a new term is written down.
    await loaded.cluster.waitFor(
      'the leader to be beside a standby',
      LIMIT_MS,
      (_, { leader }) => leader !== undefined && leader !== peer,
    );
    let [last, sinceMs] = [JSON.stringify(picture()), performance.now()];
    await until({ what: 'the last entry to be written', timeoutMs: 120_000, everyMs: 250 }, () => {
      const now = JSON.stringify(picture());
      if (now !== last) [last, sinceMs] = [now, performance.now()];
      return performance.now() - sinceMs >= SETTLED_MS;
    });
    const before = picture();
    expect(Object.keys(before[0] ?? {}).length).toBeGreaterThan(3);
    const logged = loaded.cluster.hosts.map(({ logFile }) => statSync(logFile).size);
    await delay(IDLE_MS);
    const written = picture().flatMap((files, at) => differing(before[at] ?? {}, files));
    const said = loaded.cluster.hosts.map((host, at) => readFileSync(host.logFile, 'utf8').slice(logged[at]));
    expect(written, `written to; meanwhile the logs say:\n${said.join('---\n')}`).toEqual([]);
  },
);
