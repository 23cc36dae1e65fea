// WAL on its way: walreceivers that connect, records that flow, answers that release commits, settings that arrive late, clients
// that write. Each is an event of its own, and may come after everything has changed.
import { acknowledged, checkAcknowledgers } from '../checks/group-checks.ts';
import { EVENT, type Host, type World, after, isLinked, newestState } from '../world.ts';
import {
  FETCH_NAME,
  GROUP,
  type Postgres,
  type Receiver,
  connectSender,
  isOnHistory,
  isPrimary,
  releasedBy,
  streamName,
  takeOut,
} from './postgres.ts';
import { sameNames, timelineOf, type StandbyNames } from '../../../src/failover/testing/wal.ts';

/** `wal_retrieve_retry_interval`. */
const RETRY_US = 30_000;
const RECEIVER_TIMEOUT_US = 250_000;
const SENDER_TIMEOUT_US = 400_000;

/** A process of PostgreSQL that is to take a new setting. */
export interface Reload {
  readonly startCount: number;
  /** A walsender by its number. */
  readonly who: 'postmaster' | 'checkpointer' | number;
}

export interface Answer {
  readonly upstreamStart: number;
  readonly sender: number;
  readonly flush: number;
}

const postgresOf = (world: World, place: number): Postgres | undefined => world.hosts[place]?.postgres;

/** Writes the setting and signals: the postmaster reads it and signals its children, some of which take it late. */
export function setNames(world: World, node: Postgres, names: StandbyNames): void {
  if (sameNames(node.fileNames, names)) return;
  node.fileNames = names;
  if (node.isUp) signal(world, node, 'postmaster', 50 + world.random.below(2000));
}

function signal(world: World, node: Postgres, who: Reload['who'], delayUs: number): void {
  const ref: Reload = { startCount: node.startCount, who };
  after(world, delayUs, { kind: EVENT.pgReload, host: node.place, boot: -1, ref });
}

export function onReload(world: World, place: number, reload: Reload): void {
  const node = postgresOf(world, place);
  if (node === undefined || !node.isUp || node.startCount !== reload.startCount) return;
  if (postponeIfFrozen(world, node, EVENT.pgReload, reload)) return;
  const { who } = reload;
  if (who === 'postmaster') {
    node.postmasterNames = node.fileNames;
    const lateUs = (): number => 100 + world.random.below(world.random.ppm(100_000) ? 120_000 : 4000);
    signal(world, node, 'checkpointer', lateUs());
    for (const sender of node.senders) signal(world, node, sender.id, lateUs());
  } else if (who === 'checkpointer') {
    node.checkpointerNames = node.fileNames;
    if (isPrimary(node) && node.checkpointerNames.kind === 'alone')
      acknowledged(world, node, takeOut(node, node.wal.length));
  } else {
    const sender = node.senders.find((known) => known.id === who);
    if (sender !== undefined) sender.names = node.fileNames;
    // Without new WAL the next answer is that to a keepalive.
    if (node.waiting.length > 0) wakeStandbys(world, node);
  }
  checkAcknowledgers(world);
}

function postponeIfFrozen(world: World, node: Postgres, kind: number, ref: unknown): boolean {
  if (!node.isFrozen) return false;
  const delayUs = Math.max(1000, node.frozenUntilUs - world.timeline.nowUs);
  after(world, delayUs, { kind, host: node.place, boot: -1, ref });
  return true;
}

/** The startup process has a walreceiver begun towards what `primary_conninfo` says now. */
export function beginStreaming(world: World, node: Postgres, delayUs: number): void {
  if (!node.isUp || node.role !== 'standby' || node.upstream === undefined || node.receiver !== undefined)
    return;
  const receiver: Receiver = {
    id: (world.counter += 1),
    upstream: node.upstream,
    isFetch: node.isFetching,
    sender: 0,
    upstreamStart: 0,
    silentSinceUs: -1,
  };
  node.receiver = receiver;
  after(world, delayUs + 200 + world.random.below(2000), {
    kind: EVENT.pgConnect,
    host: node.place,
    boot: -1,
    ref: receiver,
  });
}

