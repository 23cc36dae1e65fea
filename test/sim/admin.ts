// The person who runs the cluster: replaces peers that are lost, adds those that are wanted, and does now and then what people do:
// changes the membership, moves a peer, hands over, switches over, pauses, recovers from the loss of a quorum. What people ask of a group beyond
// that is in requests.ts.
import { type NodeId, epoch, nodeId, timeline } from '../../src/base/ids.ts';
import { followersAtOnce } from '../../src/cluster/candidate.ts';
import type { CommandOf } from '../../src/cluster/applied.ts';
import type { Command, NodeRegistration, ServerWord, SyncRule } from '../../src/cluster/commands.ts';
import {
  CANDIDATES_FEATURE_LEVEL,
  CASCADE_FEATURE_LEVEL,
  FORMATIONS_FEATURE_LEVEL,
  PAUSE_FEATURE_LEVEL,
} from '../../src/cluster/features.ts';
import { DEFAULT_FORMATION, disowned } from '../../src/cluster/hosts.ts';
import { type GroupState, isHeld } from '../../src/cluster/state.ts';
import type { Membership, MembershipChange } from '../../src/raft/types.ts';
import { forgetDisk } from './checks/log-checks.ts';
import { tell } from './describe.ts';
import { wipe } from './disk/disk.ts';
import { mayRemove } from './faults/atlas.ts';
import { adopt } from './owner.ts';
import { GROUP, SYSTEM_IDENTIFIER } from './postgres/postgres.ts';
import { put } from './raft/inbox.ts';
import { endProcess, startProcess } from './raft/process.ts';
import { pauseOf, proposeAny, request, settle } from './requests.ts';
import { EVENT, type Host, type World, after, leaderHost } from './world.ts';

/** A peer that was told nothing: it listens until a leader finds it. */
export const JOINING: Membership = { voters: [], learners: [], addresses: new Map(), incarnation: 0 };

export function onAdmin(world: World): void {
  const { profile, random } = world;
  after(world, profile.adminEveryUs + random.below(profile.adminEveryUs), {
    kind: EVENT.admin,
    host: 0,
    boot: -1,
    ref: undefined,
  });
  recoverAgain(world);
  const leader = leaderHost(world);
  if (leader?.raft === undefined || leader.pausedUntilUs > world.timeline.nowUs) return;
  acknowledgeFailovers(world, leader);
  if (profile.adopts) adopt(world, leader);
  if (!world.isTroubled) {
    displace(world, leader);
    settle(world, leader);
  } else if (random.ppm(profile.requestPpm)) request(world, leader);
  if (leader.raft.membershipIndex > leader.raft.commitIndex) return;
  if (repair(world, leader, leader.raft.membership)) return;
  if (world.isTroubled && random.ppm(profile.operationPpm)) operate(world, leader);
  if (world.isTroubled && random.ppm(profile.mischiefPpm)) makeMischief(world, leader);
}

/** `sentinelctl ack`, as soon as the group holds: each life has its failovers within the window. */
function acknowledgeFailovers(world: World, leader: Host): void {
  const group = leader.replica?.state.groups.get(GROUP);
  if (group !== undefined && isHeld(group))
    proposeAny(world, leader, { kind: 'acknowledge-failovers', group: GROUP });
}

/** One step towards a membership of all who are wanted; true where there was one to take. */
function repair(world: World, leader: Host, membership: Membership): boolean {
  for (const host of world.hosts) {
    const isMember = membership.voters.includes(host.id) || membership.learners.includes(host.id);
    if (world.lost.has(host.id)) {
      if (!isMember) replaceDisk(world, host);
      else if (mayRemove(world, membership, host.id))
        change(world, leader, { kind: 'remove', peer: host.id });
      else continue;
      return true;
    }
    if (!world.wanted.has(host.id) || host.raft === undefined) continue;
    if (!isMember) {
      change(world, leader, { kind: 'add-learner', peer: host.id, address: host.address });
      return true;
    }
    if (membership.learners.includes(host.id)) {
      change(world, leader, { kind: 'promote', peer: host.id });
      return true;
    }
    if (membership.addresses.get(host.id) !== host.address) {
      change(world, leader, { kind: 'move', peer: host.id, address: host.address });
      return true;
    }
  }
  return false;
}

function change(world: World, leader: Host, wanted: MembershipChange): void {
  tell(world, () => `a person asks ${leader.id} to ${wanted.kind} ${wanted.peer}`);
  world.counter += 1;
  put(world, leader, { kind: 'change-membership', nowMs: 0, changeId: `c${world.counter}`, change: wanted });
}

