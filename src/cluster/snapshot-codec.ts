// The replicated state to bytes and back (proto/pg_sentinel/v1/snapshot.proto). Pure. What comes back must be the very state
// that went in: a peer that starts from a snapshot goes on with the same log as those that applied it all.
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { unreachable } from '../base/assert.ts';
import { type GroupId, epoch, groupId, logIndex, memberId, nodeId, peerId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { Pause as PauseMessage } from '../gen/pg_sentinel/v1/log_pb.ts';
import * as pb from '../gen/pg_sentinel/v1/snapshot_pb.ts';
import { DEFAULT_GROUP_SETTINGS } from './apply-settings.ts';
import { envelopeMessage, membershipMessage, membershipOf } from './codec.ts';
import { encodeCause } from './cause-codec.ts';
import type { CutReport } from './commands.ts';
import { decodeCommand, decodeReport, decodeSchedule, encodeSchedule } from './command-codec.ts';
import { decodeEvidence } from './evidence-codec.ts';
import { decodeHost, decodeWord, encodeHost, encodeWord } from './host-codec.ts';
import { eventListOf, listEvents } from './event-list.ts';
import { decodeLeaving, decodeRegistration, encodeRegistration } from './node-codec.ts';
import { decodePause, encodePause } from './pause-codec.ts';
import { decodeCascade, decodeFetch, decodeStanding, encodeCascade, encodeFetch } from './cascade-codec.ts';
import {
  decodeGroupRestore,
  decodeNodeRestart,
  encodeGroupRestore,
  encodeNodeRestart,
} from './restore-codec.ts';
import { decodeRule, encodeRule } from './rule-codec.ts';
import { decodeFollowedSite, encodeFollowedSite } from './site-codec.ts';
import { DAMAGED, LogFormatError, NEWER, reading, required, unknownPart } from './log-format.ts';
import {
  decodeAbsent,
  decodeParameters,
  decodeSettings,
  encodeAbsent,
  encodeParameters,
  encodeSettings,
} from './settings-codec.ts';
import type {
  ClusterEvent,
  ClusterState,
  FencingCause,
  Floor,
  GroupState,
  NodePause,
  NodeState,
  Pause,
  PeerState,
  Phase,
  RemovedNode,
  WatchedState,
} from './state.ts';

type Init<S extends Parameters<typeof create>[0]> = MessageInitShape<S>;
type PhaseInit = NonNullable<Init<typeof pb.SnapshotGroupSchema>['phase']>;
type CauseInit = NonNullable<Init<typeof pb.FencingPhaseSchema>['cause']>;

const FORMAT_VERSION = 1;

/** Equal states give equal bytes. */
export function encodeState(state: ClusterState): Uint8Array {
  return toBinary(
    pb.StateSnapshotSchema,
    create(pb.StateSnapshotSchema, {
      formatVersion: FORMAT_VERSION,
      appliedIndex: BigInt(state.appliedIndex),
      membership: membershipMessage(state.membership),
      membershipIndex: BigInt(state.membershipIndex),
      founders: [...state.founders],
      featureLevel: state.featureLevel,
      peers: inOrder(state.peers).map(encodePeer),
      groups: inOrder(state.groups).map(encodeGroup),
      nodes: inOrder(state.nodes).map(encodeNode),
      events: listEvents(state.events).map(encodeEvent),
      removed: inOrder(state.removed).map((removed) => ({ ...removed })),
      watched: inOrder(state.watched).map(encodeWatchedState),
    }),
  );
}

/** Throws {@link LogFormatError} for damaged data, and for a format or a command that this version does not know. */
export function decodeState(data: Uint8Array): ClusterState {
  return reading('a snapshot of the replicated state', () => {
    const message = fromBinary(pb.StateSnapshotSchema, data);
    if (message.formatVersion === 0) throw new LogFormatError(`it has no format version: ${DAMAGED}`);
    if (message.formatVersion !== FORMAT_VERSION)
      throw new LogFormatError(`format version ${message.formatVersion} is not known here: ${NEWER}`);
    return {
      appliedIndex: logIndex(Number(message.appliedIndex)),
      membership: membershipOf(required('the membership', message.membership)),
      membershipIndex: logIndex(Number(message.membershipIndex)),
      founders: message.founders.map(peerId),
      featureLevel: message.featureLevel,
      peers: new Map(message.peers.map(decodePeer).map((peer) => [peer.peer, peer])),
      groups: new Map(message.groups.map(decodeGroup).map((group) => [group.id, group])),
      nodes: new Map(message.nodes.map(decodeNode).map((node) => [node.node, node])),
      removed: new Map(message.removed.map(decodeRemoved).map((removed) => [removed.node, removed])),
      watched: new Map(message.watched.map(decodeWatchedState).map((watched) => [watched.server, watched])),
      events: eventListOf(message.events.map(decodeEvent)),
    };
  });
}

function inOrder<V>(map: ReadonlyMap<string, V>): V[] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
}

