// The views of the admin service to their wire form and back (proto/pg_sentinel/v1/admin.proto).
// For people: a word of a later version is shown as it is or as unknown, and never an error.
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { unreachable } from '../base/assert.ts';
import { LogFormatError } from '../cluster/log-format.ts';
import { decodeSettings, encodeSettings } from '../cluster/settings-codec.ts';
import type { GroupSettings } from '../cluster/commands.ts';
import * as pb from '../gen/pg_sentinel/v1/admin_pb.ts';
import type { GroupSettings as GroupSettingsMessage } from '../gen/pg_sentinel/v1/log_pb.ts';
import { decodeUpkeep, encodeUpkeep } from './upkeep-codec.ts';
import type {
  EventView,
  FailoverOutcome,
  GroupView,
  NodeView,
  PauseView,
  PeerChangeOutcome,
  PeerListEntry,
  PeerListView,
  PeerView,
  StatusView,
  WatchedView,
} from './types.ts';

export function encodeStatus(status: StatusView): pb.StatusView {
  return create(pb.StatusViewSchema, {
    ...status,
    atMs: whole(status.atMs),
    term: whole(status.term),
    commitIndex: whole(status.commitIndex),
    appliedIndex: whole(status.appliedIndex),
    incarnation: optionalWhole(status.incarnation),
    waiting: [...(status.waiting ?? [])],
    peers: status.peers.map((peer) => ({
      ...peer,
      matchIndex: optionalWhole(peer.matchIndex),
      incarnation: optionalWhole(peer.incarnation),
      snapshotIndex: optionalWhole(peer.snapshotIndex),
      lagEntries: optionalWhole(peer.lagEntries),
    })),
    groups: status.groups.map((group) => ({
      ...group,
      epoch: whole(group.epoch),
      nodes: group.nodes.map((node) => ({
        ...node,
        lagBytes: optionalWhole(node.lagBytes),
        silentMs: optionalWhole(node.silentMs),
        heldDownBy: [...node.heldDownBy],
        paused: node.paused && encodePause(node.paused),
        upkeep: node.upkeep && encodeUpkeep(node.upkeep),
        pendingRestart: [...(node.pendingRestart ?? [])],
        probeRefusals: [...(node.probeRefusals ?? [])],
      })),
      settings: group.settings && encodeSettings(group.settings),
      scheduled: group.scheduled && { atMs: whole(group.scheduled.atMs), to: group.scheduled.to },
      paused: group.paused && encodePause(group.paused),
      restore: group.restore && {
        ...group.restore,
        lastTransactionMs: optionalWhole(group.restore.lastTransactionMs),
      },
      restarts: (group.restarts ?? []).map((restart) => ({ ...restart, atMs: whole(restart.atMs) })),
    })),
    warnings: [...status.warnings],
    warningGroups: [...(status.warningGroups ?? [])],
    watched: (status.watched ?? []).map((server) => ({
      ...server,
      lagBytes: optionalWhole(server.lagBytes),
      lagMs: optionalWhole(server.lagMs),
      heldDownBy: [...server.heldDownBy],
    })),
  });
}

export function decodeStatus(status: pb.StatusView): StatusView {
  return {
    cluster: status.cluster,
    answeredBy: status.answeredBy,
    atMs: Number(status.atMs),
    leader: status.leader,
    term: Number(status.term),
    incarnation: optionalNumber(status.incarnation),
    commitIndex: Number(status.commitIndex),
    appliedIndex: Number(status.appliedIndex),
    peers: status.peers.map(decodePeer),
    groups: status.groups.map(decodeGroup),
    warnings: status.warnings,
    ...(status.warningGroups.length === 0 ? {} : { warningGroups: status.warningGroups }),
    ...(status.watched.length === 0 ? {} : { watched: status.watched.map(decodeWatched) }),
    ...(status.waiting.length === 0
      ? {}
      : {
          waiting: status.waiting.map(({ node, group, peer, hasData }) => ({ node, group, peer, hasData })),
        }),
  };
}

function decodeWatched(server: pb.WatchedView): WatchedView {
  return {
    server: server.server,
    address: server.address,
    formation: server.formation,
    state: oneOf(WATCHED_STATES, server.state) ?? 'unknown',
    role: oneOf(NODE_ROLES, server.role) ?? 'none',
    timeline: server.timeline,
    lsn: server.lsn,
    lagBytes: optionalNumber(server.lagBytes),
    lagMs: optionalNumber(server.lagMs),
    heldDownBy: server.heldDownBy,
    message: server.message,
  };
}

