// The views of the admin service to their wire form and back (proto/pg_sentinel/v1/admin.proto).
// For people: a word of a later version is shown as it is or as unknown, and never an error.
import { create } from '@bufbuild/protobuf';
import { unreachable } from '../base/assert.ts';
import * as pb from '../gen/pg_sentinel/v1/admin_pb.ts';
import type { EventView, FailoverOutcome, GroupView, NodeView, PeerView, StatusView } from './types.ts';

export function encodeStatus(status: StatusView): pb.StatusView {
  return create(pb.StatusViewSchema, {
    ...status,
    atMs: whole(status.atMs),
    term: whole(status.term),
    commitIndex: whole(status.commitIndex),
    appliedIndex: whole(status.appliedIndex),
    peers: status.peers.map((peer) => ({ ...peer, matchIndex: optionalWhole(peer.matchIndex) })),
    groups: status.groups.map((group) => ({
      ...group,
      epoch: whole(group.epoch),
      nodes: group.nodes.map((node) => ({
        ...node,
        lagBytes: optionalWhole(node.lagBytes),
        heldDownBy: [...node.heldDownBy],
      })),
    })),
    warnings: [...status.warnings],
  });
}

export function decodeStatus(status: pb.StatusView): StatusView {
  return {
    cluster: status.cluster,
    answeredBy: status.answeredBy,
    atMs: Number(status.atMs),
    leader: status.leader,
    term: Number(status.term),
    commitIndex: Number(status.commitIndex),
    appliedIndex: Number(status.appliedIndex),
    peers: status.peers.map(decodePeer),
    groups: status.groups.map(decodeGroup),
    warnings: status.warnings,
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
  };
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
  };
}

const PEER_ROLES = ['leader', 'follower', 'candidate', 'unknown'] as const;
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
