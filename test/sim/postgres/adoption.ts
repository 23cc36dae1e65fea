// Servers that somebody else has made and started become ours (src/actions/adopt-duty.ts is what this stands for): a primary goes on as it is,
// a standby is stopped at its turn, and the next step of its agent starts it with our settings.
// Must never stop a primary that is being adopted.
import type { FoundServer } from '../../../src/cluster/report.ts';
import { timeline } from '../../../src/base/ids.ts';
import { timelineOf } from '../../../src/failover/testing/wal.ts';
import { type DutyOf, type Pass, confirms, newMember, proposeOnce, register } from './pass.ts';
import { GROUP, type Postgres, isForeign, isPrimary, stop } from './postgres.ts';
import { dropReceiver } from './streams.ts';

/** Its server runs, or ran until just now, as somebody else has started it. */
const isBeingAdopted = ({ state, node }: Pass): boolean =>
  state.groups.get(GROUP)?.toAdopt.includes(node.name) === true;

/** True where the log knows it, so that the node can say where it stands. */
function hasMember(pass: Pass): boolean {
  const { node, state } = pass;
  node.member ??= newMember(pass);
  if (state.nodes.get(node.name)?.member === node.member) return true;
  register(pass);
  return false;
}

/** One step over a server that is not ours, by the duty of the group's primary. */
export function carryOutUnprotected(pass: Pass, duty: DutyOf<'primary'>): boolean {
  const { node, agent } = pass;
  // It enforces no rule.
  if (duty.isUnprotected !== true) return stopForeign(pass);
  agent.hasSeenPrimary = true;
  agent.goneSinceUs = -1;
  if (!isPrimary(node)) {
    // It was handed over, and the group was given back to it before it ran again.
    if (node.receiver === undefined && confirms(pass, 'primary', duty.epoch) === true)
      return stopForeign(pass);
    return false;
  }
  hasMember(pass);
  return false;
}

/** At its turn it gets a member id and is stopped; any other server that is not ours is stopped as well. */
export function takeOverStandby(pass: Pass, duty: DutyOf<'follow'>): boolean {
  if (duty.isAdopted === true && (isPrimary(pass.node) || !hasMember(pass))) return false;
  if (confirms(pass, 'follow', duty.epoch) !== true) return true;
  return stopForeign(pass);
}

/** Undefined: it is ours, and cut as any other. What is not ours can be neither cut nor asked where it stands. */
export function cutForeign(pass: Pass, duty: DutyOf<'cut'>): boolean | undefined {
  const { node } = pass;
  if (isBeingAdopted(pass) && node.isFit && !hasMember(pass)) return false;
  if (!isForeign(node)) return undefined;
  if (confirms(pass, 'cut', duty.epoch) !== true) return true;
  return stopForeign(pass);
}

function stopForeign({ world, node }: Pass): boolean {
  dropReceiver(world, node);
  stop(node);
  return true;
}

/** The server runs with our settings now. */
export function confirmAdopted(pass: Pass, duty: DutyOf<'primary' | 'follow'>): void {
  const { group, epoch } = duty;
  proposeOnce(pass, { kind: 'node-adopted', group, epoch, node: pass.node.name });
}

/** What its agent tells of a server that is not ours, while there is no group. */
export function foundServer(node: Postgres): FoundServer | undefined {
  if (!isForeign(node)) return undefined;
  return {
    role: node.role,
    version: '15.4',
    timeline: timeline(timelineOf(node.wal)),
    upstream: node.upstream === undefined ? undefined : { host: node.upstream, port: 5432 },
    freeSlots: 10,
    ...{ kept: [], replaced: [], hba: [], notices: [], problems: [] },
  };
}