/** `delete the directory`, and start as a peer that joins. */
function replaceDisk(world: World, host: Host): void {
  tell(world, () => `${host.id} gets an empty disk and joins anew`);
  endProcess(world, host, 'its disk is replaced');
  wipe(host.disk);
  forgetDisk(world.logChecks, host);
  host.image = undefined;
  host.quarantine = undefined;
  host.isAmnesiac = false;
  host.failsNextWrite = false;
  host.diskFullUntilUs = 0;
  host.initialMembership = JOINING;
  world.lost.delete(host.id);
  startProcess(world, host);
}

/** What people do on an ordinary day. */
function operate(world: World, leader: Host): void {
  const { random } = world;
  const membership = leader.raft?.membership;
  if (membership === undefined) return;
  if ((leader.replica?.state.featureLevel ?? 0) >= PAUSE_FEATURE_LEVEL && random.ppm(250_000))
    return random.ppm(500_000) ? pause(world, leader) : place(world, leader);
  const peer = random.pick(membership.voters);
  switch (random.below(6)) {
    case 0:
    case 1:
      if (world.hosts.length < 3 && membership.voters.length < 2) return;
      if (!mayRemove(world, membership, peer) || world.lost.size > 0) return;
      change(world, leader, { kind: 'remove', peer });
      return;
    case 2:
      if (peer === leader.id || !mayRemove(world, membership, leader.id) || world.lost.size > 0) return;
      change(world, leader, { kind: 'remove', peer: leader.id });
      return;
    case 3:
      moveHost(world, leader);
      return;
    case 4:
      world.tally.transfers += 1;
      put(world, leader, { kind: 'transfer', nowMs: 0, to: peer });
      return;
    default:
      switchOver(world, leader);
  }
}

function pause(world: World, leader: Host): void {
  const nodes = [...(leader.replica?.state.nodes.values() ?? [])].filter((node) => node.group === GROUP);
  if (nodes.length === 0) return;
  const node = world.random.ppm(400_000) ? undefined : world.random.pick(nodes).node;
  proposeAny(world, leader, pauseOf(world, GROUP, node));
}

/** An owner says that a node is never promoted or counted, or follows another standby, or takes it back; or where a peer is, and what that is for. */
function place(world: World, leader: Host): void {
  const { random } = world;
  const state = leader.replica?.state;
  const nodes = [...(state?.nodes.values() ?? [])].filter((node) => node.group === GROUP);
  if (state === undefined || state.featureLevel < CANDIDATES_FEATURE_LEVEL || nodes.length === 0) return;
  const { subjectiveDown: _, options: __, ...node } = random.pick(nodes);
  const sitePolicy = random.pick(['ignore', 'prefer', 'majority'] as const);
  const { featureLevel } = state;
  switch (random.below(featureLevel >= CASCADE_FEATURE_LEVEL ? 8 : 6)) {
    case 4:
      return declare(world, leader, node);
    case 5:
      return judgeServer(world, leader);
    case 6:
    case 7: {
      const upstream = random.pick(nodes).node;
      const options = { noFailover: false, noSync: false, applyDelayMs: 0, upstream };
      return proposeAny(world, leader, { kind: 'register-node', ...node, options });
    }
    case 0: {
      const options = { noFailover: random.ppm(500_000), noSync: random.ppm(500_000), applyDelayMs: 0 };
      return proposeAny(world, leader, { kind: 'register-node', ...node, options });
    }
    case 1:
      return proposeAny(world, leader, {
        kind: 'describe-peer',
        peer: node.peer,
        site: random.pick(['east', 'west']),
      });
    case 2: {
      const settings = { sitePolicy, failback: `node:${node.node}`, failbackAfterMs: 1000 } as const;
      return proposeAny(world, leader, { kind: 'change-settings', group: GROUP, settings });
    }
    default:
      displace(world, leader);
  }
}

const WATCHED = { server: nodeId('far'), host: '10.0.0.9', port: 5432, formation: 'abroad' };

/** A configuration no longer names its node, or does again; some server is to be watched, or no longer. */
function declare(world: World, leader: Host, { node, peer, group }: NodeRegistration): void {
  const { random } = world;
  if ((leader.replica?.state.featureLevel ?? 0) < FORMATIONS_FEATURE_LEVEL) return;
  const runs = random.ppm(500_000) ? undefined : { node, group, formation: random.pick(['home', 'abroad']) };
  const host = { runs, watch: random.ppm(700_000) ? [WATCHED] : [] };
  proposeAny(world, leader, { kind: 'declare-host', peer, host });
}

