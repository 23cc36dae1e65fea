// The end of every life: peace. First a bare majority must get on without the rest; then all return, a person replaces what is
// lost, and everything must come back: a leader, the membership that is wanted, the group with all its standbys, writes.
import type { PeerId } from '../../src/base/ids.ts';
import { lastIndex } from '../../src/raft/log.ts';
import { majority } from '../../src/raft/quorum.ts';
import type { Membership } from '../../src/raft/types.ts';
import { checkDisks } from './checks/log-checks.ts';
import { checkHolds } from './checks/group-checks.ts';
import { checkHistory, readRegister, writeRegister } from './clients/clients.ts';
import type { Operation } from './clients/history.ts';
import { MEMBERSHIP_CODEC } from './cluster/bridge.ts';
import { tell } from './describe.ts';
import { run } from './dispatch.ts';
import { shuffled } from './engine/random.ts';
import { violated } from './engine/violation.ts';
import { membershipsInForce } from './faults/atlas.ts';
import { GROUP, describeNode, isPrimary } from './postgres/postgres.ts';
import { FEATURES_MAX, endProcess, startProcess } from './raft/process.ts';
import { EVENT, type Host, type Packet, type World, leaderHost } from './world.ts';

const LOOK_EVERY_US = 40_000;
const MAJORITY_US_MAX = 15_000_000;
const ALL_US_MAX = 30_000_000;

/** Throws where something does not come back. */
export function makePeace(world: World): void {
  world.isTroubled = false;
  world.peaceAtEvent = world.timeline.count;
  calm(world);
  if (world.lost.size === 0 && world.recovering === undefined && membershipsInForce(world).length > 0) {
    const awake = bareMajority(world);
    tell(world, () => `peace for ${awake.map((host) => host.id).join(' ')}`);
    for (const host of world.hosts) {
      host.isHeldDown = !awake.includes(host);
      if (host.isHeldDown) endProcess(world, host, 'it stays away');
      else startProcess(world, host);
    }
    mustSoon(world, MAJORITY_US_MAX, () => obstacleForSome(world, awake));
  }
  tell(world, () => 'peace for all');
  for (const host of world.hosts) {
    host.isHeldDown = false;
    startProcess(world, host);
  }
  mustSoon(world, ALL_US_MAX, () => obstacleForAll(world));
  mustWrite(world);
  checkHistory(world);
  const leader = leaderHost(world);
  if (leader?.raft !== undefined) checkDisks(world, leader.raft.membership);
  for (const node of world.groupChecks.nodes)
    if (isPrimary(node) && node.isAdmitting) checkHolds(world, node, 'goes on');
}

/** Nothing is lost, late or hung any more; what is broken stays broken until a person sees to it. */
function calm(world: World): void {
  const { network } = world;
  network.blocked.fill(0);
  network.lossPpm = 0;
  network.repeatPpm = 0;
  network.stragglePpm = 0;
  network.lateHeartbeatPpm = 0;
  // Who has moved without the others having been told could otherwise be the one whose log nobody else may lead without.
  network.forwards = true;
  network.delayUsMax = Math.min(network.delayUsMax, 3000);
  world.writeUsMax = Math.min(world.writeUsMax, 3000);
  world.crashPpm = 0;
  // Whoever still runs an old version is upgraded.
  for (const host of world.hosts) {
    if (host.features === FEATURES_MAX || !world.profile.mixedVersions) continue;
    host.features = FEATURES_MAX;
    endProcess(world, host, 'it is upgraded');
  }
  for (const host of world.hosts) {
    host.pausedUntilUs = 0;
    // What people asked for and nobody has looked at yet, they do not ask for any more.
    host.inbox = host.inbox.filter(
      (event) => event.kind !== 'change-membership' && event.kind !== 'transfer',
    );
    host.effectsUntilCrash = -1;
    host.diskHangsUntilUs = Math.min(host.diskHangsUntilUs, world.timeline.nowUs);
    host.diskFullUntilUs = 0;
    host.failsNextWrite = false;
    if (host.postgres !== undefined) host.postgres.isFrozen = false;
  }
}

/** As few as may be, but a majority of every membership that somebody goes by. */
function bareMajority(world: World): readonly Host[] {
  const memberships = membershipsOnDisks(world);
  const awake = new Set(world.hosts.filter((host) => host.quarantine === undefined));
  // One that has not been told yet that it is a voter cannot stand, and may have the longest log of all.
  const counts = (voter: PeerId): boolean => {
    const host = world.hostOf.get(voter) as Host;
    return awake.has(host) && host.raft?.membership.voters.includes(voter) === true;
  };
  const isEnough = ({ voters }: Membership): boolean =>
    voters.filter(counts).length >= majority(voters.length);
  for (const host of shuffled(world.random, world.hosts)) {
    awake.delete(host);
    if (!memberships.every(isEnough)) awake.add(host);
  }
  return world.hosts.filter((host) => awake.has(host));
}

/** Also of those that are down: they are started to be asked. */
function membershipsOnDisks(world: World): readonly Membership[] {
  for (const host of world.hosts) startProcess(world, host);
  return [...membershipsInForce(world), ...membershipsOnTheWay(world)];
}

