// Chains of misfortunes in a group: each step comes when the one before has had its effect, so that what chance alone would bring
// together once in a million lives happens often. None asks for more than single faults do: a network that is cut, a process that
// pauses, a host that loses power, a data directory that is lost.
// Must never lose data that is nowhere else.
import type { GroupState } from '../../../src/cluster/state.ts';
import { GROUP, type Postgres, isPrimary, stop } from '../postgres/postgres.ts';
import { dropReceiver } from '../postgres/streams.ts';
import { endProcess, startProcess } from '../raft/process.ts';
import { EVENT, type Host, type World, after, newestState } from '../world.ts';

/** A primary and two of its standbys, all well and in the rule. */
interface Trio {
  readonly primary: Host;
  readonly near: Host;
  readonly far: Host;
}

const LOOK_EVERY_US = 1500;

/**
 * A failover is begun though the primary is only frozen; the agent of one standby is restarted when it has reported, and the other one
 * is late with its report. The primary wakes up meanwhile.
 */
export function ambushCut(world: World): boolean {
  const trio = trioOf(world);
  if (trio === undefined) return false;
  const { primary, near, far } = trio;
  const { postgres } = primary;
  if (postgres === undefined) return false;
  freeze(world, postgres, world.random.between(240_000, 360_000));
  primary.pausedUntilUs = world.timeline.nowUs + 900_000;
  when(world, 600_000, hasReported(world, near), () => {
    far.pausedUntilUs = world.timeline.nowUs + world.random.between(150_000, 400_000);
    endProcess(world, near, 'its agent is restarted after the report');
    later(world, world.random.between(1000, 10_000), () => startProcess(world, near));
  });
  return true;
}

/**
 * One standby falls behind; the connection of the other one is left half open while it comes back. Then the primary is lost and the
 * agent of the one that came back is silent.
 */
export function ambushHalfOpen(world: World): boolean {
  const trio = trioOf(world);
  if (trio === undefined) return false;
  const { primary, near, far } = trio;
  link(world, primary, far, false);
  later(world, world.random.between(3000, 30_000), () => {
    if (near.postgres === undefined) return;
    link(world, primary, near, false);
    stopPostgres(world, near.postgres);
    link(world, primary, near, true);
  });
  later(world, world.random.between(70_000, 170_000), () => {
    near.pausedUntilUs = world.timeline.nowUs + 700_000;
    holdDown(world, primary);
    link(world, primary, far, true);
  });
  return true;
}

/** One standby falls behind; the other one loses its data and is cloned anew. The primary is lost before that one has caught up. */
export function ambushClone(world: World): boolean {
  const trio = trioOf(world);
  const node = trio?.near.postgres;
  if (trio === undefined || node === undefined) return false;
  const { primary, near, far } = trio;
  link(world, primary, far, false);
  later(world, world.random.between(5000, 40_000), () => {
    stopPostgres(world, node);
    node.isFit = false;
    node.member = undefined;
    node.wal = [];
    when(
      world,
      140_000,
      () => node.isFit,
      () => {
        link(world, primary, near, false);
        holdDown(world, primary);
      },
    );
  });
  later(world, 200_000, () => {
    link(world, primary, near, true);
    link(world, primary, far, true);
  });
  return true;
}

/**
 * The agent of one standby is silent until it is out of the rule, though it streams on. Then the other one is cut off from the
 * primary for a moment, and the primary is lost.
 */
export function ambushRuleChange(world: World): boolean {
  const trio = trioOf(world);
  const member = trio?.near.postgres?.member;
  if (trio === undefined || member === undefined) return false;
  const { primary, near, far } = trio;
  near.pausedUntilUs = world.timeline.nowUs + 1_500_000;
  const isOut = (): boolean => {
    const group = groupOf(world);
    return group !== undefined && group.next === undefined && !group.rule.members.includes(member);
  };
  when(world, 1_000_000, isOut, () => {
    link(world, primary, far, false);
    later(world, world.random.between(10_000, 60_000), () => {
      holdDown(world, primary);
      link(world, primary, far, true);
    });
  });
  return true;
}

