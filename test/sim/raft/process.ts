// One sentinel process: starts from what its disk holds, steps the real core, carries its effects out in order, and may die
// between any two of them (src/daemon/consensus.ts is what it stands for).
// Must never enter the core twice at once, nor write in another order than the store does.
import { InvariantError } from '../../../src/base/assert.ts';
import { storesAhead } from '../../../src/cluster/acquaintance.ts';
import { createRaft, stepAll } from '../../../src/raft/raft.ts';
import type { RaftEffect, RaftEvent, Snapshot } from '../../../src/raft/types.ts';
import { createLeading } from '../cluster/leader.ts';
import { createAgent } from '../postgres/agent.ts';
import { readSettled } from '../cluster/reads.ts';
import { appliedBatch } from '../cluster/shell.ts';
import { createReplica, follow, proposalRefused, replicaCommit, replicaRestore } from '../cluster/replica.ts';
import { MEMBERSHIP_CODEC, applyAhead, encodeState, startingState } from '../cluster/bridge.ts';
import { onPersist, onRestart, onSend, onWritten } from '../checks/answer-checks.ts';
import { afterStep, beforeStep, onCommit, onRead, onRestore } from '../checks/log-checks.ts';
import { type Opened, openStore } from '../disk/open.ts';
import { abandonWrite, beginWrite, createStore, finishWrite } from '../disk/store.ts';
import { mixIn } from '../engine/trace.ts';
import { EVENT, type Host, type Packet, type World, after, nowMsOf } from '../world.ts';
import { note } from '../describe.ts';
import { isFree, put, scheduleDrain } from './inbox.ts';
import { sendMessage } from './network.ts';

export const TICK_US = 25_000;
/** What the newest version of a life with several versions understands. */
export const FEATURES_MAX = 3;

/** Starts the process from its disk; a store that is refused leaves it down, for a person to see to. */
export function startProcess(world: World, host: Host): void {
  if (host.raft !== undefined || host.quarantine !== undefined) return;
  const { profile, random } = world;
  const opened = openStore(host.disk, () => `store-${host.id}-${(world.counter += 1)}`);
  if (opened.kind === 'quarantine') {
    host.quarantine = opened.reason;
    world.lost.add(host.id);
    world.tally.quarantines += 1;
    note(world, host, () => `is in quarantine: ${opened.reason}`);
    return;
  }
  if (profile.mixedVersions && random.ppm(300_000)) host.features = Math.min(FEATURES_MAX, host.features + 1);
  host.boot += 1;
  host.storeId = opened.storeId;
  host.store = createStore(host.disk);
  host.inbox = [];
  host.isDrainScheduled = false;
  host.busyUntilUs = world.timeline.nowUs + 200;
  host.pausedUntilUs = 0;
  host.leading = undefined;
  host.reads.clear();
  host.observer.isUnderWay = false;
  const { hardState, entries, base, snapshot } = begin(world, host, opened);
  planCrash(world, host);
  host.raft = createRaft({
    self: host.id,
    membership: host.initialMembership,
    codec: MEMBERSHIP_CODEC,
    settings: world.settings,
    hardState,
    snapshot,
    base,
    entries,
    nowMs: nowMsOf(world, host),
    random: world.random.unit(),
  });
  onRestart(world, host, host.raft);
  const state = startingState(snapshot, host.initialMembership);
  host.replica = createReplica(world, host, state);
  host.storesAhead = storesAhead(state, entries, applyAhead);
  const isOutdated = (snapshot?.membership.incarnation ?? 0) < host.raft.membership.incarnation;
  host.snapshotDueAtIndex = isOutdated ? 0 : host.replica.state.appliedIndex + world.profile.snapshotEvery;
  note(
    world,
    host,
    () => `starts: term ${hardState.term}, log ${base.index}..${base.index + entries.length}`,
  );
  if (host.postgres !== undefined) host.agent = createAgent(world, host);
  follow(world, host, host.replica);
  const delayUs = world.random.below(TICK_US);
  after(world, delayUs, { kind: EVENT.tick, host: host.place, boot: host.boot, ref: undefined });
}

/** How many effects the process carries out before it dies. */
export function planCrash(world: World, host: Host): void {
  const { crashPpm, random } = world;
  host.effectsUntilCrash = crashPpm > 0 ? 1 + random.below(Math.floor(2_000_000 / crashPpm)) : -1;
}

