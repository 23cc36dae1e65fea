// What sentineld tells a guard: which PostgreSQL, under which rule of the log, with which lease. It lies in a file too, written
// before a guard is started and at every renewal, so that a guard which comes later knows what the one before knew.
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuardedRule, Lease } from './authority.ts';

export interface Terms {
  readonly node: string;
  readonly dataDirectory: string;
  readonly socketDirectory: string;
  readonly port: number;
  readonly superuser: string;
  /** With a rule: a primary without lease and proof for so long is stopped. */
  readonly proofTimeoutMs: number;
  /** Of the watchdog device, if one is used. */
  readonly watchdog: string | undefined;
  /** The log's rule, and the one it is being changed to. */
  readonly rules: readonly GuardedRule[];
  /** One of them makes the primary depend on a lease. */
  readonly isLeased: boolean;
}

export interface Instructions {
  readonly terms: Terms;
  readonly lease: Lease | undefined;
}

const FILE = 'instructions.json';

const instructionsFile = (directory: string): string => join(directory, FILE);

/** Not flushed to the disk: after a loss of power there is neither a PostgreSQL to guard nor a lease that counts. */
export async function writeInstructions(directory: string, instructions: Instructions): Promise<void> {
  const path = instructionsFile(directory);
  await writeFile(`${path}.new`, JSON.stringify(instructions), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** Undefined where there is nothing to guard, and where the file is damaged (the loss of power may have cut it off). */
export async function readInstructions(directory: string): Promise<Instructions | undefined> {
  try {
    const read = JSON.parse(await readFile(instructionsFile(directory), 'utf8')) as Partial<Instructions>;
    return read.terms === undefined ? undefined : { terms: read.terms, lease: read.lease };
  } catch {
    return undefined;
  }
}

export async function removeInstructions(directory: string): Promise<void> {
  await rm(instructionsFile(directory), { force: true });
}
