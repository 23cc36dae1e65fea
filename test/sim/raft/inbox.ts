// The one inbox of a process: everything waits here until the loop is free. Callbacks only enqueue.
import type { RaftEvent } from '../../../src/raft/types.ts';
import { EVENT, type Host, type World, after } from '../world.ts';

/** As in src/daemon/consensus.ts: messages may be lost by contract, our own events may not. */
const INBOX_COUNT_MAX = 10_000;

export function put(world: World, host: Host, event: RaftEvent): void {
  if (host.raft === undefined) return;
  if (event.kind === 'receive' && host.inbox.length >= INBOX_COUNT_MAX) return;
  host.inbox.push(event);
  scheduleDrain(world, host);
}

export function scheduleDrain(world: World, host: Host): void {
  if (host.isDrainScheduled) return;
  host.isDrainScheduled = true;
  const atUs = Math.max(host.busyUntilUs, host.pausedUntilUs);
  after(world, atUs - world.timeline.nowUs, {
    kind: EVENT.drain,
    host: host.place,
    boot: host.boot,
    ref: undefined,
  });
}

export function isFree(world: World, host: Host): boolean {
  const { nowUs } = world.timeline;
  return host.busyUntilUs <= nowUs && host.pausedUntilUs <= nowUs;
}
