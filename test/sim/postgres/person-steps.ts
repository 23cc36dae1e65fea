// What an agent does on a person's word: keeps PostgreSQL stopped, lets it go, and restarts it at a given time (src/actions/stopped-duty.ts,
// removed-duty.ts and src/daemon/restart-runner.ts are what they stand for).
// Must never destroy another data directory than the one that was taken out, nor restart a server that is not the one that the log names.
import type { Duty } from '../../../src/failover/duties.ts';
import { type DutyOf, type Pass, confirms, proposeOnce } from './pass.ts';
import { type Postgres, cut, isForeign, isPrimary, stop } from './postgres.ts';
import { dropReceiver, leaveSender } from './streams.ts';

export function carryOutStopped(pass: Pass): boolean {
  if (pass.node.isUp) stopStandby(pass);
  return false;
}

/** A walreceiver that ends tells its upstream, where it can. */
function stopStandby({ world, node }: Pass): void {
  dropReceiver(world, node);
  stop(node);
}

/** Cut off and left running, or stopped, or its data directory removed as well; a primary is stopped in any case. */
export function carryOutRemoved(pass: Pass, duty: DutyOf<'removed'>): boolean {
  const { node, world } = pass;
  if (node.isUp && duty.leaving === 'leave' && !isPrimary(node)) {
    // There is nothing of ours in it to cut off.
    if (isForeign(node)) return false;
    if (node.upstream === undefined && node.receiver === undefined) return false;
    if (confirms(pass, 'removed', duty.epoch) !== true) return true;
    const { receiver } = node;
    cut(node);
    if (receiver !== undefined) leaveSender(world, node, receiver);
    return false;
  }
  if (!node.isUp && (duty.leaving !== 'destroy' || !isMeant(node, duty))) return false;
  if (confirms(pass, 'removed', duty.epoch) !== true) return true;
  if (node.isUp) stopStandby(pass);
  else destroy(node);
  return true;
}

const isMeant = (node: Postgres, { member }: DutyOf<'removed'>): boolean =>
  node.isFit && node.member !== undefined && node.member === member;

function destroy(node: Postgres): void {
  node.isFit = false;
  node.member = undefined;
  node.wal = [];
}

/** One step of a restart that has begun; true where it was taken. When a run of the server began is told by its number. */
export function restartAsScheduled(pass: Pass, duty: Exclude<Duty, { kind: 'none' }>): boolean {
  const { node, agent, state } = pass;
  const group = state.groups.get(duty.group);
  const restart = group?.restarts.find(
    (each) => each.node === node.name && each.serverStartedAtS !== undefined,
  );
  if (group === undefined || restart === undefined) return false;
  const end = (outcome: string): boolean => {
    const { atMs: onlyAtMs } = restart;
    const base = { kind: 'schedule-restart', group: group.id, node: node.name, onlyAtMs } as const;
    proposeOnce(pass, { ...base, at: undefined, outcome });
    return false;
  };
  if (!node.isUp) return false;
  if (restart.serverStartedAtS !== node.startCount) return end('done, it runs anew');
  const isItsTurn = duty.kind === 'follow' || (duty.kind === 'primary' && restart.inPlace);
  if (!isItsTurn) return end('failed: it is another time for that');
  if (confirms(pass, duty.kind, duty.epoch) !== true) return true;
  if (node.role === 'primary') {
    stop(node);
    // It is started again at once: nobody is to take over.
    agent.hasSeenPrimary = false;
  } else stopStandby(pass);
  return true;
}
