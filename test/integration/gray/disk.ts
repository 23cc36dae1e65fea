// A small disk of its own (a loop mount) for one node's data directory, that can be filled, made read-only or frozen. Unfrozen,
// unmounted and forgotten whatever happens: also when this process is killed, by a shell that holds the other end of a pipe.
import { execFile, spawn } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { delay } from '../../../src/base/clock.ts';
import type { Host } from '../../../harness/host.ts';

export interface Disk {
  /** Leaves not one free block. */
  fill(): void;
  /** As a kernel does after an I/O error: every write fails from now on, open files included. */
  makeReadOnly(): Promise<void>;
  /** Every write and fsync hangs, in a sleep that no signal ends. */
  freeze(): Promise<void>;
  unfreeze(): Promise<void>;
  /** Ends what runs on the host, and takes the disk away; the host is left without a data directory. Safe to repeat. */
  remove(): Promise<void>;
}

const SIZE_BYTES = 512 << 20;
const run = promisify(execFile);

/** Why no disk can be made here, for the name of a skipped test; undefined where one can. */
export function diskObstacle(): string | undefined {
  return process.getuid?.() === 0 ? undefined : 'needs root, for a loop mount';
}

/** Moves the data directory of a host, whose processes are ended, onto a new disk and leaves a link to it. */
export async function moveOntoDisk(host: Host): Promise<Disk> {
  const image = join(host.directory, 'disk.img');
  const mount = join(host.directory, 'disk');
  await writeFile(image, '');
  await truncate(image, SIZE_BYTES);
  await mkdir(mount, { recursive: true });
  await run('mkfs.ext4', ['-q', '-m', '0', image]);
  await run('mount', ['-o', 'loop,errors=remount-ro', image, mount]);
  const undertaker = spawn(
    'sh',
    ['-c', 'trap "" INT TERM HUP; read _; fsfreeze -u "$1"; umount -l "$1"', 'sh', mount],
    { detached: true, stdio: ['pipe', 'ignore', 'ignore'], cwd: '/' },
  );
  let isRemoved = false;
  const disk: Disk = {
    fill() {
      const file = openSync(join(mount, 'ballast'), 'w');
      try {
        for (const bytes of [1 << 20, 4096]) writeUntilFull(file, bytes);
      } finally {
        closeSync(file);
      }
    },
    async makeReadOnly() {
      const { stdout } = await run('findmnt', ['-n', '-o', 'SOURCE', mount]);
      const device = stdout.trim().replace('/dev/', '');
      await writeFile(`/sys/fs/ext4/${device}/trigger_fs_error`, 'for a test');
    },
    freeze: async () => void (await run('fsfreeze', ['-f', mount])),
    unfreeze: async () => void (await run('fsfreeze', ['-u', mount]).catch(() => undefined)),
    async remove() {
      if (isRemoved) return;
      await disk.unfreeze();
      await host.stopAll();
      await rm(host.dataDirectory, { force: true });
      for (let tries = 1; ; tries++) {
        try {
          await run('umount', [mount]);
          break;
        } catch (error) {
          if (tries >= 50) throw error;
          await delay(100);
        }
      }
      isRemoved = true;
      undertaker.stdin.end();
      await rm(image);
    },
  };
  try {
    await run('cp', ['-a', host.dataDirectory, mount]);
    await rm(host.dataDirectory, { recursive: true });
    await symlink(join(mount, 'pgdata'), host.dataDirectory);
  } catch (error) {
    await disk.remove();
    throw error;
  }
  return disk;
}

function writeUntilFull(file: number, bytes: number): void {
  const block = Buffer.alloc(bytes, 1);
  for (;;) {
    try {
      writeSync(file, block);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return;
      throw error;
    }
  }
}