/** What a voter says that it sees of the watched server. */
function judgeServer(world: World, leader: Host): void {
  const { random } = world;
  const { watched, membership, featureLevel } = leader.replica?.state ?? {};
  if (membership === undefined || (featureLevel ?? 0) < FORMATIONS_FEATURE_LEVEL) return;
  const down: ServerWord = { kind: 'down', evidence: 'refused' };
  const word: ServerWord = random.ppm(500_000)
    ? down
    : { kind: 'up', role: random.pick(['primary', 'standby']), timeline: timeline(random.between(1, 2)) };
  for (const peer of membership.voters)
    if (random.ppm(600_000))
      proposeAny(world, leader, { kind: 'judge-server', peer, server: WATCHED.server, word });
  const before = watched?.get(WATCHED.server)?.concluded;
  if (random.ppm(200_000))
    proposeAny(world, leader, { kind: 'conclude-server', server: WATCHED.server, word, before });
}

/** What {@link place} has said is taken back: the group has to become whole. */
function displace(world: World, leader: Host): void {
  const state = leader.replica?.state;
  if (state === undefined) return;
  for (const { subjectiveDown: _, options, ...node } of state.nodes.values())
    if (options !== undefined) proposeAny(world, leader, { kind: 'register-node', ...node });
  for (const known of state.nodes.values()) {
    const gone = disowned(state, known);
    const runs = { node: known.node, group: known.group, formation: DEFAULT_FORMATION };
    if (gone !== undefined)
      proposeAny(world, leader, { kind: 'declare-host', peer: gone.peer, host: { runs, watch: [] } });
  }
  const settings = { sitePolicy: 'ignore', failback: 'off' } as const;
  const wanted = state.groups.get(GROUP)?.settings;
  if (wanted !== undefined && (wanted.sitePolicy !== 'ignore' || wanted.failback !== 'off'))
    proposeAny(world, leader, { kind: 'change-settings', group: GROUP, settings });
}

/** The host is reached at another address from now on, and the log is told. */
function moveHost(world: World, leader: Host): void {
  const host = world.random.pick(world.hosts);
  if (host === leader || host.raft === undefined) return;
  world.counter += 1;
  host.address = `${host.id}:${world.counter}`;
  const membership = leader.raft?.membership;
  const isMember = membership?.addresses.has(host.id) === true;
  if (isMember) change(world, leader, { kind: 'move', peer: host.id, address: host.address });
}

/** `sentinelctl failover`: a planned switchover. */
export function switchOver(world: World, leader: Host): void {
  const group = leader.replica?.state.groups.get(GROUP);
  if (group === undefined) return;
  const nodes = [...(leader.replica?.state.nodes.values() ?? [])].filter((node) => node.group === GROUP);
  const to: NodeId | undefined = world.random.ppm(500_000) ? world.random.pick(nodes).node : undefined;
  proposeAny(world, leader, {
    kind: 'begin-failover',
    group: GROUP,
    epoch: group.epoch,
    cause: { kind: 'planned', to },
  });
}

/** What a leader with a bug might propose: apply has to see through it. */
function makeMischief(world: World, leader: Host): void {
  const group = leader.replica?.state.groups.get(GROUP);
  if (group === undefined) return;
  const command = world.random.ppm(100_000) ? forgedSession(world, leader) : mischief(world, group);
  if (command !== undefined) proposeAny(world, leader, command);
}

/** A session in the name of another peer, as if from another disk. */
function forgedSession(world: World, leader: Host): Command | undefined {
  const state = leader.replica?.state;
  if (state === undefined || state.peers.size === 0) return undefined;
  const { peer, features } = world.random.pick([...state.peers.values()]);
  const [session, store] = [`forged-${(world.counter += 1)}`, 'forged'];
  return { kind: 'open-session', peer, session, store, features, seenIndex: state.appliedIndex };
}

