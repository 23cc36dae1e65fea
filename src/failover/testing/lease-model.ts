// The lease of an asynchronous primary in the protocol's model: its agent asks the leader, its guard stops PostgreSQL when it has run
// out, late by as much as clocks may run apart. Never used outside tests.
import { compareFences } from '../../cluster/fence.ts';
import { duties } from '../duties.ts';
import type { DutyOf, Surroundings } from './agent-model.ts';
import { type NodeModel, isPrimary, stop } from './postgres-model.ts';

/** Just below the drift that the leader waits for (decide.ts). */
const GUARD_LATE_MS = 3999;

/**
 * One step of renewing it: ask, have the leader answer, take the answer; true while it lasts. Nothing that came in between may count:
 * it runs from the moment of asking.
 */
export function holdLease(
  node: NodeModel,
  world: Surroundings,
  duty: DutyOf<'primary' | 'promote' | 'hand-over'>,
): boolean {
  const { memo, isConnected } = node.agent;
  const { lease } = memo;
  if (lease === undefined) memo.lease = { askedAtMs: world.nowMs, isGranted: false };
  else if (lease.isGranted) {
    // Answers take their time.
    if (world.chance(0.7)) return isHeld(node, world);
    const leaseMs = world.state.groups.get(duty.group)?.settings.leaseMs ?? 0;
    node.leaseUntilMs = Math.max(node.leaseUntilMs ?? 0, lease.askedAtMs + leaseMs);
    delete memo.lease;
  } else if (isConnected) {
    const now = duties(world.truth, node.name);
    const isStill = now.kind === duty.kind && compareFences(now, duty) === 0;
    if (isStill) memo.lease = { ...lease, isGranted: true };
    else delete memo.lease;
  }
  return isHeld(node, world);
}

function isHeld(node: NodeModel, world: Surroundings): boolean {
  return node.leaseUntilMs !== undefined && world.nowMs < node.leaseUntilMs;
}

/** What the guard does, whatever becomes of the agent. */
export function guard(node: NodeModel, nowMs: number): void {
  if (isPrimary(node) && node.leaseUntilMs !== undefined && nowMs >= node.leaseUntilMs + GUARD_LATE_MS)
    stop(node);
}
