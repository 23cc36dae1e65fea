// Each duty as steps that may be interrupted anywhere: what one step does depends on the duty, on the fence, and on what it finds
// (src/actions/failover-duties.ts, primary-duty.ts, follow-duty.ts, rule-change.ts are what they stand for).
// A step returns true where the next one should follow soon.
import { type MemberId, type Timeline, timeline } from '../../../src/base/ids.ts';
import { lsn } from '../../../src/base/lsn.ts';
import type { Duty, Fetch } from '../../../src/failover/duties.ts';
import { checkAcknowledgers, opened } from '../checks/group-checks.ts';
import { isLinked } from '../world.ts';
import { carryOutUnprotected, confirmAdopted, cutForeign, takeOverStandby } from './adoption.ts';
import { type DutyOf, type Pass, confirms, localMember, newMember, proposeOnce } from './pass.ts';
import {
  GROUP,
  type Postgres,
  SYSTEM_IDENTIFIER,
  cut,
  isForeign,
  isPrimary,
  start,
  stop,
} from './postgres.ts';
import { carryOutRemoved, carryOutStopped } from './person-steps.ts';
import { changeRule, passFloor } from './rule-change.ts';
import { beginStreaming, leaveSender, setNames, wakeStandbys } from './streams.ts';
import { NOBODY, mayFollow, namesFor, sameNames, timelineOf } from '../../../src/failover/testing/wal.ts';

const FORMER_PRIMARY_DELAY_US = 150_000;
const CRASH_HOLD_US = 1_000_000;

const positionOf = (length: number) => lsn(BigInt(length));

export function carryOut(pass: Pass, duty: Exclude<Duty, { kind: 'none' }>): boolean {
  switch (duty.kind) {
    case 'create':
      return carryOutCreate(pass, duty);
    case 'cut': {
      const taken = cutForeign(pass, duty);
      if (taken !== undefined) return taken;
      if (duty.fetch !== undefined) return carryOutFetch(pass, duty, duty.fetch);
      pass.agent.fetching = undefined;
      return carryOutCut(pass, duty, duty.wasPrimary);
    }
    case 'hand-over':
      return carryOutHandOver(pass, duty);
    case 'promote':
      return carryOutPromote(pass, duty);
    case 'follow':
      return carryOutFollow(pass, duty);
    case 'primary':
      return carryOutPrimary(pass, duty);
    case 'hands-off':
      if (isPrimary(pass.node)) stop(pass.node);
      return false;
    case 'stopped':
      return carryOutStopped(pass);
    case 'removed':
      return carryOutRemoved(pass, duty);
  }
}

/** initdb, and open as the first primary. */
function carryOutCreate(pass: Pass, duty: DutyOf<'create'>): boolean {
  const { node, world } = pass;
  if (!node.isFit) {
    node.wal = [{ timeline: 1, value: 0 }];
    node.member = newMember(pass);
    node.isFit = true;
    node.endedAs = 'primary';
    return true;
  }
  if (!node.isUp) {
    if (confirms(pass, 'create', duty.epoch) !== true) return true;
    node.fileNames = { kind: 'alone' };
    node.upstream = undefined;
    start(node, 'primary', node.wal.length);
    opened(world, node, duty);
    return true;
  }
  // Clients are let in once the group runs: until then another node may still be chosen.
  proposeOnce(pass, {
    kind: 'group-ready',
    group: duty.group,
    epoch: duty.epoch,
    member: node.member as MemberId,
    systemIdentifier: SYSTEM_IDENTIFIER,
    timeline: timeline(timelineOf(node.wal)),
  });
  return false;
}

/** The report of this epoch is in the log already. */
function hasReported({ state, node }: Pass, group: DutyOf<'cut'>['group']): boolean {
  const phase = state.groups.get(group)?.phase;
  return (
    phase?.kind === 'fencing' &&
    phase.reports.some((report) => report.node === node.name && report.member === localMember(node))
  );
}

function carryOutCut(pass: Pass, duty: DutyOf<'cut' | 'hand-over'>, wasPrimary: boolean): boolean {
  const { node, agent } = pass;
  if (hasReported(pass, duty.group) || localMember(node) === undefined) return false;
  if (!bringToCut(pass, duty, wasPrimary)) return true;
  agent.cutAt = { incarnation: duty.incarnation, epoch: duty.epoch, startCount: node.startCount };
  report(pass, duty, node.wal.length, false);
  return false;
}

const FETCH_TIMEOUT_US = 350_000;

