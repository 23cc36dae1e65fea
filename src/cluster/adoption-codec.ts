// The commands that give a group its database, but for a new or a restored one, to messages and back (proto/pg_sentinel/v1/log.proto).
import type { MessageInitShape } from '@bufbuild/protobuf';
import { epoch, groupId, nodeId, timeline } from '../base/ids.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type { CommandOf } from './applied.ts';

export function encodeAdoptGroup(
  command: CommandOf<'adopt-group'>,
): MessageInitShape<typeof pb.AdoptGroupSchema> {
  const { group, primary, systemIdentifier, timeline: on, standbys } = command;
  return { group, primary, systemIdentifier, timeline: on, standbys: [...standbys] };
}

export function decodeAdoptGroup(value: pb.AdoptGroup): CommandOf<'adopt-group'> {
  return {
    kind: 'adopt-group',
    group: groupId(value.group),
    primary: nodeId(value.primary),
    systemIdentifier: value.systemIdentifier,
    timeline: timeline(value.timeline),
    standbys: value.standbys.map(nodeId),
  };
}

export function decodeNodeAdopted(value: pb.NodeAdopted): CommandOf<'node-adopted'> {
  return {
    kind: 'node-adopted',
    group: groupId(value.group),
    epoch: epoch(Number(value.epoch)),
    node: nodeId(value.node),
  };
}

export function decodeReplaceDatabase(value: pb.ReplaceDatabase): CommandOf<'replace-database'> {
  const { from, to } = value;
  return {
    kind: 'replace-database',
    group: groupId(value.group),
    epoch: epoch(Number(value.epoch)),
    primary: nodeId(value.primary),
    from,
    to,
  };
}
