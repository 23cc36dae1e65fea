// What has been found out so far, in a file, so that a run can be cut off and taken up again. Good for one build only: a change of
// any source begins anew.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Hunt } from './hunt.ts';

export interface Found {
  /** Name of the build, after its contents. */
  readonly build: string;
  readonly firstSeed: number;
  readonly hunts: Record<string, Hunt>;
}

/** What the file holds of this build; nothing where it is another's, or is not there. */
export function readFound(path: string | undefined, build: string, firstSeed: number): Found {
  const nothing: Found = { build, firstSeed, hunts: {} };
  if (path === undefined) return nothing;
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return nothing;
    throw error;
  }
  const found = JSON.parse(text) as Found;
  if (found.build === build && found.firstSeed === firstSeed) return found;
  console.log(`${path} belongs to another build or first seed: everything is begun anew`);
  return nothing;
}

export function writeFound(path: string | undefined, found: Found): void {
  if (path === undefined) return;
  writeFileSync(`${path}.new`, `${JSON.stringify(found, undefined, 1)}\n`);
  renameSync(`${path}.new`, path);
}
