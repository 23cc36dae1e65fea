// What can befall a cluster beyond single messages. Each fault ends by itself or can be repaired; what would ask the impossible
// does not happen (atlas.ts). A fault says whether it found something to befall.
import { majority } from '../../../src/raft/quorum.ts';
import { JOINING, switchOver } from '../admin.ts';
import { forgetDisk, noteLoss } from '../checks/log-checks.ts';
import { tell } from '../describe.ts';
import { type Damage, damage } from '../disk/damage.ts';
import { type Disk, durableLastIndex, durableTerm, durableTermAt, imageOf, wipe } from '../disk/disk.ts';
import { GROUP, type Postgres, isPrimary, stop } from '../postgres/postgres.ts';
import { dropReceiver } from '../postgres/streams.ts';
import { put } from '../raft/inbox.ts';
import { endProcess } from '../raft/process.ts';
import { noteFault } from '../tally.ts';
import {
  EVENT,
  type Host,
  type Packet,
  type World,
  after,
  leaderHost,
  newestState,
  nowMsOf,
} from '../world.ts';
import { ambushClone, ambushCut, ambushFloor, ambushHalfOpen, ambushRuleChange } from './ambush.ts';
import { ambushFetch } from './ambush-fetch.ts';
import { ambushDeafLeader, ambushReigns } from './ambush-reigns.ts';
import { mayForget, mayLose, mayRemove } from './atlas.ts';

export const FAULT_NAMES = [
  'partition',
  'one-way-block',
  'block-one-pair',
  'isolate-leader',
  'isolate-primary',
  'heal',
  'loss-burst',
  'replay-old-messages',
  'relieve-deaf-leader',
  'crash-process',
  'crash-leader',
  'crash-all',
  'crash-at-effect',
  'crash-host',
  'crash-agent-of-primary',
  'pause',
  'pause-leader',
  'stalled-loop',
  'clock-jump',
  'clock-drift',
  'fsync-hang',
  'fsync-error',
  'write-error',
  'full-disk',
  'bit-flip',
  'lost-tail',
  'stale-image',
  'wiped-disk',
  'transfer',
  'membership-change-in-partition',
  'switchover',
  'quorum-loss',
  'postgres-crash',
  'postgres-crash-primary',
  'postgres-freeze',
  'postgres-link-cut',
  'walsender-ends',
  'standby-data-lost',
  'ambush-cut',
  'ambush-half-open',
  'ambush-clone',
  'ambush-rule-change',
  'ambush-floor',
  'ambush-fetch',
  'ambush-reigns',
  'ambush-deaf-leader',
] as const;
export type FaultName = (typeof FAULT_NAMES)[number];

/** Lets one fault happen, and plans the next. */
export function onFault(world: World): void {
  if (!world.isTroubled) return;
  const { random, profile } = world;
  strike(world, random.pick(profile.faults));
  after(world, random.between(profile.faultEveryUs[0], profile.faultEveryUs[1]), {
    kind: EVENT.fault,
    host: 0,
    boot: -1,
    ref: undefined,
  });
}

export function strike(world: World, name: FaultName): void {
  if (!FAULTS[name](world)) return;
  tell(world, () => `fault: ${name}`);
  noteFault(world.tally, name);
}