/** A new store is given a snapshot with the membership of the configuration (src/daemon/beginning.ts). */
function begin(
  world: World,
  host: Host,
  opened: Extract<Opened, { kind: 'open' }>,
): Extract<Opened, { kind: 'open' }> {
  const isNew = opened.snapshot === undefined && opened.hardState.term === 0 && opened.entries.length === 0;
  if (!isNew || host.initialMembership.incarnation === 0 || host.store === undefined) return opened;
  const { beginning: snapshot } = world;
  const base = { index: snapshot.index, term: snapshot.term };
  const hardState = { term: snapshot.term, votedFor: undefined };
  host.store.waiting.push({
    kind: 'persist',
    ticket: 0,
    hardState,
    entries: [],
    snapshot: { snapshot, base, replacesLog: true },
  });
  beginWrite(host.store, world.timeline.nowUs, 0, 0);
  finishWrite(host.store);
  return { ...opened, hardState, base, snapshot };
}

/** Ends the process, as SIGKILL or the loss of power would; PostgreSQL goes on. */
export function endProcess(world: World, host: Host, why: string): void {
  if (host.raft === undefined || host.store === undefined) return;
  note(world, host, () => `dies: ${why}`);
  if (host.store.writing !== undefined) world.tally.tornWrites += 1;
  abandonWrite(host.store, world.timeline.nowUs, world.random);
  world.tally.crashes += 1;
  host.raft = undefined;
  host.store = undefined;
  host.replica = undefined;
  host.leading = undefined;
  host.agent = undefined;
  host.inbox = [];
  host.boot += 1;
  for (const read of host.reads.values()) {
    read.state = 'refused';
    read.onSettled?.(read);
  }
  host.reads.clear();
}

/** An event of the process's own, or a message that arrived: taken at once where the loop is free. */
export function handle(world: World, host: Host, event: RaftEvent): void {
  if (!isFree(world, host) || host.isDrainScheduled) {
    put(world, host, event);
    return;
  }
  host.inbox.push(event);
  drain(world, host);
}

export function deliver(world: World, packet: Packet): void {
  const host = world.hosts[packet.to] as Host;
  const from = (world.hosts[packet.from] as Host).id;
  handle(world, host, {
    kind: 'receive',
    nowMs: 0,
    random: world.random.unit(),
    from,
    message: packet.message,
  });
}

export function onDrain(world: World, host: Host): void {
  host.isDrainScheduled = false;
  if (!isFree(world, host)) scheduleDrain(world, host);
  else drain(world, host);
}

/** Takes all that arrived together. */
function drain(world: World, host: Host): void {
  const { raft } = host;
  const events = host.inbox;
  if (raft === undefined || events.length === 0) return;
  host.inbox = [];
  const nowMs = nowMsOf(world, host);
  for (const event of events) (event as { nowMs: number }).nowMs = nowMs;
  host.busyUntilUs = world.timeline.nowUs + 20 + world.random.below(world.profile.stepUsMax);
  const { boot } = host;
  beforeStep(host, raft);
  let effects: RaftEffect[];
  try {
    effects = stepAll(raft, events);
  } catch (error) {
    if (!(error instanceof InvariantError) || !host.isAmnesiac) throw error;
    // It noticed that its disk had lost what it had answered for.
    endProcess(world, host, error.message);
    host.quarantine = error.message;
    world.lost.add(host.id);
    world.tally.quarantines += 1;
    return;
  }
  afterStep(world, host, raft, events, effects);
  mixIn(world.trace, (host.place << 20) ^ effects.length);
  for (const effect of effects) {
    if (host.effectsUntilCrash >= 0) {
      host.effectsUntilCrash -= 1;
      if (host.effectsUntilCrash < 0 && world.isTroubled) {
        endProcess(world, host, 'between two effects');
        return;
      }
    }
    carryOut(world, host, effect);
    if (host.boot !== boot) return;
  }
  if (host.replica !== undefined && host.replica.state.appliedIndex >= host.snapshotDueAtIndex)
    takeSnapshot(world, host);
}