/** Takes what it lacks from another one, cuts itself off again, and says where it stands (src/actions/fetch-wal.ts). */
function carryOutFetch(pass: Pass, duty: DutyOf<'cut'>, fetch: Fetch): boolean {
  const { node, agent, world } = pass;
  if (localMember(node) === undefined) return false;
  const { nowUs } = world.timeline;
  const hasAll = (length: number): boolean =>
    fetch.kind === 'given-up' ||
    (timelineOf(node.wal, length) === fetch.source.timeline && positionOf(length) >= fetch.source.position);
  const { fetching } = agent;
  if (fetching?.isOver === false && fetching.startCount === node.startCount && node.isUp) {
    if (fetch.kind === 'from' && !hasAll(node.wal.length) && nowUs < fetching.untilUs) return true;
    fetching.isOver = true;
  }
  if (!bringToCut(pass, duty, duty.wasPrimary)) return true;
  agent.cutAt = { incarnation: duty.incarnation, epoch: duty.epoch, startCount: node.startCount };
  const { length } = node.wal;
  if (hasAll(length)) {
    report(pass, duty, length, false);
    return false;
  }
  if (fetch.kind === 'given-up') return false;
  if (fetching?.isOver === true) {
    const { group, epoch } = duty;
    proposeOnce(pass, { kind: 'fetch-failed', group, epoch, node: node.name, reason: 'it came to an end' });
    return false;
  }
  agent.cutAt = undefined;
  agent.fetching = { startCount: node.startCount, untilUs: nowUs + FETCH_TIMEOUT_US, isOver: false };
  node.upstream = fetch.source.node;
  node.isFetching = true;
  beginStreaming(world, node, 0);
  return true;
}

function report(pass: Pass, duty: DutyOf<'cut' | 'hand-over'>, length: number, stopped: boolean): void {
  const { node, state } = pass;
  const member = localMember(node);
  if (member === undefined || state.nodes.get(node.name)?.member !== member) return;
  proposeOnce(pass, {
    kind: 'cut-report',
    group: duty.group,
    epoch: duty.epoch,
    node: node.name,
    member,
    timeline: timeline(timelineOf(node.wal, length)),
    position: positionOf(length),
    stopped,
    ...(duty.kind === 'cut' && duty.fetch !== undefined ? { afterFetch: true } : {}),
  });
}

/** One step towards a standby that is cut off and has replayed what it holds; true once it is there. */
function bringToCut(pass: Pass, duty: DutyOf<'cut' | 'hand-over'>, wasPrimary: boolean): boolean {
  const { node, agent, world } = pass;
  const { nowUs } = world.timeline;
  if (isPrimary(node)) {
    if (confirms(pass, duty.kind, duty.epoch) !== true) return false;
    stop(node);
    agent.stoppedAtUs = nowUs;
    return false;
  }
  if (!node.isUp) {
    if (agent.stoppedAtUs < 0) agent.stoppedAtUs = nowUs;
    if (wasPrimary && nowUs - agent.stoppedAtUs < FORMER_PRIMARY_DELAY_US) return false;
    startStandby(node);
    return false;
  }
  if (!sameNames(node.fileNames, NOBODY)) {
    // A promotion that was given up left it without the placeholder: from none to one the change takes effect late.
    if (node.fileNames.kind === 'alone') stop(node);
    else setNames(world, node, NOBODY);
    return false;
  }
  if (node.upstream !== undefined || node.receiver !== undefined) {
    cutOff(pass);
    return false;
  }
  node.replayed = node.wal.length;
  return true;
}

function cutOff({ world, node }: Pass): void {
  const { receiver } = node;
  cut(node);
  if (receiver !== undefined) leaveSender(world, node, receiver);
}

function startStandby(node: Postgres): void {
  cut(node);
  node.fileNames = NOBODY;
  start(node, 'standby', 0);
}

/** A clean stop ships what there is to whoever is connected. */
function carryOutHandOver(pass: Pass, duty: DutyOf<'hand-over'>): boolean {
  const { node, agent, world } = pass;
  if (hasReported(pass, duty.group)) return false;
  if (isPrimary(node)) {
    if (confirms(pass, 'hand-over', duty.epoch) !== true) return true;
    shipTo(pass);
    stop(node);
    node.endedAs = 'clean';
    agent.stoppedAtUs = world.timeline.nowUs;
    return true;
  }
  if (node.isUp || node.endedAs !== 'clean') return carryOutCut(pass, duty, true);
  report(pass, duty, node.wal.length, true);
  return false;
}

