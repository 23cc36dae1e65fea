// A node's registration, and what becomes of one that is removed, on the wire: in the log and in snapshots. Pure.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { groupId, memberId, nodeId, peerId } from '../base/ids.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import { hasOptions } from './eligibility.ts';
import type { Leaving, NodeRegistration } from './commands.ts';
import { LogFormatError, NEWER } from './log-format.ts';

export function encodeRegistration({
  options,
  ...rest
}: NodeRegistration): MessageInitShape<typeof pb.RegisterNodeSchema> {
  if (options === undefined) return rest;
  const { noFailover, noSync, applyDelayMs, upstream = '', source = '' } = options;
  return { ...rest, noFailover, noSync, applyDelayMs: BigInt(applyDelayMs), upstream, source };
}

export function decodeRegistration(value: pb.RegisterNode): NodeRegistration {
  return {
    node: nodeId(value.node),
    group: groupId(value.group),
    peer: peerId(value.peer),
    host: value.host,
    port: value.port,
    member: value.member === undefined ? undefined : memberId(value.member),
    systemIdentifier: value.systemIdentifier,
    priority: value.priority,
    ...decodeOptions(value),
  };
}

function decodeOptions(value: pb.RegisterNode): Pick<NodeRegistration, 'options'> {
  const { noFailover, noSync } = value;
  const upstream = value.upstream === '' ? {} : { upstream: nodeId(value.upstream) };
  const source = value.source === '' ? {} : { source: value.source };
  const applyDelayMs = Number(value.applyDelayMs);
  const options = { noFailover, noSync, applyDelayMs, ...upstream, ...source };
  return hasOptions(options) ? { options } : {};
}

const LEAVING: Record<Leaving, true> = { leave: true, stop: true, destroy: true };

export function decodeLeaving(text: string): Leaving {
  if (Object.hasOwn(LEAVING, text)) return text as Leaving;
  throw new LogFormatError(`"${text}" as what becomes of a removed node is not known here: ${NEWER}`);
}