function mischief(world: World, group: GroupState): Command | undefined {
  const { random } = world;
  const base = {
    group: group.id,
    epoch: random.ppm(900_000) ? group.epoch : epoch(Math.max(1, group.epoch - 1)),
  };
  // Only whoever streams: a change that counts on the others may wait for ever, which no leader would begin.
  const members = world.groupChecks.nodes.flatMap((node) =>
    node.member !== undefined && (node.receiver?.sender ?? 0) > 0 && random.ppm(500_000) ? [node.member] : [],
  );
  const rule: SyncRule = {
    members,
    acks: members.length === 0 ? 0 : random.between(1, Math.min(2, members.length)),
  };
  switch (random.below(8)) {
    case 0:
      return { kind: 'begin-failover', ...base, cause: { kind: 'down' } };
    case 7:
      return beginningMischief(world, group, base);
    case 6:
      return streamMischief(world, group, base);
    case 1:
      return { kind: 'begin-failover', ...base, cause: { kind: 'promotion-failed' } };
    case 2:
      return { kind: 'resume', ...base };
    case 3:
      return { kind: 'begin-rule-change', ...base, next: rule };
    default: {
      if (group.phase.kind !== 'fencing' || group.phase.reports.length === 0) return undefined;
      const candidate = random.pick(group.phase.reports);
      const able = followersAtOnce(group.phase.primary, group.phase.reports, candidate).filter(() =>
        random.ppm(800_000),
      );
      const acks = able.length === 0 ? 0 : random.between(1, able.length);
      const higher = timeline(group.highestTimeline + random.between(0, 2));
      return {
        kind: 'promote',
        ...base,
        candidate: candidate.node,
        timeline: higher,
        rule: { members: able, acks },
      };
    }
  }
}

/**
 * What belongs to a group that has yet to begin, that follows another site, or whose database is another one: such groups are not simulated, and
 * one that runs, or fails over, has to stay as it is.
 */
function beginningMischief(
  { random, groupChecks }: World,
  { id }: GroupState,
  base: Pick<CommandOf<'promote-site'>, 'group' | 'epoch'>,
): Command {
  const node = random.pick(groupChecks.nodes).name;
  const on = timeline(random.between(1, 9));
  switch (random.below(8)) {
    case 0:
      return { kind: 'create-group', group: id, primary: node };
    case 1:
      return { kind: 'restore-group', group: id, primary: node };
    case 2:
      return {
        kind: 'adopt-group',
        ...{ group: id, primary: node, systemIdentifier: SYSTEM_IDENTIFIER, timeline: on, standbys: [] },
      };
    case 3:
      return { kind: 'node-adopted', ...base, node };
    case 4:
      return {
        kind: 'lead-site',
        ...base,
        epoch: random.ppm(500_000) ? undefined : base.epoch,
        node,
        isAsked: true,
      };
    case 5:
      return { kind: 'promote-site', ...base, ...(random.ppm(500_000) ? { to: node } : {}) };
    case 6:
      return { kind: 'tell-site', ...base, node, history: { timeline: on, branches: [] } };
    default:
      return { kind: 'replace-database', ...base, primary: node, from: '1', to: SYSTEM_IDENTIFIER };
  }
}

/** Whoever is to take WAL from whom, whether that makes sense or not. */
function streamMischief(
  { random, groupChecks }: World,
  { phase }: GroupState,
  base: Pick<Extract<Command, { kind: 'fetch-wal' }>, 'group' | 'epoch'>,
): Command {
  const [node, from] = [random.pick(groupChecks.nodes).name, random.pick(groupChecks.nodes).name];
  if (phase.kind !== 'fencing') return { kind: 'use-upstream', ...base, node, upstream: from };
  return random.ppm(200_000)
    ? { kind: 'fetch-failed', ...base, node, reason: 'somebody said so' }
    : { kind: 'fetch-wal', ...base, node, from };
}

/** The only peer that is left is told to go on alone, until it has. */
function recoverAgain(world: World): void {
  const { recovering } = world;
  if (recovering === undefined || world.timeline.nowUs < recovering.atUs) return;
  const { host, incarnation } = recovering;
  if (host.raft === undefined) return;
  if (host.raft.membership.incarnation > incarnation) {
    if (host.raft.role === 'leader' && host.raft.membershipIndex <= host.raft.commitIndex)
      finishRecovery(world, host);
    return;
  }
  if (world.groupChecks.nodes.some((node) => !node.isFit)) return;
  tell(world, () => `a person has ${host.id} go on alone`);
  put(world, host, { kind: 'recover', nowMs: 0 });
}

/** Whoever is left of the former incarnation has to be added anew. */
function finishRecovery(world: World, survivor: Host): void {
  world.recovering = undefined;
  for (const host of world.hosts) if (host !== survivor) world.lost.add(host.id);
}