function shipTo({ world, node }: Pass): void {
  for (const { postgres: standby } of world.hosts) {
    if (standby === undefined || standby.receiver?.upstream !== node.name || standby.receiver.sender === 0)
      continue;
    const isServed = standby.isUp && !standby.isFrozen && isLinked(world, standby.place, node.place);
    const isOnIt = node.senders.some((sender) => sender.id === standby.receiver?.sender);
    if (!isServed || !isOnIt || (world.isTroubled && world.random.ppm(200_000))) continue;
    for (let at = standby.wal.length; at < node.wal.length; at += 1)
      standby.wal.push(node.wal[at] as (typeof node.wal)[number]);
  }
}

/** Opens exactly the assigned timeline, with the new rule in force from the start; anything else is stopped at once. */
function carryOutPromote(pass: Pass, duty: DutyOf<'promote'>): boolean {
  const { node, world } = pass;
  const { group, epoch } = duty;
  const fail = (reason: string): boolean => {
    stop(node);
    proposeOnce(pass, { kind: 'promotion-failed', group, epoch, node: node.name, reason });
    return false;
  };
  if (world.isTroubled && world.random.ppm(world.profile.promotionFailsPpm))
    return fail('it was made to fail');
  if (isForeign(node)) return fail('its PostgreSQL was started by somebody else');
  if (!isPrimary(node)) {
    if (!isReadyToOpen(pass, duty)) return true;
    const isBelow =
      timelineOf(node.wal) !== duty.from.timeline || positionOf(node.wal.length) < duty.from.position;
    if (isBelow) return fail('it stands below what it reported');
    if (confirms(pass, 'promote', epoch) !== true) return true;
    open(pass, duty, duty.timeline);
    return true;
  }
  const own = timelineOf(node.wal);
  if (own !== duty.timeline) return fail('it opened another timeline');
  let begun = node.wal.length;
  while (begun > 0 && node.wal[begun - 1]?.timeline === own) begun -= 1;
  proposeOnce(pass, {
    kind: 'promoted',
    group,
    epoch,
    node: node.name,
    timeline: duty.timeline,
    switchLsn: positionOf(begun),
  });
  return false;
}

/** Cut off, and with the new rule in its settings. */
function isReadyToOpen({ node, agent, world }: Pass, duty: DutyOf<'promote'>): boolean {
  const names = namesFor(duty.rule);
  if (!node.isUp) {
    startStandby(node);
    return false;
  }
  const isCut =
    agent.cutAt?.incarnation === duty.incarnation &&
    agent.cutAt.epoch === duty.epoch &&
    agent.cutAt.startCount === node.startCount;
  if (!isCut || node.upstream !== undefined || node.receiver !== undefined) {
    cutOff({ node, agent, world } as Pass);
    agent.cutAt = { incarnation: duty.incarnation, epoch: duty.epoch, startCount: node.startCount };
    return false;
  }
  node.replayed = node.wal.length;
  if (!sameNames(node.fileNames, names)) {
    setNames(world, node, names);
    return false;
  }
  return names.kind === 'alone' || node.checkpointerNames.kind !== 'alone';
}

function open({ node, world }: Pass, duty: DutyOf<'promote'>, assigned: Timeline): void {
  node.role = 'primary';
  node.endedAs = 'primary';
  node.isAdmitting = true;
  node.wal.push({ timeline: assigned, value: (world.counter += 1) });
  node.replayed = node.wal.length;
  opened(world, node, duty);
  wakeStandbys(world, node);
  checkAcknowledgers(world);
}

function carryOutFollow(pass: Pass, duty: DutyOf<'follow'>): boolean {
  const { node, world, state } = pass;
  if (isForeign(node)) return takeOverStandby(pass, duty);
  if (!node.isFit || node.member === undefined) return rejoin(pass, duty);
  if (state.nodes.get(node.name)?.member !== node.member) return false;
  if (isPrimary(node)) {
    if (confirms(pass, 'follow', duty.epoch) === true) stop(node);
    return true;
  }
  if (!node.isUp) {
    const isRejoining =
      node.endedAs === 'primary' || (node.endedAs === 'clean' && !mayFollow(node.wal, duty));
    if (isRejoining) return rejoin(pass, duty);
    startStandby(node);
    return true;
  }
  if (node.upstream === duty.upstream.node && !node.isFetching && isGoingWell(pass, duty)) {
    setNames(world, node, NOBODY);
    if (duty.isAdopted === true && (node.receiver?.sender ?? 0) > 0) confirmAdopted(pass, duty);
    return false;
  }
  if (node.upstream !== undefined || node.receiver !== undefined) {
    cutOff(pass);
    return true;
  }
  node.replayed = node.wal.length;
  if (!mayFollow(node.wal, duty)) return rejoin(pass, duty);
  setNames(world, node, NOBODY);
  node.upstream = duty.upstream.node;
  node.isFetching = false;
  beginStreaming(world, node, 0);
  return false;
}