const FAULTS: Record<FaultName, (world: World) => boolean> = {
  partition(world) {
    const side = world.hosts.map(() => world.random.ppm(500_000));
    world.network.blocked.fill(0);
    for (const a of world.hosts)
      for (const b of world.hosts) if (side[a.place] !== side[b.place]) block(world, a, b);
    return true;
  },
  'one-way-block': (world) => {
    block(world, any(world), any(world));
    return true;
  },
  'block-one-pair': (world) => {
    blockBoth(world, any(world), any(world));
    return true;
  },
  'isolate-leader': (world) => isolate(world, leaderHost(world)),
  'isolate-primary': (world) => isolate(world, primaryHost(world)),
  heal(world) {
    const was = world.network.blocked.includes(1);
    world.network.blocked.fill(0);
    return was;
  },
  'loss-burst'(world) {
    const before = world.network.lossPpm;
    if (before >= 400_000) return false;
    world.network.lossPpm = 400_000;
    later(world, world.random.between(50_000, 300_000), () => {
      if (world.isTroubled) world.network.lossPpm = before;
    });
    return true;
  },
  'replay-old-messages'(world) {
    const { old } = world.network;
    for (const packet of old.slice(0, 12)) {
      const late: Packet = { ...packet, toBoot: world.hosts[packet.to]?.boot ?? 0 };
      const delayUs = world.random.below(30_000);
      after(world, delayUs, { kind: EVENT.deliver, host: packet.to, boot: -1, ref: late });
    }
    return old.length > 0;
  },
  'relieve-deaf-leader': relieveDeafLeader,
  'crash-process': (world) => crash(world, any(world), 'it is killed'),
  'crash-leader': (world) => crash(world, leaderHost(world), 'the leader is killed'),
  'crash-all'(world) {
    if (!world.random.ppm(300_000)) return false;
    for (const host of world.hosts) crash(world, host, 'power is lost everywhere');
    return true;
  },
  'crash-at-effect'(world) {
    const host = world.random.ppm(500_000) ? any(world) : leaderHost(world);
    if (host?.raft === undefined) return false;
    host.effectsUntilCrash = world.random.below(12);
    return true;
  },
  'crash-host': (world) => {
    const host = world.random.ppm(500_000) ? any(world) : primaryHost(world);
    if (host === undefined) return false;
    crash(world, host, 'its host loses power');
    if (host.postgres !== undefined) stopPostgres(world, host.postgres);
    return true;
  },
  'crash-agent-of-primary': (world) => crash(world, primaryHost(world), 'the agent of the primary is killed'),
  pause: (world) => pause(world, any(world)),
  'pause-leader': (world) => pause(world, leaderHost(world)),
  'stalled-loop'(world) {
    const host = any(world);
    host.busyUntilUs = world.timeline.nowUs + world.random.between(30_000, 400_000);
    return host.raft !== undefined;
  },
  'clock-jump'(world) {
    any(world).clock.baseUs += world.random.between(20_000, 600_000);
    return true;
  },
  'clock-drift'(world) {
    const host = any(world);
    const baseUs = Math.floor(nowMsOf(world, host) * 1000);
    host.clock = { baseUs, sinceUs: world.timeline.nowUs, ratePpm: world.random.between(800_000, 1_200_000) };
    return true;
  },
  'fsync-hang'(world) {
    const host = world.random.ppm(500_000) ? any(world) : leaderHost(world);
    if (host === undefined) return false;
    host.diskHangsUntilUs = world.timeline.nowUs + world.random.between(50_000, 1_200_000);
    return true;
  },
  'fsync-error': failWrite,
  'write-error': failWrite,
  'full-disk'(world) {
    const host = any(world);
    if (host.raft === undefined) return false;
    host.diskFullUntilUs = world.timeline.nowUs + world.random.between(50_000, 500_000);
    return true;
  },
  'bit-flip': (world) =>
    damageOne(
      world,
      world.random.pick(['bit-flip-entry', 'bit-flip-state', 'bit-flip-snapshot', 'bit-flip-side-file']),
    ),
  'lost-tail': (world) => damageOne(world, world.random.pick(['tail-dropped', 'hole', 'side-file-lost'])),
  'stale-image': (world) =>
    world.random.ppm(600_000)
      ? damageOne(world, world.random.pick(['stale-log', 'stale-side-file']))
      : restoreImage(world),
  'wiped-disk': wipeUnderOldId,
  transfer(world) {
    const leader = leaderHost(world);
    if (leader === undefined) return false;
    world.tally.transfers += 1;
    put(world, leader, { kind: 'transfer', nowMs: 0, to: any(world).id });
    return true;
  },
  'membership-change-in-partition': changeInPartition,
  switchover(world) {
    const leader = leaderHost(world);
    if (leader !== undefined) switchOver(world, leader);
    return leader !== undefined;
  },
  'quorum-loss': loseQuorum,
  'postgres-crash': (world) => crashPostgres(world, any(world).postgres),
  'postgres-crash-primary': (world) => crashPostgres(world, primaryHost(world)?.postgres),
  'postgres-freeze'(world) {
    const node = any(world).postgres;
    if (node === undefined || !node.isUp) return false;
    node.isFrozen = true;
    node.frozenUntilUs = world.timeline.nowUs + world.random.between(20_000, 600_000);
    const { startCount } = node;
    later(world, node.frozenUntilUs - world.timeline.nowUs, () => {
      if (node.startCount === startCount) node.isFrozen = false;
    });
    return true;
  },
  'postgres-link-cut'(world) {
    const primary = primaryHost(world);
    const other = any(world);
    if (primary === undefined || primary === other || other.postgres === undefined) return false;
    blockBoth(world, primary, other);
    later(world, world.random.between(30_000, 700_000), () => unblock(world, primary, other));
    return true;
  },
  'ambush-cut': ambushCut,
  'ambush-half-open': ambushHalfOpen,
  'ambush-clone': ambushClone,
  'ambush-rule-change': ambushRuleChange,
  'ambush-floor': ambushFloor,
  'ambush-fetch': ambushFetch,
  'ambush-reigns': ambushReigns,
  'ambush-deaf-leader': ambushDeafLeader,
  'walsender-ends'(world) {
    const node = primaryHost(world)?.postgres;
    if (node === undefined || node.senders.length === 0) return false;
    node.senders.splice(world.random.below(node.senders.length), 1);
    return true;
  },
  'standby-data-lost'(world) {
    const node = any(world).postgres;
    if (node === undefined || !node.isFit || isPrimary(node) || isPrimaryOfLog(world, node)) return false;
    // Every node has to report after a recovery of the log: each must still have what to report.
    if (!areStandbysSettled(world) || world.recovering !== undefined) return false;
    dropReceiver(world, node);
    stop(node);
    node.isFit = false;
    node.member = undefined;
    node.wal = [];
    return true;
  },
};

