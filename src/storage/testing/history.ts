// A history of writes that can be told from its seed alone, so that a store can be compared with what was acknowledged.
// Write n sets term n and, often, replaces part of the log.
import { seededRandom } from '../../raft/testing/random.ts';
import type { Entry } from '../../raft/types.ts';
import type { LogWrite } from '../log-store.ts';
import { entry, hardState } from './stores.ts';

/** The first `count` writes of the history of `seed`, and the log that they leave. */
export function historyOf(
  seed: number,
  count: number,
): { readonly writes: readonly LogWrite[]; readonly entries: readonly Entry[] } {
  const random = seededRandom(seed);
  const writes: LogWrite[] = [];
  let entries: Entry[] = [];
  for (let number = 1; number <= count; number += 1) {
    const added = random.between(0, 4);
    const base =
      added > 0 && random.chance(0.3) ? Math.max(0, entries.length - random.between(0, 6)) : entries.length;
    const padding = 'x'.repeat(random.between(0, 300));
    const fresh = Array.from({ length: added }, (_, offset) =>
      entry(base + offset + 1, number, `write ${number} ${padding}`),
    );
    entries = [...entries.slice(0, base), ...fresh];
    writes.push({ hardState: hardState(number, random.chance(0.5) ? 'p2' : undefined), entries: fresh });
  }
  return { writes, entries };
}