function carryOut(world: World, host: Host, effect: RaftEffect): void {
  note(world, host, effect);
  switch (effect.kind) {
    case 'persist':
      world.tally.writes += 1;
      onPersist(world, host, effect);
      host.store?.waiting.push(effect);
      if (host.store?.writing === undefined) startWriting(world, host);
      return;
    case 'send':
      onSend(world, host, effect.to, effect.message);
      sendMessage(world, host, effect.to, effect.message);
      return;
    case 'restore':
      restore(world, host, effect.snapshot);
      return;
    case 'membership':
    case 'change-refused':
      return;
    case 'commit':
      onCommit(world, host, effect.entries);
      replicaCommit(world, host, effect.entries);
      appliedBatch(world, host);
      return;
    case 'role':
      if (effect.role === 'leader') {
        world.tally.elections += 1;
        if (world.isTroubled && world.random.ppm(world.profile.coupPpm))
          host.effectsUntilCrash = world.random.below(40);
      }
      host.leading = effect.role === 'leader' ? createLeading() : undefined;
      return;
    case 'read-ready':
      onRead(world, host, effect.readId, effect.index);
      readSettled(world, host, effect.readId, effect.index);
      return;
    case 'read-refused':
      readSettled(world, host, effect.readId, undefined);
      return;
    case 'proposal-refused':
      proposalRefused(world, host, effect.proposalId);
      return;
  }
}

function restore(world: World, host: Host, snapshot: Snapshot): void {
  world.tally.snapshotsInstalled += 1;
  onRestore(world, host, snapshot);
  replicaRestore(world, host, snapshot);
  host.snapshotDueAtIndex = snapshot.index + world.profile.snapshotEvery;
  appliedBatch(world, host);
}

/** The state is written down at once, but the file takes its time: meanwhile a newer one may come from the leader. */
function takeSnapshot(world: World, host: Host): void {
  const { replica } = host;
  if (replica === undefined) return;
  const index = replica.state.appliedIndex;
  host.snapshotDueAtIndex = index + world.profile.snapshotEvery;
  world.tally.snapshotsTaken += 1;
  const event: RaftEvent = { kind: 'snapshot-taken', nowMs: 0, index, data: encodeState(replica.state) };
  const delayUs = world.random.below(world.profile.snapshotUsMax);
  after(world, delayUs, { kind: EVENT.snapshotTaken, host: host.place, boot: host.boot, ref: event });
}

function startWriting(world: World, host: Host): void {
  const { store } = host;
  if (store === undefined || store.waiting.length === 0) return;
  const { nowUs } = world.timeline;
  const latencyUs = 100 + world.random.below(world.writeUsMax);
  // A hang may begin before any part of the write, or after all of it but the answer.
  const startUs = world.random.ppm(500_000) ? Math.max(nowUs, host.diskHangsUntilUs) : nowUs;
  const write = beginWrite(store, startUs, latencyUs, 2 * latencyUs);
  after(world, write.sideDoneUs - nowUs, {
    kind: EVENT.diskDone,
    host: host.place,
    boot: host.boot,
    ref: write,
  });
}

/** The write under way ends, unless the disk hangs or fails. */
export function onDiskDone(world: World, host: Host, event: SimDiskEvent): void {
  const { store } = host;
  if (store?.writing === undefined || store.writing !== event.ref) return;
  const { nowUs } = world.timeline;
  if (host.diskHangsUntilUs > nowUs) {
    after(world, host.diskHangsUntilUs - nowUs, {
      kind: EVENT.diskDone,
      host: host.place,
      boot: host.boot,
      ref: event.ref,
    });
    return;
  }
  if (host.failsNextWrite || host.diskFullUntilUs > nowUs) {
    // What reached the disk is unknown; nothing is tried again (src/storage/group-commit.ts).
    const why = host.failsNextWrite ? 'a write failed' : 'the disk is full';
    host.failsNextWrite = false;
    store.writing = {
      ...store.writing,
      sideDoneUs: nowUs + 1,
      batchDoneUs: nowUs + (world.random.ppm(500_000) ? 1 : 0),
    };
    endProcess(world, host, why);
    return;
  }
  const ticket = finishWrite(store);
  onWritten(host);
  startWriting(world, host);
  handle(world, host, { kind: 'persisted', nowMs: 0, ticket });
}

interface SimDiskEvent {
  readonly ref: unknown;
}
