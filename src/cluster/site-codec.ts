// Groups that follow another site, on the wire: their commands. Pure.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { epoch, groupId, nodeId } from '../base/ids.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type { CommandOf } from './applied.ts';

type CommandInit = NonNullable<MessageInitShape<typeof pb.EnvelopeSchema>['command']>;

export function encodeSite(command: CommandOf<'lead-site'> | CommandOf<'promote-site'>): CommandInit {
  const { group } = command;
  if (command.kind === 'promote-site')
    return { case: 'promoteSite', value: { group, epoch: BigInt(command.epoch) } };
  const { node, isAsked: asked = false } = command;
  const at = command.epoch === undefined ? {} : { epoch: BigInt(command.epoch) };
  return { case: 'leadSite', value: { group, node, asked, ...at } };
}

export function decodeLeadSite(value: pb.LeadSite): CommandOf<'lead-site'> {
  return {
    kind: 'lead-site',
    group: groupId(value.group),
    epoch: value.epoch === undefined ? undefined : epoch(Number(value.epoch)),
    node: nodeId(value.node),
    ...(value.asked ? { isAsked: true } : {}),
  };
}