const any = (world: World): Host => world.random.pick(world.hosts);

function later(world: World, delayUs: number, work: () => void): void {
  after(world, delayUs, { kind: EVENT.faultEnd, host: 0, boot: -1, ref: work });
}

export function primaryHost(world: World): Host | undefined {
  const primary = newestState(world)?.groups.get(GROUP)?.phase.primary;
  return primary === undefined ? undefined : world.nodeHost.get(primary);
}

function isPrimaryOfLog(world: World, node: Postgres): boolean {
  const phase = newestState(world)?.groups.get(GROUP)?.phase;
  return phase === undefined || phase.kind !== 'running' || phase.primary === node.name;
}

function block(world: World, from: Host, to: Host): void {
  if (from !== to) world.network.blocked[from.place * world.hosts.length + to.place] = 1;
}

function blockBoth(world: World, a: Host, b: Host): void {
  block(world, a, b);
  block(world, b, a);
}

function unblock(world: World, a: Host, b: Host): void {
  world.network.blocked[a.place * world.hosts.length + b.place] = 0;
  world.network.blocked[b.place * world.hosts.length + a.place] = 0;
}

function isolate(world: World, host: Host | undefined): boolean {
  if (host === undefined) return false;
  for (const other of world.hosts) {
    if (world.random.ppm(900_000)) block(world, host, other);
    if (world.random.ppm(900_000)) block(world, other, host);
  }
  later(world, world.random.between(200_000, 900_000), () => {
    for (const other of world.hosts) unblock(world, host, other);
  });
  return true;
}

function crash(world: World, host: Host | undefined, why: string): boolean {
  if (host?.raft === undefined) return false;
  endProcess(world, host, why);
  return true;
}

function pause(world: World, host: Host | undefined): boolean {
  if (host?.raft === undefined) return false;
  host.pausedUntilUs = world.timeline.nowUs + world.random.between(30_000, 700_000);
  return true;
}

function failWrite(world: World): boolean {
  const host = any(world);
  if (host.raft === undefined) return false;
  host.failsNextWrite = true;
  return true;
}

function stopPostgres(world: World, node: Postgres): void {
  dropReceiver(world, node);
  stop(node);
}

function crashPostgres(world: World, node: Postgres | undefined): boolean {
  if (node === undefined || !node.isUp) return false;
  stopPostgres(world, node);
  return true;
}

/** The old leader hears nobody and so does not learn that it was relieved, while clients ask it. */
function relieveDeafLeader(world: World): boolean {
  const leader = leaderHost(world);
  const target = any(world);
  if (leader === undefined || target === leader) return false;
  put(world, leader, { kind: 'transfer', nowMs: 0, to: target.id });
  later(world, world.random.below(12_000), () => {
    if (!world.isTroubled) return;
    for (const other of world.hosts) if (world.random.ppm(950_000)) block(world, other, leader);
  });
  return true;
}

function damageOne(world: World, what: Damage): boolean {
  const host = any(world);
  if (host.disk.state === undefined || !mayLose(world, host.id) || world.recovering !== undefined)
    return false;
  endProcess(world, host, 'power is lost');
  if (!damage(host.disk, what, host.image, world.random)) return false;
  noteLoss(world.logChecks, host);
  world.lost.add(host.id);
  return true;
}

/** Now and then somebody makes a backup of a disk. */
export function takeImage(world: World): void {
  const host = any(world);
  host.image = imageOf(host.disk);
}