/** The walreceiver process reaches its upstream, or gives up and is begun anew. */
export function onConnect(world: World, place: number, receiver: Receiver): void {
  const node = postgresOf(world, place);
  if (node === undefined || node.receiver !== receiver) return;
  if (postponeIfFrozen(world, node, EVENT.pgConnect, receiver)) return;
  const upstream = world.nodeHost.get(receiver.upstream)?.postgres;
  const isReached =
    upstream !== undefined &&
    upstream.isUp &&
    !upstream.isFrozen &&
    isLinked(world, place, upstream.place) &&
    isOnHistory(node, upstream);
  if (!isReached) {
    node.receiver = undefined;
    beginStreaming(world, node, RETRY_US);
    return;
  }
  receiver.sender = world.counter += 1;
  receiver.upstreamStart = upstream.startCount;
  const name = receiver.isFetch ? FETCH_NAME : streamName(node);
  connectSender(upstream, name, receiver.sender, world.timeline.count);
  scheduleFlow(world, node, 500);
  checkAcknowledgers(world);
}

function scheduleFlow(world: World, node: Postgres, delayUs: number): void {
  if (node.isFlowing) return;
  node.isFlowing = true;
  after(world, delayUs + world.random.below(1500), {
    kind: EVENT.pgFlow,
    host: node.place,
    boot: -1,
    ref: undefined,
  });
}

/** New WAL is there: whoever is connected gets it. */
export function wakeStandbys(world: World, upstream: Postgres): void {
  for (const { postgres } of world.hosts) {
    if (
      postgres?.receiver !== undefined &&
      postgres.receiver.upstream === upstream.name &&
      postgres.receiver.sender > 0
    )
      scheduleFlow(world, postgres, 300);
  }
}

/** Keepalives: a connection that has gone is noticed, and what waits gets another answer, also where nobody writes. */
export function keepAlive(world: World): void {
  for (const { postgres } of world.hosts) {
    const receiver = postgres?.receiver;
    if (postgres === undefined || receiver === undefined || receiver.sender === 0 || postgres.isFlowing)
      continue;
    const upstream = world.nodeHost.get(receiver.upstream)?.postgres;
    const isIdle =
      upstream !== undefined &&
      upstream.startCount === receiver.upstreamStart &&
      upstream.waiting.length === 0 &&
      upstream.senders.some(
        (sender) => sender.id === receiver.sender && sender.flush === postgres.wal.length,
      );
    if (!isIdle) scheduleFlow(world, postgres, 0);
  }
}

export function onFlow(world: World, place: number): void {
  const node = postgresOf(world, place);
  if (node === undefined) return;
  node.isFlowing = false;
  const { receiver } = node;
  if (!node.isUp || receiver === undefined || receiver.sender === 0) return;
  if (node.isFrozen) {
    scheduleFlow(world, node, Math.max(1000, node.frozenUntilUs - world.timeline.nowUs));
    return;
  }
  const upstream = world.nodeHost.get(receiver.upstream)?.postgres;
  const sender = upstream?.senders.find((known) => known.id === receiver.sender);
  const isLost =
    upstream === undefined ||
    !upstream.isUp ||
    upstream.startCount !== receiver.upstreamStart ||
    sender === undefined;
  if (isLost || !isOnHistory(node, upstream)) {
    dropReceiver(world, node);
    beginStreaming(world, node, RETRY_US >> 1);
    return;
  }
  if (!isLinked(world, place, upstream.place) || upstream.isFrozen) {
    waitInSilence(world, node, receiver);
    return;
  }
  receiver.silentSinceUs = -1;
  const lack = upstream.wal.length - node.wal.length;
  const count = lack > 2 && world.random.ppm(150_000) ? 1 + world.random.below(lack) : lack;
  for (let at = node.wal.length, end = at + count; at < end; at += 1)
    node.wal.push(upstream.wal[at] as (typeof upstream.wal)[number]);
  node.replayed = Math.max(node.replayed, node.wal.length - world.random.below(4));
  // Whoever streams from this one gets it, too.
  if (count > 0) wakeStandbys(world, node);
  const ref: Answer = {
    upstreamStart: receiver.upstreamStart,
    sender: receiver.sender,
    flush: node.wal.length,
  };
  after(world, 150 + world.random.below(1500), { kind: EVENT.pgAnswer, host: upstream.place, boot: -1, ref });
  if (node.wal.length < upstream.wal.length) scheduleFlow(world, node, 500);
}