export function encodeEvent(event: EventView): pb.EventView {
  return create(pb.EventViewSchema, { ...event, index: whole(event.index), atMs: whole(event.atMs) });
}

export function decodeEvent(event: pb.EventView): EventView {
  return {
    index: Number(event.index),
    atMs: Number(event.atMs),
    group: event.group,
    kind: event.kind,
    text: event.text,
    refused: event.refused,
  };
}

export function encodeOutcome(outcome: FailoverOutcome): pb.FailoverResponse {
  switch (outcome.kind) {
    case 'done': {
      const { kind: _, ...done } = outcome;
      const value = { ...done, epoch: whole(done.epoch), tookMs: whole(done.tookMs) };
      return create(pb.FailoverResponseSchema, { outcome: { case: 'done', value } });
    }
    case 'refused':
      return create(pb.FailoverResponseSchema, {
        outcome: { case: 'refused', value: { reason: outcome.reason } },
      });
    case 'planned': {
      const { kind: _, ...planned } = outcome;
      const value = { ...planned, steps: [...planned.steps], lossBytes: optionalWhole(planned.lossBytes) };
      return create(pb.FailoverResponseSchema, { outcome: { case: 'planned', value } });
    }
    default:
      return unreachable(outcome);
  }
}

/** `undefined` for an outcome of a later version. */
export function decodeOutcome(response: pb.FailoverResponse): FailoverOutcome | undefined {
  const { case: kind, value } = response.outcome;
  switch (kind) {
    case 'done': {
      const { group, from, to, epoch, tookMs } = value;
      return { kind: 'done', group, from, to, epoch: Number(epoch), tookMs: Number(tookMs) };
    }
    case 'refused':
      return { kind: 'refused', reason: value.reason };
    case 'planned': {
      const { group, from, to, steps, obstacle, lossBytes } = value;
      return { kind, group, from, to, steps, obstacle, lossBytes: optionalNumber(lossBytes) };
    }
    case undefined:
      return undefined;
    default:
      return unreachable(kind);
  }
}

export function encodePeerList(list: PeerListView): pb.PeerListResponse {
  return create(pb.PeerListResponseSchema, {
    ...list,
    incarnation: whole(list.incarnation),
    peers: list.peers.map((peer) => ({
      ...peer,
      matchIndex: optionalWhole(peer.matchIndex),
      lagEntries: optionalWhole(peer.lagEntries),
      snapshotIndex: optionalWhole(peer.snapshotIndex),
    })),
  });
}

export function decodePeerList(list: pb.PeerListResponse): PeerListView {
  return {
    cluster: list.cluster,
    incarnation: Number(list.incarnation),
    featureLevel: list.featureLevel,
    leader: list.leader,
    peers: list.peers.map(decodePeerListEntry),
  };
}

function decodePeerListEntry(entry: pb.PeerListEntry): PeerListEntry {
  return {
    peer: entry.peer,
    address: entry.address,
    // A kind of a later version is none that votes as far as this one knows.
    kind: oneOf(MEMBER_KINDS, entry.kind) ?? 'learner',
    role: oneOf(PEER_ROLES, entry.role) ?? 'unknown',
    reachable: entry.reachable,
    matchIndex: optionalNumber(entry.matchIndex),
    lagEntries: optionalNumber(entry.lagEntries),
    snapshotIndex: optionalNumber(entry.snapshotIndex),
    features: entry.features,
    session: entry.session,
  };
}

export function encodePeerChange(
  outcome: PeerChangeOutcome,
): MessageInitShape<typeof pb.PeerChangeOutcomeSchema> {
  switch (outcome.kind) {
    case 'done':
      return { outcome: { case: 'done', value: { detail: outcome.detail } } };
    case 'refused':
      return { outcome: { case: 'refused', value: { reason: outcome.reason } } };
    case 'not-leader': {
      const { leader } = outcome;
      const value = leader === undefined ? {} : { leader: leader.peer, address: leader.address };
      return { outcome: { case: 'notLeader', value } };
    }
    default:
      return unreachable(outcome);
  }
}

/** `undefined` for an outcome of a later version. */
export function decodePeerChange(wire: pb.PeerChangeOutcome | undefined): PeerChangeOutcome | undefined {
  if (wire === undefined) return undefined;
  const { case: kind, value } = wire.outcome;
  switch (kind) {
    case 'done':
      return { kind: 'done', detail: value.detail };
    case 'refused':
      return { kind: 'refused', reason: value.reason };
    case 'notLeader': {
      const { leader: peer, address } = value;
      const leader = peer === undefined || address === undefined ? undefined : { peer, address };
      return { kind: 'not-leader', leader };
    }
    case undefined:
      return undefined;
    default:
      return unreachable(kind);
  }
}

