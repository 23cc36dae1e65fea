// What the tests of the guard look at: who sits in the seat, whether that process lives, and a FIFO in place of a watchdog device.
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { until } from '../../../src/base/clock.ts';
import { readMoment } from '../../../src/guard/boot-clock.ts';
import type { Lease } from '../../../src/guard/authority.ts';
import { highestSeat, sitterOf } from '../../../src/guard/seat.ts';
import { isSameProcess } from '../../../src/postgres/processes.ts';
import { LIMIT_MS } from '../postgres/instances.ts';

/** The pid of the living guard that has the seat; undefined where there is none. */
export async function guardPid(directory: string): Promise<number | undefined> {
  const sitter = await sitterOf(directory, await highestSeat(directory));
  return sitter !== undefined && isSameProcess(sitter.pid, sitter.startTicks) ? sitter.pid : undefined;
}

/** Waits until another guard than `before` has the seat. */
export const nextGuard = (directory: string, before: number | undefined): Promise<number> =>
  until({ what: `a guard after ${before}`, timeoutMs: LIMIT_MS, everyMs: 20 }, async () => {
    const pid = await guardPid(directory);
    return pid === before ? undefined : pid;
  });

/** A lease of `lengthMs` from now on. */
export function leaseOf(lengthMs: number): Lease {
  const sent = readMoment();
  return { sent, untilBootMs: sent.bootMs + lengthMs };
}

export interface Device {
  readonly path: string;
  /** All that was written to it so far. */
  written(): string;
  close(): void;
}

export function makeDevice(path: string): Device {
  execFileSync('mkfifo', ['-m', '0666', path]);
  // Open for writing too, so that reading it never meets its end.
  const file = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const buffer = Buffer.alloc(4096);
  let text = '';
  return {
    path,
    written() {
      for (;;) {
        try {
          const bytes = readSync(file, buffer, 0, buffer.length, null);
          if (bytes === 0) return text;
          text += buffer.toString('utf8', 0, bytes);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return text;
          throw error;
        }
      }
    },
    close: () => closeSync(file),
  };
}