/** The whole directory is an older copy: the peer itself cannot know. */
function restoreImage(world: World): boolean {
  const host = any(world);
  const { image } = host;
  if (image?.state === undefined || image.state.storeId !== host.disk.state?.storeId) return false;
  if (!mayForget(world, host) || world.recovering !== undefined) return false;
  endProcess(world, host, 'its disk is put back to a backup');
  const old: Disk = imageOf(image);
  host.disk.records = old.records;
  host.disk.state = old.state;
  [host.disk.slots[0], host.disk.slots[1]] = old.slots;
  host.disk.snapshots = old.snapshots;
  forgetDisk(world.logChecks, host);
  host.isAmnesiac = true;
  world.lost.add(host.id);
  return true;
}

function wipeUnderOldId(world: World): boolean {
  const host = any(world);
  if (!mayForget(world, host) || host.initialMembership === JOINING || world.recovering !== undefined)
    return false;
  endProcess(world, host, 'its disk is wiped');
  wipe(host.disk);
  forgetDisk(world.logChecks, host);
  host.image = undefined;
  host.isAmnesiac = true;
  world.lost.add(host.id);
  return true;
}

/** A change is begun by a leader that can reach only some of the others. */
function changeInPartition(world: World): boolean {
  const leader = leaderHost(world);
  const membership = leader?.raft?.membership;
  if (leader === undefined || membership === undefined || world.lost.size > 0) return false;
  const peer = world.random.pick(membership.voters);
  if (!mayRemove(world, membership, peer)) return false;
  world.network.blocked.fill(0);
  for (const other of world.hosts) if (world.random.ppm(500_000)) blockBoth(world, leader, other);
  const outsider = world.hosts.find(({ id, raft }) => raft !== undefined && !membership.addresses.has(id));
  const changeId = `c${(world.counter += 1)}`;
  const change =
    outsider !== undefined && world.random.ppm(500_000)
      ? ({ kind: 'add-learner', peer: outsider.id, address: outsider.address } as const)
      : ({ kind: 'remove', peer } as const);
  put(world, leader, { kind: 'change-membership', nowMs: 0, changeId, change });
  later(world, world.random.between(100_000, 600_000), () => world.network.blocked.fill(0));
  return true;
}

/**
 * The disks of a majority are gone for good. What is left includes the peer with the longest log of all, so that nothing committed
 * is lost with them; a person will have that one go on alone.
 */
function loseQuorum(world: World): boolean {
  const leader = leaderHost(world);
  const raft = leader?.raft;
  if (raft === undefined || raft.membershipIndex > raft.commitIndex || world.lost.size > 0) return false;
  if (
    world.recovering !== undefined ||
    world.hosts.some((host) => host.raft !== undefined && host.raft.membershipIndex > raft.membershipIndex)
  )
    return false;
  // Every node has to report afterwards: each must have what to report.
  const group = newestState(world)?.groups.get(GROUP);
  if (group === undefined || group.phase.kind === 'creating' || !areAllFit(world)) return false;
  const voters = world.hosts.filter((host) => raft.membership.voters.includes(host.id));
  if (voters.length < 3) return false;
  const [survivor, ...rest] = [...voters].sort(
    (a, b) => lastTermOf(b) - lastTermOf(a) || durableLastIndex(b.disk) - durableLastIndex(a.disk),
  );
  if (survivor === undefined || durableTerm(survivor.disk) === 0) return false;
  const count = majority(voters.length);
  for (const host of rest.slice(0, count)) {
    endProcess(world, host, 'its disk is gone for good');
    wipe(host.disk);
    forgetDisk(world.logChecks, host);
    host.quarantine = 'its disk is gone';
    world.lost.add(host.id);
  }
  const atUs = world.timeline.nowUs + world.random.between(100_000, 400_000);
  world.recovering = { host: survivor, incarnation: raft.membership.incarnation, atUs };
  return true;
}

/** Every data directory is the one that the log knows, and no change of the rule counts on one of them. */
function areStandbysSettled(world: World): boolean {
  const state = newestState(world);
  if (state === undefined || state.groups.get(GROUP)?.next !== undefined) return false;
  return world.groupChecks.nodes.every(
    (node) => node.isFit && state.nodes.get(node.name)?.member === node.member,
  );
}

/** No node is without its data directory, or in the middle of a rewind or a clone. */
function areAllFit(world: World): boolean {
  const state = newestState(world);
  return world.groupChecks.nodes.every(
    (node) => node.isFit && state?.nodes.get(node.name)?.member !== undefined,
  );
}

const lastTermOf = (host: Host): number => durableTermAt(host.disk, durableLastIndex(host.disk)) ?? 0;