/** Those whose entry is still under way: a leader may have sent it and died before anybody, itself too, wrote it down. */
function membershipsOnTheWay({ timeline, hosts }: World): Membership[] {
  const { events, size } = timeline;
  const packets = events.slice(0, size).filter(({ kind }) => kind === EVENT.deliver);
  const messages = [
    ...packets.map(({ ref }) => (ref as Packet).message),
    ...hosts.flatMap(({ inbox }) =>
      inbox.flatMap((event) => (event.kind === 'receive' ? [event.message] : [])),
    ),
  ];
  return messages.flatMap((message) =>
    message.kind === 'append-request'
      ? message.entries.flatMap(({ kind, data }) =>
          kind === 'config' ? [MEMBERSHIP_CODEC.decode(data)] : [],
        )
      : [],
  );
}

/** Runs until there is no obstacle any more. */
function mustSoon(world: World, durationUsMax: number, obstacle: () => string | undefined): void {
  const untilUs = world.timeline.nowUs + durationUsMax;
  for (;;) {
    const found = obstacle();
    if (found === undefined) return;
    if (world.timeline.nowUs >= untilUs)
      violated('LivenessAfterHeal', `after ${durationUsMax / 1_000_000} s of peace ${found}`);
    run(world, world.timeline.nowUs + LOOK_EVERY_US);
  }
}

/** A leader that all who are awake and belong to it follow, and that commits what they propose. */
function obstacleForSome(world: World, awake: readonly Host[]): string | undefined {
  const leader = leaderHost(world);
  if (leader?.raft === undefined) return 'there is no leader';
  const { raft } = leader;
  if (raft.commitIndex < lastIndex(raft.log)) return `${leader.id} has not committed all of its log`;
  for (const host of awake) {
    if (!raft.membership.voters.includes(host.id)) continue;
    if (host.raft === undefined || host.replica === undefined) return `${host.id} is down`;
    if (!host.replica.proposer.isOpen) return `${host.id} has no session`;
    if (host.replica.state.appliedIndex < raft.commitIndex) return `${host.id} has not applied all`;
    const progress = raft.leading?.progress.get(host.id);
    if (progress?.mode === 'probe') return `${leader.id} still probes what ${host.id} holds`;
  }
  return undefined;
}

function obstacleForAll(world: World): string | undefined {
  if (world.recovering !== undefined) return 'the cluster is not recovered';
  if (world.lost.size > 0) return `${[...world.lost].join(' ')} is not replaced`;
  const leader = leaderHost(world);
  if (leader?.raft === undefined) return 'there is no leader';
  const { voters } = leader.raft.membership;
  for (const peer of world.wanted) if (!voters.includes(peer)) return `${peer} is not a voter`;
  return obstacleForSome(world, world.hosts) ?? obstacleForGroup(world, leader);
}

/** The group runs, with every standby in its rule, and nothing pending. */
function obstacleForGroup(world: World, leader: Host): string | undefined {
  const state = leader.replica?.state;
  const group = state?.groups.get(GROUP);
  if (state === undefined || group === undefined) return 'there is no group';
  const { phase, rule, next, floor, scheduled, restarts, toAdopt } = group;
  const standing = (): string => world.groupChecks.nodes.map(describeNode).join('; ');
  if (phase.kind !== 'running') return `the group is ${phase.kind}: ${standing()}`;
  if (next !== undefined) return `the rule is being changed: ${standing()}`;
  if (toAdopt.length > 0) return `${toAdopt.join(' ')} is not taken over: ${standing()}`;
  if (scheduled !== undefined) return `a switchover is scheduled still: ${standing()}`;
  if (restarts.length > 0) return `a restart of ${restarts[0]?.node} is scheduled still: ${standing()}`;
  if (floor !== undefined) return `the floor stands: ${standing()}`;
  const primary = world.nodeHost.get(phase.primary)?.postgres;
  if (primary === undefined || !isPrimary(primary) || !primary.isAdmitting)
    return `${phase.primary} is not open: ${standing()}`;
  for (const node of world.groupChecks.nodes) {
    if (node === primary) continue;
    if (node.member === undefined || !rule.members.includes(node.member))
      return `${node.name} is not in the rule: ${standing()}`;
  }
  return undefined;
}

/** A read or a write that must be answered; one whose outcome is not known (a snapshot covered it) is asked for again. */
interface Question {
  readonly ask: () => Operation | undefined;
  operation: Operation | undefined;
  askedUs: number;
}

const ASK_AGAIN_US = 1_000_000;

/** Reads and writes through every peer, and writes to PostgreSQL, are answered. */
function mustWrite(world: World): void {
  const questions: Question[] = [];
  for (const host of world.hosts) {
    const ways = [
      () => writeRegister(world, host, host.place % 4),
      () => readRegister(world, host, (host.place + 1) % 4),
    ];
    for (const ask of ways) questions.push({ ask, operation: undefined, askedUs: -ASK_AGAIN_US });
  }
  const before = world.groupChecks.acknowledged.length;
  mustSoon(world, 8_000_000, () => {
    const open = questions.filter((question) => question.operation?.returnedAt === undefined);
    for (const question of open) {
      if (world.timeline.nowUs - question.askedUs < ASK_AGAIN_US) continue;
      question.askedUs = world.timeline.nowUs;
      question.operation = question.ask();
    }
    if (open.length > 0) return `${open.length} reads and writes of the log have no answer`;
    return world.groupChecks.acknowledged.length > before ? undefined : 'PostgreSQL acknowledges nothing';
  });
}
