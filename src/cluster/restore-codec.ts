// What the log and its snapshots hold of restored groups and scheduled restarts, to messages and back (proto/pg_sentinel/v1/log.proto).
import type { MessageInitShape } from '@bufbuild/protobuf';
import { epoch, groupId, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type * as snapshot from '../gen/pg_sentinel/v1/snapshot_pb.ts';
import type { CommandOf } from './applied.ts';
import type { RestoreReached, ScheduledRestart } from './commands.ts';
import { required } from './log-format.ts';
import type { GroupRestore, NodeRestart } from './state.ts';

export function encodeRestoreGroup(
  command: CommandOf<'restore-group'>,
): MessageInitShape<typeof pb.RestoreGroupSchema> {
  const { group, primary, reached } = command;
  return {
    group,
    primary,
    ...(reached === undefined ? {} : { reached: encodeReached(reached, BigInt(reached.epoch)) }),
  };
}

export function decodeRestoreGroup(value: pb.RestoreGroup): CommandOf<'restore-group'> {
  const { reached } = value;
  return {
    kind: 'restore-group',
    group: groupId(value.group),
    primary: nodeId(value.primary),
    ...(reached === undefined
      ? {}
      : { reached: { ...decodeReached(reached), epoch: epoch(Number(reached.epoch)) } }),
  };
}

export function encodeScheduleRestart(
  command: CommandOf<'schedule-restart'>,
): MessageInitShape<typeof pb.ScheduleRestartSchema> {
  const { group, node, at, onlyAtMs, outcome } = command;
  return {
    group,
    node,
    ...(at === undefined ? {} : { at: encodeRestart(at) }),
    ...(onlyAtMs === undefined ? {} : { onlyAtMs: BigInt(onlyAtMs) }),
    ...(outcome === undefined ? {} : { outcome }),
  };
}

export function decodeScheduleRestart(value: pb.ScheduleRestart): CommandOf<'schedule-restart'> {
  return {
    kind: 'schedule-restart',
    group: groupId(value.group),
    node: nodeId(value.node),
    at: value.at && decodeRestart(value.at),
    ...(value.onlyAtMs === undefined ? {} : { onlyAtMs: Number(value.onlyAtMs) }),
    ...(value.outcome === '' ? {} : { outcome: value.outcome }),
  };
}

export function encodeGroupRestore({
  reached,
}: GroupRestore): MessageInitShape<typeof snapshot.SnapshotRestoreSchema> {
  return reached === undefined ? {} : { reached: encodeReached(reached, 0n), assigned: reached.assigned };
}

export function decodeGroupRestore(message: snapshot.SnapshotRestore): GroupRestore {
  const { reached, assigned } = message;
  return {
    reached: reached && { ...decodeReached(reached), assigned: timeline(assigned) },
  };
}

export function encodeNodeRestart({
  node,
  ...at
}: NodeRestart): MessageInitShape<typeof snapshot.SnapshotRestartSchema> {
  return { node, at: encodeRestart(at) };
}

export function decodeNodeRestart(message: snapshot.SnapshotRestart): NodeRestart {
  return { node: nodeId(message.node), ...decodeRestart(required('the time of a restart', message.at)) };
}

function encodeReached(
  reached: RestoreReached,
  at: bigint,
): MessageInitShape<typeof pb.RestoreReachedSchema> {
  const { systemIdentifier, timeline: on, position, highestTimeline, target, lastTransactionMs } = reached;
  return {
    epoch: at,
    systemIdentifier,
    timeline: on,
    position,
    highestTimeline,
    target,
    ...(lastTransactionMs === undefined ? {} : { lastTransactionMs: BigInt(lastTransactionMs) }),
  };
}

function decodeReached(value: pb.RestoreReached): RestoreReached {
  return {
    systemIdentifier: value.systemIdentifier,
    timeline: timeline(value.timeline),
    position: lsn(value.position),
    highestTimeline: timeline(value.highestTimeline),
    target: value.target,
    lastTransactionMs: value.lastTransactionMs === undefined ? undefined : Number(value.lastTransactionMs),
  };
}

function encodeRestart(at: ScheduledRestart): MessageInitShape<typeof pb.ScheduledRestartSchema> {
  const { atMs, inPlace, serverStartedAtS } = at;
  return {
    atMs: BigInt(atMs),
    inPlace,
    ...(serverStartedAtS === undefined ? {} : { serverStartedAtS: BigInt(serverStartedAtS) }),
  };
}

function decodeRestart(value: pb.ScheduledRestart): ScheduledRestart {
  const { serverStartedAtS } = value;
  return {
    atMs: Number(value.atMs),
    inPlace: value.inPlace,
    ...(serverStartedAtS === undefined ? {} : { serverStartedAtS: Number(serverStartedAtS) }),
  };
}
