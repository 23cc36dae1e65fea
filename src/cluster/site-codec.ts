// Groups that follow another site, on the wire: their commands, and what is kept of the other site. Pure.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { epoch, groupId, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type * as snapshot from '../gen/pg_sentinel/v1/snapshot_pb.ts';
import type { CommandOf } from './applied.ts';
import type { SiteHistory } from './commands.ts';
import { required } from './log-format.ts';
import type { FollowedSite } from './state.ts';

type CommandInit = NonNullable<MessageInitShape<typeof pb.EnvelopeSchema>['command']>;

export function encodeSite(
  command: CommandOf<'lead-site'> | CommandOf<'promote-site'> | CommandOf<'tell-site'>,
): CommandInit {
  const { group } = command;
  if (command.kind === 'promote-site')
    return { case: 'promoteSite', value: { group, epoch: BigInt(command.epoch), to: command.to } };
  if (command.kind === 'tell-site') {
    const { node, history } = command;
    return {
      case: 'tellSite',
      value: { group, epoch: BigInt(command.epoch), node, history: encodeHistory(history) },
    };
  }
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

export function decodePromoteSite(value: pb.PromoteSite): CommandOf<'promote-site'> {
  return {
    kind: 'promote-site',
    group: groupId(value.group),
    epoch: epoch(Number(value.epoch)),
    ...(value.to === undefined ? {} : { to: nodeId(value.to) }),
  };
}

export function decodeTellSite(value: pb.TellSite): CommandOf<'tell-site'> {
  return {
    kind: 'tell-site',
    group: groupId(value.group),
    epoch: epoch(Number(value.epoch)),
    node: nodeId(value.node),
    history: decodeHistory(required('the history of another site', value.history)),
  };
}

const encodeHistory = ({ timeline: on, branches }: SiteHistory) => ({
  timeline: on,
  branches: branches.map((branch) => ({ ...branch })),
});

function decodeHistory(message: pb.SiteHistory): SiteHistory {
  return {
    timeline: timeline(message.timeline),
    branches: message.branches.map((branch) => ({
      timeline: timeline(branch.timeline),
      parent: timeline(branch.parent),
      switchLsn: lsn(branch.switchLsn),
    })),
  };
}

/** For the snapshot. */
export const encodeFollowedSite = ({ history, opened }: FollowedSite) => ({
  ...(history === undefined ? {} : { history: encodeHistory(history) }),
  ...(opened === undefined ? {} : { opened }),
});

export function decodeFollowedSite({ history, opened }: snapshot.SnapshotSite): FollowedSite {
  return {
    history: history && decodeHistory(history),
    opened: opened === undefined ? undefined : timeline(opened),
  };
}
