// Ends a sentineld in the middle of what it does, at a step that the test names: preload.mjs, which is loaded into each one, does it from
// within. Also says which steps there are.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { DeadlineError, until } from '../../../src/base/clock.ts';

const PRELOAD = pathToFileURL(fileURLToPath(new URL('preload.mjs', import.meta.url))).href;

/** A host, or one that is still to be made. */
type Place = { readonly directory: string };

export interface Halting {
  /** For every sentineld that may be halted. */
  readonly environment: Readonly<Record<string, string>>;
  /** From now on the steps of that host's sentineld are noted; where `step` is given it ends there, and with `whole` all of its host. */
  arm(host: Place, orders?: { readonly step: string; readonly whole?: boolean }): void;
  /** Whether it has come to its step, and was ended. */
  isHalted(host: Place): boolean;
  /** The operation is over as far as one sees: waits for what it has begun in the background. Whether the host has come to its step. */
  isHaltedLater(host: Place): Promise<boolean>;
  /** The same for steps that are only noted: until each of them has come, or no longer. */
  notedLater(host: Place, steps: readonly string[]): Promise<void>;
  /** Ends what {@link arm} began; returns the steps since then, in their order, each once. */
  disarm(host: Place): string[];
}

/** `directory` is made; the environment is the sentinelds'. */
export function createHalting(directory: string): Halting {
  mkdirSync(directory, { recursive: true });
  const file = (host: Place, name: string): string => join(directory, `${basename(host.directory)}.${name}`);
  const isHalted = (host: Place): boolean => existsSync(file(host, 'halted'));
  const notedOf = (host: Place): string[] => {
    if (!existsSync(file(host, 'steps'))) return [];
    const lines = readFileSync(file(host, 'steps'), 'utf8').trim().split('\n');
    return [...new Set(lines.filter((line) => line !== '').map((line) => line.slice(line.indexOf(' ') + 1)))];
  };
  let count = 0;
  return {
    environment: { NODE_OPTIONS: `--import=${PRELOAD}`, PG_SENTINEL_HALTING: directory },
    arm(host, orders) {
      count += 1;
      for (const name of ['steps', 'halted']) rmSync(file(host, name), { force: true });
      writeFileSync(file(host, 'orders.new'), JSON.stringify({ id: `${count}`, ...orders }));
      renameSync(file(host, 'orders.new'), file(host, 'orders'));
    },
    isHalted,
    async isHaltedLater(host) {
      await later('the step', () => isHalted(host));
      return isHalted(host);
    },
    notedLater: (host, steps) =>
      later('the steps', () => {
        const noted = new Set(notedOf(host));
        return steps.every((step) => noted.has(step));
      }),
    disarm(host) {
      rmSync(file(host, 'orders'), { force: true });
      return notedOf(host);
    },
  };
}

const LATER_MS = 15_000;

const later = (what: string, condition: () => boolean): Promise<void> =>
  until({ what, timeoutMs: LATER_MS, everyMs: 20 }, condition).then(
    () => undefined,
    (error: unknown) => {
      if (!(error instanceof DeadlineError)) throw error;
    },
  );