function waitInSilence(world: World, node: Postgres, receiver: Receiver): void {
  const { nowUs } = world.timeline;
  if (receiver.silentSinceUs < 0) receiver.silentSinceUs = nowUs;
  if (nowUs - receiver.silentSinceUs < RECEIVER_TIMEOUT_US) {
    scheduleFlow(world, node, 40_000);
    return;
  }
  dropReceiver(world, node);
  beginStreaming(world, node, RETRY_US);
}

/** The walreceiver ends; its upstream learns of it at once where it can, else only by its timeout. */
export function dropReceiver(world: World, node: Postgres): void {
  const { receiver } = node;
  node.receiver = undefined;
  if (receiver !== undefined) leaveSender(world, node, receiver);
}

/** What is left of a connection on the upstream's side. */
export function leaveSender(world: World, node: Postgres, receiver: Receiver): void {
  const upstream = world.nodeHost.get(receiver.upstream)?.postgres;
  if (upstream === undefined || receiver.sender === 0 || upstream.startCount !== receiver.upstreamStart)
    return;
  const isTold = isLinked(world, node.place, upstream.place) && !world.random.ppm(200_000);
  const delayUs = isTold ? world.random.below(2000) : SENDER_TIMEOUT_US;
  after(world, delayUs, {
    kind: EVENT.pgSenderTimeout,
    host: upstream.place,
    boot: -1,
    ref: receiver.sender,
  });
}

export function onSenderTimeout(world: World, place: number, sender: number): void {
  const upstream = postgresOf(world, place);
  if (upstream !== undefined) upstream.senders = upstream.senders.filter((known) => known.id !== sender);
}

/** "Flushed up to here" reaches the upstream: its walsender releases what that is enough for. */
export function onAnswer(world: World, place: number, answer: Answer): void {
  const upstream = postgresOf(world, place);
  if (upstream === undefined || !upstream.isUp || upstream.startCount !== answer.upstreamStart) return;
  if (postponeIfFrozen(world, upstream, EVENT.pgAnswer, answer)) return;
  const sender = upstream.senders.find((known) => known.id === answer.sender);
  if (sender === undefined) return;
  if (answer.flush > sender.flush) sender.flush = answer.flush;
  if (isPrimary(upstream)) acknowledged(world, upstream, takeOut(upstream, releasedBy(upstream, sender)));
}

/** Clients write, mostly to whom they believe to be the primary. */
export function onClientWrites(world: World): void {
  const { random, profile } = world;
  after(world, random.between(profile.writeEveryUs[0], profile.writeEveryUs[1]), {
    kind: EVENT.pgWrite,
    host: 0,
    boot: -1,
    ref: undefined,
  });
  const node = random.ppm(850_000) ? believedPrimary(world) : anyPostgres(world)?.postgres;
  if (node !== undefined) write(world, node, random.between(1, profile.writesAtOnceMax));
}

function believedPrimary(world: World): Postgres | undefined {
  const group = newestState(world)?.groups.get(GROUP);
  if (group === undefined) return world.groupChecks.nodes.find(isPrimary);
  return world.nodeHost.get(group.phase.primary)?.postgres;
}

function anyPostgres(world: World): Host | undefined {
  return world.random.pick(world.hosts);
}

function write(world: World, node: Postgres, count: number): void {
  if (
    !isPrimary(node) ||
    !node.isAdmitting ||
    node.isFrozen ||
    node.waiting.length > world.profile.waitingMax
  )
    return;
  const timeline = timelineOf(node.wal);
  for (let at = 0; at < count; at += 1) {
    node.wal.push({ timeline, value: (world.counter += 1) });
    node.waiting.push(node.wal.length);
  }
  world.tally.postgresWrites += count;
  node.replayed = node.wal.length;
  if (node.checkpointerNames.kind === 'alone') acknowledged(world, node, takeOut(node, node.wal.length));
  wakeStandbys(world, node);
}
