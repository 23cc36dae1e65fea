// A disk that runs full, a small file system of its own: the node's sentineld says so, and again when there is room; `status` shows it.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { findTestPostgres } from '../../../harness/find-postgres.ts';
import { until } from '../../../src/base/clock.ts';
import { freeBytes } from '../../../src/postgres/clone-room.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { LIMIT_MS, openPlace, startSentineld, witness, writeConfig } from '../bad-input/place.ts';
import { makeHosts } from './hosts.ts';

const run = promisify(execFile);
const MIB = 2 ** 20;
const SIZE_MIB = 512;

describe.skipIf(process.getuid?.() !== 0)('a disk (needs root, for a mount)', () => {
  test(
    'that runs full is said while there is time, and that there is room again',
    { timeout: 6 * LIMIT_MS },
    async () => {
      const place = await openPlace();
      const disk = join(place.root, 'disk');
      await makeDirectory(place.user, disk);
      await run('mount', ['-t', 'tmpfs', '-o', `size=${SIZE_MIB}m`, 'tmpfs', disk]);
      // Unmounts also when this process is killed: the other end of its pipe is closed then.
      const undertaker = spawn('sh', ['-c', 'trap "" INT TERM HUP; read _; umount -l "$1"', 'sh', disk], {
        ...{ detached: true, cwd: '/' },
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      try {
        await makeDirectory(place.user, disk, 0o700);
        const binaries = await findTestPostgres({
          user: place.user,
          privateDirectory: join(place.root, 'programs'),
        });
        const hosts = makeHosts(place, binaries.directory);
        const config = writeConfig(place, 'a', (text) =>
          text
            .replace('/a/data', '/disk/data')
            .replace(
              'users:\n',
              `  bin_directory: ${binaries.directory}\n  parameters: { shared_buffers: 16MB }\nusers:\n`,
            ),
        );
        writeConfig(place, 'b', witness);
        const [one] = [startSentineld(config), hosts.start('b'), hosts.start('c')];
        await hosts.waitFor('pg1', 'running');
        const ballast = join(disk, 'ballast');
        const leave = async (mib: number): Promise<void> => {
          const size = Math.floor((await freeBytes(disk)) / MIB) - mib;
          await run('fallocate', ['-l', `${size}M`, ballast]);
        };
        const shown = (wanted: RegExp): Promise<string> =>
          until({ what: `status to show ${wanted}`, timeoutMs: LIMIT_MS, everyMs: 200 }, async () => {
            const { stdout } = await hosts.ctl('a', 'status');
            return wanted.test(stdout) ? stdout : undefined;
          });
        expect((await hosts.ctl('a', 'status')).stdout).not.toMatch(/its disk/);
        // 12 and 3 percent.
        await leave(62);
        await one.says(/"level":40[^\n]*"msg":"its disk has 1[12][.\d]* % free \(\d+ MB\)"/);
        await shown(/! its disk has 1[12][.\d]* % free \(\d+ MB\)/);
        await rm(ballast);
        await leave(16);
        await one.says(
          /"level":50[^\n]*"msg":"its disk has [23][.\d]* % free \(\d+ MB\): PostgreSQL stops when it is full; make room"/,
        );
        expect(await shown(/! its disk has [23][.\d]* % free/)).toMatch(/^shop: /);
        await rm(ballast);
        await one.says(/"level":30[^\n]*"msg":"there is room again: its disk has \d\d[.\d]* % free/);
        expect(one.output().match(/its disk/g)).toHaveLength(3);
      } finally {
        // It ends all that runs there; what cannot be removed while it is mounted is removed afterwards.
        await place.close().catch(() => undefined);
        const ended = once(undertaker, 'exit');
        undertaker.stdin?.end();
        await ended;
        await place.close();
      }
    },
  );
});