function encodePeer({ host, ...peer }: PeerState): Init<typeof pb.SnapshotPeerSchema> {
  return {
    ...peer,
    ...(host === undefined ? {} : { host: encodeHost(host) }),
    openedAt: BigInt(peer.openedAt),
    floor: BigInt(peer.floor),
    done: peer.done.map(BigInt),
  };
}

function decodePeer(message: pb.SnapshotPeer): PeerState {
  return {
    peer: peerId(message.peer),
    store: message.store,
    session: message.session,
    openedAt: logIndex(Number(message.openedAt)),
    floor: Number(message.floor),
    done: message.done.map(Number),
    features: message.features,
    ...(message.site === undefined ? {} : { site: message.site }),
    ...(message.host === undefined ? {} : { host: decodeHost(message.host) }),
  };
}

function encodeWatchedState(known: WatchedState): Init<typeof pb.SnapshotWatchedSchema> {
  const { server, words, concluded } = known;
  return {
    server,
    words: words.map(({ peer, word }) => ({ peer, word: encodeWord(word) })),
    ...(concluded === undefined ? {} : { concluded: encodeWord(concluded) }),
  };
}

function decodeWatchedState(message: pb.SnapshotWatched): WatchedState {
  return {
    server: nodeId(message.server),
    words: message.words.map(({ peer, word }) => ({ peer: peerId(peer), word: decodeWord(word) })),
    concluded: message.concluded && decodeWord(message.concluded),
  };
}

function encodeNode({ subjectiveDown, ...registration }: NodeState): Init<typeof pb.SnapshotNodeSchema> {
  return {
    registration: encodeRegistration(registration),
    subjectiveDown: subjectiveDown.map(({ peer, evidence, ...entry }) => ({
      peer,
      evidence,
      epoch: BigInt(entry.epoch),
      index: BigInt(entry.index),
    })),
  };
}

function decodeNode(message: pb.SnapshotNode): NodeState {
  return {
    ...decodeRegistration(required('a registration', message.registration)),
    subjectiveDown: message.subjectiveDown.map((entry) => ({
      peer: peerId(entry.peer),
      epoch: epoch(Number(entry.epoch)),
      evidence: decodeEvidence(entry.evidence),
      index: logIndex(Number(entry.index)),
    })),
  };
}

function decodeRemoved(message: pb.SnapshotRemoved): RemovedNode {
  return {
    node: nodeId(message.node),
    group: groupId(message.group),
    peer: peerId(message.peer),
    member: message.member === undefined ? undefined : memberId(message.member),
    leaving: decodeLeaving(message.leaving),
    isDoubtful: message.isDoubtful,
  };
}

function encodeGroup(group: GroupState): Init<typeof pb.SnapshotGroupSchema> {
  const { next, floor } = group;
  return {
    id: group.id,
    epoch: BigInt(group.epoch),
    phase: encodePhase(group),
    settings: encodeSettings(group.settings),
    ...encodeParameters(group),
    rule: encodeRule(group.rule),
    ...(next === undefined ? {} : { next: { rule: encodeRule(next.rule), change: BigInt(next.change) } }),
    floors: floorsOf(floor).map(encodeFloor),
    highestTimeline: group.highestTimeline,
    branches: group.branches.map((branch) => ({ ...branch })),
    ...(group.systemIdentifier === undefined ? {} : { systemIdentifier: group.systemIdentifier }),
    failovers: BigInt(group.failovers),
    fenced: [...group.fenced],
    recentFailovers: group.recentFailovers.map(BigInt),
    ...(group.scheduled === undefined ? {} : { scheduled: encodeSchedule(group.scheduled) }),
    ...(group.paused === undefined ? {} : { paused: encodePause(pauseOfGroup(group.id, group.paused)) }),
    pausedNodes: group.pausedNodes.map((pause) => encodePause({ group: group.id, ...pause })),
    absent: group.absent.map(encodeAbsent),
    ...(group.failbackAtMs === undefined ? {} : { failbackAtMs: BigInt(group.failbackAtMs) }),
    failbackCount: group.failbackCount,
    toAdopt: [...group.toAdopt],
    upstreams: group.cascades.map(encodeCascade),
    ...(group.restore === undefined ? {} : { restore: encodeGroupRestore(group.restore) }),
    restarts: group.restarts.map(encodeNodeRestart),
    ...(group.site === undefined ? {} : { site: encodeFollowedSite(group.site) }),
  };
}

