// Which event is whose: takes events off the timeline and hands each to the part it belongs to, until a moment or a count.
import type { RaftEvent } from '../../src/raft/types.ts';
import type { AgentReport } from '../../src/cluster/report.ts';
import { onAdmin } from './admin.ts';
import { onClient } from './clients/clients.ts';
import { considerLeading } from './cluster/leader.ts';
import { observe } from './cluster/observer.ts';
import { tickReplica } from './cluster/replica.ts';
import { type SimEvent, next } from './engine/timeline.ts';
import { mixIn } from './engine/trace.ts';
import { onFault, takeImage } from './faults/faults.ts';
import { lookAfterOwn } from './owner.ts';
import { onAgent } from './postgres/agent.ts';
import type { Receiver } from './postgres/postgres.ts';
import {
  type Answer,
  type Reload,
  keepAlive,
  onAnswer,
  onClientWrites,
  onConnect,
  onFlow,
  onReload,
  onSenderTimeout,
} from './postgres/streams.ts';
import { arrives } from './raft/network.ts';
import { TICK_US, deliver, handle, onDiskDone, onDrain, startProcess } from './raft/process.ts';
import { EVENT, type Host, type Packet, type World, after, isBlocked, nowMsOf } from './world.ts';

const RESTART_EVERY_US = 50_000;

/** Runs until virtual time `untilUs`, or until so many events have happened in all; false where the count ended it. */
export function run(world: World, untilUs: number, eventCountMax = Number.POSITIVE_INFINITY): boolean {
  const { timeline, trace } = world;
  while (timeline.count < eventCountMax) {
    const event = next(timeline, untilUs);
    if (event === undefined) return true;
    mixIn(trace, (event.kind << 24) ^ (event.host << 16) ^ timeline.nowUs);
    dispatch(world, event);
  }
  return false;
}

function dispatch(world: World, event: SimEvent): void {
  const { ref } = event;
  const host = world.hosts[event.host] as Host;
  if (event.boot >= 0 && event.boot !== host.boot) return;
  switch (event.kind) {
    case EVENT.tick:
      onTick(world, host);
      return;
    case EVENT.drain:
      onDrain(world, host);
      return;
    case EVENT.deliver:
      if (arrives(world, ref as Packet)) deliver(world, ref as Packet);
      return;
    case EVENT.diskDone:
      onDiskDone(world, host, event);
      return;
    case EVENT.snapshotTaken:
      handle(world, host, ref as RaftEvent);
      return;
    case EVENT.client:
      onClient(world);
      return;
    case EVENT.agent:
      onAgent(world, host, ref as number);
      return;
    case EVENT.pgConnect:
      onConnect(world, event.host, ref as Receiver);
      return;
    case EVENT.pgFlow:
      onFlow(world, event.host);
      return;
    case EVENT.pgAnswer:
      onAnswer(world, event.host, ref as Answer);
      return;
    case EVENT.pgReload:
      onReload(world, event.host, ref as Reload);
      return;
    case EVENT.pgSenderTimeout:
      onSenderTimeout(world, event.host, ref as number);
      return;
    case EVENT.pgWrite:
      onClientWrites(world);
      return;
    case EVENT.fault:
      onFault(world);
      return;
    case EVENT.faultEnd:
      (ref as () => void)();
      return;
    case EVENT.admin:
      onAdmin(world);
      return;
    case EVENT.report:
      onReport(world, host, ref as { readonly from: number; readonly report: AgentReport });
      return;
    case EVENT.restart:
      onRestart(world);
      return;
    default:
      throw new Error(`there is no event ${event.kind}`);
  }
}

/** Late where the process is paused or its loop is stalled; the next one is planned when this one was taken. */
function onTick(world: World, host: Host): void {
  const { nowUs } = world.timeline;
  const waitUs = Math.max(host.pausedUntilUs, host.busyUntilUs) - nowUs;
  if (waitUs > 0) {
    after(world, waitUs, { kind: EVENT.tick, host: host.place, boot: host.boot, ref: undefined });
    return;
  }
  after(world, TICK_US, { kind: EVENT.tick, host: host.place, boot: host.boot, ref: undefined });
  const { boot } = host;
  handle(world, host, { kind: 'tick', nowMs: nowMsOf(world, host), random: world.random.unit() });
  if (host.boot !== boot) return;
  observe(world, host);
  tickReplica(world, host);
  considerLeading(world, host);
}

function onReport(
  world: World,
  host: Host,
  { from, report }: { readonly from: number; readonly report: AgentReport },
): void {
  const { leading } = host;
  if (leading === undefined || isBlocked(world, from, host.place)) return;
  const known = leading.reports.get(report.node);
  if (known !== undefined && known.report.sequence > report.sequence) return;
  leading.reports.set(report.node, { report, receivedAtMs: nowMsOf(world, host) });
}

/** Whoever runs the hosts starts again what has died. */
function onRestart(world: World): void {
  after(world, RESTART_EVERY_US, { kind: EVENT.restart, host: 0, boot: -1, ref: undefined });
  keepAlive(world);
  if (world.profile.adopts) lookAfterOwn(world);
  for (const host of world.hosts) {
    if (host.raft !== undefined || host.quarantine !== undefined || host.isHeldDown) continue;
    if (!world.isTroubled || world.random.ppm(300_000)) startProcess(world, host);
  }
  if (world.isTroubled && world.random.ppm(150_000)) takeImage(world);
}
