// The report of `npm run sim:mutants`: a line for each mutation, then how many were killed and who survived.
import type { Hunt, ListedMutation } from './hunt.ts';

/** One line: id, seeds taken, the invariant that caught it, what else was seen, title. */
export function describeHunt(mutation: ListedMutation, hunt: Hunt, firstSeed: number): string {
  const seeds = hunt.nextSeed - firstSeed;
  const verdict =
    hunt.kill === undefined
      ? `SURVIVES ${seeds} seeds`
      : `${hunt.kill.property} (seed ${hunt.kill.seed}, ${hunt.kill.profile})`;
  const unnamed = Object.entries(hunt.unnamed).map(([property, count]) => `${count} ${property}`);
  const parts = [mutation.id.padEnd(36), String(seeds).padStart(5), verdict.padEnd(58), mutation.title];
  if (unnamed.length > 0) parts.push(`[not named for it: ${unnamed.join(', ')}]`);
  if (hunt.unsoundSeeds.length > 0)
    parts.push(`[fail without it, too: seeds ${hunt.unsoundSeeds.join(' ')}]`);
  return parts.join('  ');
}

export const TABLE_HEAD = ['mutation'.padEnd(36), 'seeds', 'caught by'.padEnd(58), 'what is broken'].join(
  '  ',
);

/** Last lines: the sum, and each survivor by name. */
export function describeSum(
  all: readonly { readonly mutation: ListedMutation; readonly hunt: Hunt }[],
): string {
  const survivors = all.filter(({ hunt }) => hunt.kill === undefined);
  const lines = [`${all.length - survivors.length} of ${all.length} killed`];
  for (const { mutation, hunt } of survivors) {
    lines.push(
      `survivor: ${mutation.id}: ${mutation.title}; may be caught by ${mutation.invariants.join(', ')}` +
        (hunt.unnamedExample === undefined ? '' : `; seen instead: ${hunt.unnamedExample}`),
    );
  }
  return lines.join('\n');
}