function decodeGroup(message: pb.SnapshotGroup): GroupState {
  const { next } = message;
  return {
    id: groupId(message.id),
    epoch: epoch(Number(message.epoch)),
    phase: decodePhase(message),
    settings: message.settings === undefined ? DEFAULT_GROUP_SETTINGS : decodeSettings(message.settings),
    ...decodeParameters(message),
    rule: decodeRule('group', message.rule),
    next: next && { rule: decodeRule('next', next.rule), change: logIndex(Number(next.change)) },
    floor: message.floors.reduceRight<Floor | undefined>(
      (before, floor) => decodeFloor(floor, before),
      undefined,
    ),
    highestTimeline: timeline(message.highestTimeline),
    branches: message.branches.map((branch) => ({
      timeline: timeline(branch.timeline),
      parent: timeline(branch.parent),
      switchLsn: lsn(branch.switchLsn),
    })),
    systemIdentifier: message.systemIdentifier,
    failovers: Number(message.failovers),
    fenced: message.fenced.map(nodeId),
    recentFailovers: message.recentFailovers.map(Number),
    scheduled: message.scheduled && decodeSchedule(message.scheduled),
    paused: message.paused && { untilMs: decodePause(message.paused).untilMs },
    pausedNodes: message.pausedNodes.map(decodeNodePause),
    absent: message.absent.map(decodeAbsent),
    failbackAtMs: message.failbackAtMs === undefined ? undefined : Number(message.failbackAtMs),
    failbackCount: message.failbackCount,
    toAdopt: message.toAdopt.map(nodeId),
    cascades: message.upstreams.map(decodeCascade),
    restore: message.restore && decodeGroupRestore(message.restore),
    restarts: message.restarts.map(decodeNodeRestart),
    ...(message.site === undefined ? {} : { site: decodeFollowedSite(message.site) }),
  };
}

const pauseOfGroup = (group: GroupId, { untilMs }: Pause): Parameters<typeof encodePause>[0] => ({
  group,
  node: undefined,
  isMaintenance: false,
  untilMs,
});

function decodeNodePause(message: PauseMessage): NodePause {
  const { node, isMaintenance, untilMs } = decodePause(message);
  return { node: required('the node of a pause', node), isMaintenance, untilMs };
}

function encodePhase({ id, epoch: at, phase }: GroupState): PhaseInit {
  switch (phase.kind) {
    case 'creating':
      return { case: 'creating', value: { primary: phase.primary } };
    case 'running':
      return { case: 'running', value: { primary: phase.primary, timeline: phase.timeline } };
    case 'following':
      return { case: 'following', value: { primary: phase.primary, isDoubtful: phase.isDoubtful } };
    case 'fencing': {
      const { primary, timeline: on, cause } = phase;
      const encoded = (all: readonly CutReport[]) =>
        all.map((report) => ({ ...report, group: id, epoch: BigInt(at) }));
      const [reports, strange] = [encoded(phase.reports), encoded(phase.strange ?? [])];
      const off = [...phase.off];
      const reinstate = phase.reinstate === undefined ? {} : { reinstate: phase.reinstate };
      const failed = phase.fenceFailed === undefined ? {} : { fenceFailed: phase.fenceFailed };
      const further = { ...reinstate, ...failed, strange, fetches: (phase.fetches ?? []).map(encodeFetch) };
      const value = { primary, timeline: on, cause: encodeFencingCause(cause), reports, off, ...further };
      return { case: 'fencing', value };
    }
    case 'promoting': {
      const { primary, timeline: on, previous, from, failed, isPlanned: planned } = phase;
      const reason = failed === undefined ? {} : { failed };
      const value = { primary, timeline: on, previous, from: { ...from }, planned, ...reason };
      return { case: 'promoting', value };
    }
    default:
      return unreachable(phase);
  }
}