/**
 * One standby falls behind, the primary is lost, and the other one is promoted. The two lose sight of each other, and that one is
 * lost, too, before the first has reached the switch point of the promotion.
 */
export function ambushFloor(world: World): boolean {
  const trio = trioOf(world);
  if (trio === undefined) return false;
  const { primary, near, far } = trio;
  link(world, primary, far, false);
  const isChosen = (): boolean => {
    const phase = groupOf(world)?.phase;
    return phase?.kind === 'promoting' && phase.primary === near.postgres?.name;
  };
  const isOpen = (): boolean => near.postgres !== undefined && isPrimary(near.postgres);
  later(world, world.random.between(5000, 40_000), () => {
    holdDown(world, primary);
    when(world, 900_000, isChosen, () => {
      link(world, near, far, false);
      when(world, 100_000, isOpen, () => {
        later(world, world.random.below(20_000), () => {
          holdDown(world, near);
          link(world, near, far, true);
        });
      });
    });
  });
  later(world, 900_000, () => {
    link(world, primary, far, true);
    link(world, near, far, true);
  });
  return true;
}

export const groupOf = (world: World): GroupState | undefined => newestState(world)?.groups.get(GROUP);

export function trioOf(world: World): Trio | undefined {
  const group = groupOf(world);
  if (group?.phase.kind !== 'running' || group.next !== undefined || world.lost.size > 0) return undefined;
  const primary = world.nodeHost.get(group.phase.primary);
  const standbys = world.hosts.filter(({ postgres, raft }) => {
    if (postgres?.member === undefined || raft === undefined || !postgres.isUp || isPrimary(postgres))
      return false;
    return group.rule.members.includes(postgres.member);
  });
  if (primary?.postgres === undefined || !isPrimary(primary.postgres) || standbys.length < 2)
    return undefined;
  const near = world.random.pick(standbys);
  const far = world.random.pick(standbys.filter((host) => host !== near));
  return { primary, near, far };
}

/** The report of this host's node is in the log, and nobody was chosen yet. */
function hasReported(world: World, { postgres }: Host): () => boolean {
  return () => {
    const phase = groupOf(world)?.phase;
    return phase?.kind === 'fencing' && phase.reports.some((report) => report.node === postgres?.name);
  };
}

/** Looks again and again; where it does not come true within `withinUs`, nothing happens. */
export function when(world: World, withinUs: number, isSo: () => boolean, then: () => void): void {
  const untilUs = world.timeline.nowUs + withinUs;
  const look = (): void => {
    if (!world.isTroubled || world.timeline.nowUs > untilUs) return;
    if (isSo()) then();
    else later(world, LOOK_EVERY_US, look);
  };
  look();
}

export function later(world: World, delayUs: number, work: () => void): void {
  const ref = (): void => {
    if (world.isTroubled) work();
  };
  after(world, delayUs, { kind: EVENT.faultEnd, host: 0, boot: -1, ref });
}

export function link(world: World, a: Host, b: Host, isOpen: boolean): void {
  const { blocked } = world.network;
  blocked[a.place * world.hosts.length + b.place] = isOpen ? 0 : 1;
  blocked[b.place * world.hosts.length + a.place] = isOpen ? 0 : 1;
}

export function freeze(world: World, node: Postgres, durationUs: number): void {
  node.isFrozen = true;
  node.frozenUntilUs = world.timeline.nowUs + durationUs;
  const { startCount } = node;
  later(world, durationUs, () => {
    if (node.startCount === startCount) node.isFrozen = false;
  });
}

export function stopPostgres(world: World, node: Postgres): void {
  dropReceiver(world, node);
  stop(node);
}

/** Without power for a good while. */
function holdDown(world: World, host: Host): void {
  losePower(world, host);
  host.isHeldDown = true;
  later(world, 1_100_000, () => {
    host.isHeldDown = false;
  });
}

function losePower(world: World, host: Host): void {
  endProcess(world, host, 'its host loses power');
  if (host.postgres !== undefined) stopPostgres(world, host.postgres);
}