/** It streams from the upstream, or may still come to do so. */
function isGoingWell({ node, world }: Pass, duty: DutyOf<'follow'>): boolean {
  const upstream = world.nodeHost.get(duty.upstream.node)?.postgres;
  if (upstream === undefined || !upstream.isUp) return true;
  if (node.receiver === undefined) beginStreaming(world, node, 0);
  if (node.receiver !== undefined && node.receiver.sender > 0) return true;
  return mayFollow(node.wal, duty);
}

const primaryOf = ({ state }: Pass) => state.groups.get(GROUP)?.phase.primary;

/** A rewind or a clone, in two steps: the old data directory is spoilt before the new one is whole. */
function rejoin(pass: Pass, duty: DutyOf<'follow'>): boolean {
  const { node, world } = pass;
  const source = world.nodeHost.get(duty.upstream.node)?.postgres;
  const isForbidden = node.isFit && duty.isCounted;
  if (isForbidden || !duty.upstream.isReady || source === undefined) return false;
  // pg_rewind needs a primary; a clone does not.
  const isPrimaryOrNext =
    isPrimary(source) || (!node.isFit && source.isUp && source.name !== primaryOf(pass));
  if (!isPrimaryOrNext || source.isFrozen || !isLinked(world, node.place, source.place)) return false;
  if (timelineOf(source.wal) !== duty.upstream.timeline) return false;
  if (node.isFit) {
    stop(node);
    node.isFit = false;
    node.member = undefined;
    if (world.random.ppm(500_000)) world.tally.rewinds += 1;
    return true;
  }
  // The base backup may be an old one; what has come since is streamed.
  const lack = world.random.ppm(500_000) ? world.random.below(Math.min(30, source.wal.length)) : 0;
  node.wal = source.wal.slice(0, source.wal.length - lack);
  node.member = newMember(pass);
  node.isFit = true;
  node.endedAs = 'standby';
  node.upstream = undefined;
  node.formerUpstream = undefined;
  node.receiver = undefined;
  world.tally.clones += 1;
  return true;
}

/** Keeps the primary running with the rule of the log. */
function carryOutPrimary(pass: Pass, duty: DutyOf<'primary'>): boolean {
  const { node, agent, world } = pass;
  if (isForeign(node)) return carryOutUnprotected(pass, duty);
  if (!node.isUp) return startInPlace(pass, duty);
  if (node.role === 'standby' || timelineOf(node.wal) !== duty.timeline) {
    stop(node);
    return true;
  }
  if (!node.isAdmitting) {
    // Clients are let in after a commit was seen to wait.
    if (node.fileNames.kind !== 'alone' && node.checkpointerNames.kind === 'alone') return true;
    node.isAdmitting = true;
    checkAcknowledgers(world);
  }
  if (duty.isUnprotected === true) confirmAdopted(pass, duty);
  if (duty.next !== undefined) return changeRule(pass, duty, duty.next);
  agent.hasSeenPrimary = true;
  agent.goneSinceUs = -1;
  agent.change = undefined;
  setNames(world, node, namesFor(duty.rule));
  if (duty.floor !== undefined) passFloor(pass, duty, duty.floor);
  return false;
}

/** It crashed, and a standby may take over: it is given time for that. */
function isHeld({ agent, world }: Pass): boolean {
  if (!agent.hasSeenPrimary) return false;
  const { nowUs } = world.timeline;
  if (agent.goneSinceUs < 0) agent.goneSinceUs = nowUs;
  return nowUs - agent.goneSinceUs < CRASH_HOLD_US;
}

/** No node becomes a primary because it was one: the log, read through the leader, must say that it still is. */
function startInPlace(pass: Pass, duty: DutyOf<'primary'>): boolean {
  const { node, world, state } = pass;
  if (localMember(node) === undefined || state.nodes.get(node.name)?.member !== node.member) return false;
  if (timelineOf(node.wal) !== duty.timeline) return false;
  if ((duty.rule.acks > 0 || duty.isUnprotected === true) && isHeld(pass)) return false;
  if (confirms(pass, 'primary', duty.epoch) !== true) return true;
  node.fileNames = namesFor(duty.next?.rule ?? duty.rule);
  node.upstream = undefined;
  node.receiver = undefined;
  start(node, 'primary', node.wal.length);
  opened(world, node, duty);
  return true;
}