function decodePhase(message: pb.SnapshotGroup): Phase {
  const { case: kind, value } = message.phase;
  switch (kind) {
    case 'creating':
      return { kind, primary: nodeId(value.primary) };
    case 'running':
      return { kind, primary: nodeId(value.primary), timeline: timeline(value.timeline) };
    case 'following':
      return { kind, primary: nodeId(value.primary), isDoubtful: value.isDoubtful };
    case 'fencing':
      return {
        kind,
        primary: nodeId(value.primary),
        timeline: timeline(value.timeline),
        cause: decodeFencingCause(value),
        reports: value.reports.map(decodeReport),
        off: value.off.map(nodeId),
        reinstate: value.reinstate === undefined ? undefined : nodeId(value.reinstate),
        ...(value.fenceFailed === undefined ? {} : { fenceFailed: value.fenceFailed }),
        ...(value.fetches.length === 0 ? {} : { fetches: value.fetches.map(decodeFetch) }),
        ...(value.strange.length === 0 ? {} : { strange: value.strange.map(decodeReport) }),
      };
    case 'promoting':
      return {
        kind,
        primary: nodeId(value.primary),
        timeline: timeline(value.timeline),
        previous: nodeId(value.previous),
        from: decodeStanding(value.from),
        failed: value.failed,
        isPlanned: value.planned,
      };
    case undefined:
      throw unknownPart('phase of a group', message);
    default:
      return unreachable(kind);
  }
}

function encodeFencingCause(cause: FencingCause): CauseInit {
  if (cause.kind === 'followed') return { case: cause.kind, value: { to: cause.to } };
  return cause.kind === 'recovered' ? { case: cause.kind, value: {} } : encodeCause(cause);
}

function decodeFencingCause(message: pb.FencingPhase): FencingCause {
  const { case: kind, value } = message.cause;
  switch (kind) {
    case 'down':
      return { kind };
    case 'planned':
      return { kind, to: value.to === undefined ? undefined : nodeId(value.to) };
    case 'promotionFailed':
      return { kind: 'promotion-failed' };
    case 'forced':
      return { kind, to: value.to === undefined ? undefined : nodeId(value.to) };
    case 'recovered':
      return { kind };
    case 'followed':
      return { kind, ...(value.to === undefined ? {} : { to: nodeId(value.to) }) };
    case undefined:
      throw unknownPart('cause of a fencing', message);
    default:
      return unreachable(kind);
  }
}

/** The floor and those it stands on, the latest first: as many as promotions in a row went wrong. */
function floorsOf(latest: Floor | undefined): Floor[] {
  const floors: Floor[] = [];
  for (let floor = latest; floor !== undefined; floor = floor.before) floors.push(floor);
  return floors;
}

function encodeFloor({ timeline: on, from, rule, next }: Floor): Init<typeof pb.SnapshotFloorSchema> {
  return {
    timeline: on,
    from: { ...from },
    rule: encodeRule(rule),
    ...(next === undefined ? {} : { next: encodeRule(next) }),
  };
}

function decodeFloor(message: pb.SnapshotFloor, before: Floor | undefined): Floor {
  return {
    timeline: timeline(message.timeline),
    from: decodeStanding(message.from),
    rule: decodeRule('floor', message.rule),
    next: message.next && decodeRule('floor', message.next),
    before,
  };
}

function encodeEvent(event: ClusterEvent): Init<typeof pb.SnapshotEventSchema> {
  const { index, proposedAtMs, command, refused } = event;
  const envelope = envelopeMessage({ session: '', sequence: 0, answeredBelow: 0, proposedAtMs, command });
  return { index: BigInt(index), envelope, ...(refused === undefined ? {} : { refused }) };
}

function decodeEvent(message: pb.SnapshotEvent): ClusterEvent {
  const envelope = required('the command of an event', message.envelope);
  return {
    index: logIndex(Number(message.index)),
    proposedAtMs: Number(envelope.proposedAtMs),
    command: decodeCommand(envelope),
    refused: message.refused,
  };
}