function decodePeer(peer: pb.PeerView): PeerView {
  return {
    peer: peer.peer,
    address: peer.address,
    role: oneOf(PEER_ROLES, peer.role) ?? 'unknown',
    reachable: peer.reachable,
    matchIndex: optionalNumber(peer.matchIndex),
    kind: oneOf(PEER_KINDS, peer.kind ?? ''),
    incarnation: optionalNumber(peer.incarnation),
    features: peer.features,
    snapshotIndex: optionalNumber(peer.snapshotIndex),
    lagEntries: optionalNumber(peer.lagEntries),
    ...(peer.runs === undefined ? {} : { runs: peer.runs }),
  };
}

function decodeGroup(group: pb.GroupView): GroupView {
  return {
    group: group.group,
    phase: group.phase,
    epoch: Number(group.epoch),
    primary: group.primary,
    durability: group.durability,
    rule: group.rule,
    ruleChange: group.ruleChange,
    nodes: group.nodes.map(decodeNode),
    settings: group.settings && settingsOf(group.settings),
    scheduled: group.scheduled && { atMs: Number(group.scheduled.atMs), to: group.scheduled.to },
    paused: group.paused && decodePause(group.paused),
    ...(group.formation === undefined ? {} : { formation: group.formation }),
    restore: group.restore && {
      target: group.restore.target,
      fromTimeline: group.restore.fromTimeline,
      lsn: group.restore.lsn,
      timeline: group.restore.timeline,
      lastTransactionMs: optionalNumber(group.restore.lastTransactionMs),
    },
    restarts: group.restarts.map(({ node, atMs, inPlace, begun }) => ({
      ...{ node, inPlace, begun },
      atMs: Number(atMs),
    })),
    ...(group.source === undefined ? {} : { source: group.source }),
    ...(group.isDoubtful ? { isDoubtful: true } : {}),
    ...(group.isReplacingDatabase ? { isReplacingDatabase: true } : {}),
  };
}

function encodePause({ untilMs, maintenance }: PauseView): MessageInitShape<typeof pb.PauseViewSchema> {
  return { untilMs: optionalWhole(untilMs), maintenance };
}

function decodePause({ untilMs, maintenance }: pb.PauseView): PauseView {
  return { untilMs: optionalNumber(untilMs), maintenance };
}

/** Left out where they hold a word of a later version. */
function settingsOf(settings: GroupSettingsMessage): GroupSettings | undefined {
  try {
    return decodeSettings(settings);
  } catch (error) {
    if (error instanceof LogFormatError) return undefined;
    throw error;
  }
}

function decodeNode(node: pb.NodeView): NodeView {
  return {
    node: node.node,
    address: node.address,
    peer: node.peer,
    role: oneOf(NODE_ROLES, node.role) ?? 'none',
    state: node.state,
    timeline: node.timeline,
    lsn: node.lsn,
    lagBytes: optionalNumber(node.lagBytes),
    sync: node.sync,
    member: node.member,
    heldDownBy: node.heldDownBy,
    message: node.message,
    paused: node.paused && decodePause(node.paused),
    fenced: node.fenced,
    counted: node.counted,
    guarded: node.guarded,
    upkeep: node.upkeep && decodeUpkeep(node.upkeep),
    notPromoted: node.notPromoted,
    notCounted: node.notCounted,
    ...(node.silentMs === undefined ? {} : { silentMs: Number(node.silentMs) }),
    ...(node.upstream === undefined ? {} : { upstream: node.upstream, upstreamUsed: node.upstreamUsed }),
    ...(node.probeRefusals.length === 0
      ? {}
      : { probeRefusals: node.probeRefusals.map(({ peer, why }) => ({ peer, why })) }),
    ...(node.pendingRestart.length === 0 ? {} : { pendingRestart: node.pendingRestart }),
  };
}

const PEER_ROLES = ['leader', 'follower', 'candidate', 'unknown'] as const;
const MEMBER_KINDS = ['voter', 'learner'] as const;
const PEER_KINDS = [...MEMBER_KINDS, 'joining'] as const;
const WATCHED_STATES = ['up', 'down', 'unknown'] as const;
const NODE_ROLES = ['primary', 'standby', 'none'] as const;

function oneOf<T extends string>(words: readonly T[], text: string): T | undefined {
  return words.find((word) => word === text);
}

function whole(value: number): bigint {
  return BigInt(Math.round(value));
}

function optionalWhole(value: number | undefined): bigint | undefined {
  return value === undefined ? undefined : whole(value);
}

function optionalNumber(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}
