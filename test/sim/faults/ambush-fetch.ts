// A standby that is to be promoted fetches what it lacks from another one, and something comes in between (ambush.ts says what an ambush is).
import { runningFetch } from '../../../src/cluster/apply-fetch.ts';
import type { WalFetch } from '../../../src/cluster/state.ts';
import { endProcess, startProcess } from '../raft/process.ts';
import type { World } from '../world.ts';
import { freeze, groupOf, later, link, stopPostgres, trioOf, when } from './ambush.ts';

/**
 * One standby falls behind. The primary freezes, is taken for dead, and wakes up again in the middle of it; meanwhile the standby, where it is
 * the preferred one, fetches what it lacks.
 */
export function ambushFetch(world: World): boolean {
  const trio = trioOf(world);
  if (trio === undefined) return false;
  const { primary, far } = trio;
  link(world, primary, far, false);
  later(world, world.random.between(10_000, 50_000), () => {
    if (primary.postgres === undefined) return;
    freeze(world, primary.postgres, world.random.between(240_000, 600_000));
    primary.pausedUntilUs = world.timeline.nowUs + 900_000;
    link(world, primary, far, true);
    const isFetching = (): boolean => fetchOf(world) !== undefined;
    when(world, 700_000, isFetching, () => disturb(world, fetchOf(world)));
  });
  return true;
}

function fetchOf(world: World): WalFetch | undefined {
  const phase = groupOf(world)?.phase;
  return phase?.kind === 'fencing' ? runningFetch(phase) : undefined;
}

function disturb(world: World, fetch: WalFetch | undefined): void {
  const [taker, source] = [fetch?.node, fetch?.from].map((node) => node && world.nodeHost.get(node));
  if (taker?.postgres === undefined || source?.postgres === undefined) return;
  switch (world.random.below(5)) {
    case 0:
      link(world, taker, source, false);
      return later(world, 500_000, () => link(world, taker, source, true));
    case 1:
      endProcess(world, taker, 'its agent is restarted while it fetches WAL');
      return later(world, world.random.between(1000, 400_000), () => startProcess(world, taker));
    case 2:
      return stopPostgres(world, source.postgres);
    case 3:
      return stopPostgres(world, taker.postgres);
    default:
  }
}
