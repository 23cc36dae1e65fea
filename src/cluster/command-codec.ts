// The commands of the log to messages and back (proto/pg_sentinel/v1/log.proto, which states the rules for changing the
// format). Pure. Must never turn a message it does not fully understand into a command.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { unreachable } from '../base/assert.ts';
import { epoch, groupId, logIndex, memberId, nodeId, peerId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type { Command, CutReport, OffWitness, ScheduledSwitchover } from './commands.ts';
import {
  decodeAdoptGroup,
  decodeNodeAdopted,
  decodeReplaceDatabase,
  encodeAdoptGroup,
} from './adoption-codec.ts';
import { decodeEvidence } from './evidence-codec.ts';
import { decodeHost, decodeWatched, encodeHost, encodeWatched } from './host-codec.ts';
import { decodeCause, encodeCause } from './cause-codec.ts';
import { decodeSlotChanges, decodeStanding, encodeSlotChanges, encodeStanding } from './slots-codec.ts';
import { LogFormatError, NEWER, required, unknownPart } from './log-format.ts';
import { decodeLeaving, decodeRegistration, encodeRegistration } from './node-codec.ts';
import { decodePause, encodePause } from './pause-codec.ts';
import {
  decodeRestoreGroup,
  decodeScheduleRestart,
  encodeRestoreGroup,
  encodeScheduleRestart,
} from './restore-codec.ts';
import { decodeRule, encodeRule } from './rule-codec.ts';
import { decodeLeadSite, decodePromoteSite, decodeTellSite, encodeSite } from './site-codec.ts';
import { decodeChange, decodeConfigure, encodeChange, encodeConfigure } from './settings-codec.ts';

type CommandInit = NonNullable<MessageInitShape<typeof pb.EnvelopeSchema>['command']>;

export function encodeCommand(command: Command): CommandInit {
  switch (command.kind) {
    case 'register-node': {
      const { kind: _, ...registration } = command;
      return { case: 'registerNode', value: encodeRegistration(registration) };
    }
    case 'create-group':
      return { case: 'createGroup', value: { group: command.group, primary: command.primary } };
    case 'group-ready': {
      const { kind: _, ...value } = command;
      return { case: 'groupReady', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'subjective-down': {
      const { peer, node, evidence } = command;
      return { case: 'subjectiveDown', value: { peer, node, evidence, epoch: BigInt(command.epoch) } };
    }
    case 'subjective-up':
      return {
        case: 'subjectiveUp',
        value: { peer: command.peer, node: command.node, epoch: BigInt(command.epoch) },
      };
    case 'begin-failover':
      return {
        case: 'beginFailover',
        value: {
          group: command.group,
          epoch: BigInt(command.epoch),
          cause: encodeCause(command.cause),
          ...(command.scheduledAtMs === undefined ? {} : { scheduledAtMs: BigInt(command.scheduledAtMs) }),
          failback: command.isFailback === true,
        },
      };
    case 'cut-report': {
      const { kind: _, isStrange: strange = false, ...value } = command;
      return { case: 'cutReport', value: { ...value, strange, epoch: BigInt(command.epoch) } };
    }
    case 'promote': {
      const { kind: _, ...value } = command;
      return {
        case: 'promote',
        value: { ...value, epoch: BigInt(command.epoch), rule: encodeRule(command.rule) },
      };
    }
    case 'promoted': {
      const { kind: _, ...value } = command;
      return { case: 'promoted', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'promotion-failed': {
      const { kind: _, ...value } = command;
      return { case: 'promotionFailed', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'fetch-wal': {
      const { kind: _, ...value } = command;
      return { case: 'fetchWal', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'fetch-failed': {
      const { kind: _, ...value } = command;
      return { case: 'fetchFailed', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'use-upstream': {
      const { group, node, upstream } = command;
      const given = upstream === undefined ? {} : { upstream };
      return { case: 'useUpstream', value: { group, node, epoch: BigInt(command.epoch), ...given } };
    }
    case 'resume':
      return { case: 'resume', value: { group: command.group, epoch: BigInt(command.epoch) } };
    case 'begin-rule-change':
      return {
        case: 'beginRuleChange',
        value: { group: command.group, epoch: BigInt(command.epoch), next: encodeRule(command.next) },
      };
    case 'commit-rule':
      return {
        case: 'commitRule',
        value: { group: command.group, epoch: BigInt(command.epoch), change: BigInt(command.change) },
      };
    case 'floor-passed':
      return { case: 'floorPassed', value: { group: command.group, epoch: BigInt(command.epoch) } };
    case 'change-settings':
      return {
        case: 'changeSettings',
        value: { group: command.group, settings: encodeChange(command.settings) },
      };
    case 'configure': {
      const value = { group: command.group, ...encodeConfigure(command) };
      if (command.logicalSlots !== undefined)
        return {
          case: 'configureLogicalSlots',
          value: { configure: value, ...encodeSlotChanges(command.logicalSlots, command.hba) },
        };
      return command.hba === undefined
        ? { case: 'configure', value }
        : { case: 'configureHba', value: { configure: value, hba: [...command.hba] } };
    }
    case 'fence-node':
      return { case: 'fenceNode', value: { node: command.node } };
    case 'unfence-node':
      return { case: 'unfenceNode', value: { node: command.node } };
    case 'acknowledge-failovers':
      return { case: 'acknowledgeFailovers', value: { group: command.group } };
    case 'node-off': {
      const { kind: _, ...value } = command;
      return { case: 'nodeOff', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'fence-failed': {
      const { kind: _, ...value } = command;
      return { case: 'fenceFailed', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'schedule-switchover': {
      const { group, at, onlyAtMs } = command;
      return {
        case: 'scheduleSwitchover',
        value: {
          group,
          ...(at === undefined ? {} : { at: encodeSchedule(at) }),
          ...(onlyAtMs === undefined ? {} : { onlyAtMs: BigInt(onlyAtMs) }),
        },
      };
    }
    case 'pause':
      return { case: 'pause', value: encodePause(command) };
    case 'end-pause': {
      const { group, node, onlyUntilMs } = command;
      return { case: 'endPause', value: { group, node, onlyUntilMs: wholeOf(onlyUntilMs) } };
    }
    case 'remove-node': {
      const { kind: _, ...value } = command;
      return { case: 'removeNode', value };
    }
    case 'readmit-node':
      return { case: 'readmitNode', value: { group: command.group, node: command.node } };
    case 'adopt-group':
      return { case: 'adoptGroup', value: encodeAdoptGroup(command) };
    case 'replace-database': {
      const { kind: _, ...value } = command;
      return { case: 'replaceDatabase', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'node-adopted':
      return {
        case: 'nodeAdopted',
        value: { group: command.group, epoch: BigInt(command.epoch), node: command.node },
      };
    case 'restore-group':
      return { case: 'restoreGroup', value: encodeRestoreGroup(command) };
    case 'schedule-restart':
      return { case: 'scheduleRestart', value: encodeScheduleRestart(command) };
    case 'lead-site':
    case 'promote-site':
    case 'tell-site':
      return encodeSite(command);
    case 'open-session': {
      const { kind: _, ...value } = command;
      return { case: 'openSession', value: { ...value, seenIndex: BigInt(command.seenIndex) } };
    }
    case 'mark-absent':
      return { case: 'markAbsent', value: { group: command.group, member: command.member } };
    case 'give-up-slot':
      return { case: 'giveUpSlot', value: { group: command.group, member: command.member } };
    case 'mark-present':
      return { case: 'markPresent', value: { group: command.group, member: command.member } };
    case 'logical-slot':
      return { case: 'logicalSlotStanding', value: encodeStanding(command) };
    case 'set-feature-level':
      return { case: 'setFeatureLevel', value: { level: command.level } };
    case 'describe-peer':
      return { case: 'describePeer', value: { peer: command.peer, site: command.site ?? '' } };
    case 'declare-host':
      return { case: 'declareHost', value: { peer: command.peer, host: encodeHost(command.host) } };
    case 'judge-server':
    case 'conclude-server':
      return { case: 'watchedServer', value: encodeWatched(command) };
    default:
      return unreachable(command);
  }
}

export function decodeCommand(envelope: pb.Envelope): Command {
  const { case: kind, value } = envelope.command;
  switch (kind) {
    case 'registerNode':
      return { kind: 'register-node', ...decodeRegistration(value) };
    case 'createGroup':
      return { kind: 'create-group', group: groupId(value.group), primary: nodeId(value.primary) };
    case 'groupReady':
      return {
        kind: 'group-ready',
        ...decodeScope(value),
        member: memberId(value.member),
        systemIdentifier: value.systemIdentifier,
        timeline: timeline(value.timeline),
      };
    case 'subjectiveDown':
      return {
        kind: 'subjective-down',
        peer: peerId(value.peer),
        node: nodeId(value.node),
        epoch: epoch(Number(value.epoch)),
        evidence: decodeEvidence(value.evidence),
      };
    case 'subjectiveUp':
      return {
        kind: 'subjective-up',
        peer: peerId(value.peer),
        node: nodeId(value.node),
        epoch: epoch(Number(value.epoch)),
      };
    case 'beginFailover':
      return {
        kind: 'begin-failover',
        ...decodeScope(value),
        cause: decodeCause(value),
        ...(value.scheduledAtMs === undefined ? {} : { scheduledAtMs: Number(value.scheduledAtMs) }),
        ...(value.failback ? { isFailback: true } : {}),
      };
    case 'cutReport':
      return {
        kind: 'cut-report',
        ...decodeScope(value),
        ...decodeReport(value),
        ...(value.afterFetch ? { afterFetch: true } : {}),
        ...(value.strange ? { isStrange: true } : {}),
      };
    case 'promote':
      return {
        kind: 'promote',
        ...decodeScope(value),
        candidate: nodeId(value.candidate),
        timeline: timeline(value.timeline),
        rule: decodeRule('promote', value.rule),
      };
    case 'promoted':
      return {
        kind: 'promoted',
        ...decodeScope(value),
        node: nodeId(value.node),
        timeline: timeline(value.timeline),
        switchLsn: lsn(value.switchLsn),
      };
    case 'promotionFailed':
      return {
        kind: 'promotion-failed',
        ...decodeScope(value),
        node: nodeId(value.node),
        reason: value.reason,
      };
    case 'fetchWal':
      return {
        kind: 'fetch-wal',
        ...decodeScope(value),
        node: nodeId(value.node),
        from: nodeId(value.from),
        ...(value.preference ? { preference: true } : {}),
      };
    case 'fetchFailed':
      return { kind: 'fetch-failed', ...decodeScope(value), node: nodeId(value.node), reason: value.reason };
    case 'useUpstream':
      return {
        kind: 'use-upstream',
        ...decodeScope(value),
        node: nodeId(value.node),
        upstream: value.upstream === undefined ? undefined : nodeId(value.upstream),
      };
    case 'resume':
      return { kind: 'resume', ...decodeScope(value) };
    case 'beginRuleChange':
      return {
        kind: 'begin-rule-change',
        ...decodeScope(value),
        next: decodeRule('begin-rule-change', value.next),
      };
    case 'commitRule':
      return { kind: 'commit-rule', ...decodeScope(value), change: logIndex(Number(value.change)) };
    case 'floorPassed':
      return { kind: 'floor-passed', ...decodeScope(value) };
    case 'changeSettings':
      return {
        kind: 'change-settings',
        group: groupId(value.group),
        settings: decodeChange(required('settings', value.settings)),
      };
    case 'configure':
      return { kind, group: groupId(value.group), ...decodeConfigure(value) };
    case 'configureHba': {
      const configure = required('configure', value.configure);
      const { group } = configure;
      return { kind: 'configure', group: groupId(group), ...decodeConfigure(configure), hba: value.hba };
    }
    case 'configureLogicalSlots': {
      const configure = required('configure', value.configure);
      const { group } = configure;
      return {
        kind: 'configure',
        group: groupId(group),
        ...decodeConfigure(configure),
        ...decodeSlotChanges(value),
      };
    }
    case 'logicalSlotStanding':
      return decodeStanding(value);
    case 'fenceNode':
      return { kind: 'fence-node', node: nodeId(value.node) };
    case 'unfenceNode':
      return { kind: 'unfence-node', node: nodeId(value.node) };
    case 'acknowledgeFailovers':
      return { kind: 'acknowledge-failovers', group: groupId(value.group) };
    case 'nodeOff':
      return {
        kind: 'node-off',
        ...decodeScope(value),
        node: nodeId(value.node),
        by: decodeWitness(value.by),
      };
    case 'fenceFailed':
      return {
        kind: 'fence-failed',
        ...decodeScope(value),
        node: nodeId(value.node),
        reason: value.reason,
      };
    case 'scheduleSwitchover':
      return {
        kind: 'schedule-switchover',
        group: groupId(value.group),
        at: value.at && decodeSchedule(value.at),
        ...(value.onlyAtMs === undefined ? {} : { onlyAtMs: Number(value.onlyAtMs) }),
      };
    case 'pause':
      return { kind, group: groupId(value.group), ...decodePause(value) };
    case 'endPause':
      return {
        kind: 'end-pause',
        group: groupId(value.group),
        node: value.node === undefined ? undefined : nodeId(value.node),
        ...(value.onlyUntilMs === undefined ? {} : { onlyUntilMs: Number(value.onlyUntilMs) }),
      };
    case 'removeNode':
      return {
        kind: 'remove-node',
        group: groupId(value.group),
        node: nodeId(value.node),
        leaving: decodeLeaving(value.leaving),
        ...(value.acceptsLoss ? { acceptsLoss: true } : {}),
      };
    case 'readmitNode':
      return { kind: 'readmit-node', group: groupId(value.group), node: nodeId(value.node) };
    case 'adoptGroup':
      return decodeAdoptGroup(value);
    case 'nodeAdopted':
      return decodeNodeAdopted(value);
    case 'replaceDatabase':
      return decodeReplaceDatabase(value);
    case 'restoreGroup':
      return decodeRestoreGroup(value);
    case 'scheduleRestart':
      return decodeScheduleRestart(value);
    case 'leadSite':
      return decodeLeadSite(value);
    case 'promoteSite':
      return decodePromoteSite(value);
    case 'tellSite':
      return decodeTellSite(value);
    case 'openSession':
      return {
        kind: 'open-session',
        peer: peerId(value.peer),
        session: value.session,
        store: value.store,
        features: value.features,
        seenIndex: logIndex(Number(value.seenIndex)),
      };
    case 'markAbsent':
      return { kind: 'mark-absent', group: groupId(value.group), member: memberId(value.member) };
    case 'giveUpSlot':
      return { kind: 'give-up-slot', group: groupId(value.group), member: memberId(value.member) };
    case 'markPresent':
      return { kind: 'mark-present', group: groupId(value.group), member: memberId(value.member) };
    case 'declareHost':
      return { kind: 'declare-host', peer: peerId(value.peer), host: decodeHost(value.host) };
    case 'watchedServer':
      return decodeWatched(value);
    case 'setFeatureLevel':
      return { kind: 'set-feature-level', level: value.level };
    case 'describePeer':
      return {
        kind: 'describe-peer',
        peer: peerId(value.peer),
        site: value.site === '' ? undefined : value.site,
      };
    case undefined:
      throw unknownPart('command', envelope);
    default:
      return unreachable(kind);
  }
}

export function decodeReport(value: pb.CutReport): CutReport {
  return {
    node: nodeId(value.node),
    member: memberId(value.member),
    timeline: timeline(value.timeline),
    position: lsn(value.position),
    stopped: value.stopped,
  };
}

const WITNESSES: Record<OffWitness, true> = { 'fence-command': true, operator: true };

function decodeWitness(text: string): OffWitness {
  if (Object.hasOwn(WITNESSES, text)) return text as OffWitness;
  throw new LogFormatError(`"${text}" as witness of a node that is off is not known here: ${NEWER}`);
}

export function encodeSchedule(
  at: ScheduledSwitchover,
): MessageInitShape<typeof pb.ScheduledSwitchoverSchema> {
  return { atMs: BigInt(at.atMs), ...(at.to === undefined ? {} : { to: at.to }) };
}

export function decodeSchedule(at: pb.ScheduledSwitchover): ScheduledSwitchover {
  return { atMs: Number(at.atMs), to: at.to === undefined ? undefined : nodeId(at.to) };
}

function wholeOf(value: number | undefined): bigint | undefined {
  return value === undefined ? undefined : BigInt(value);
}

/** What nearly every command names: its group and the epoch it was made for. */
function decodeScope(value: { readonly group: string; readonly epoch: bigint }) {
  return { group: groupId(value.group), epoch: epoch(Number(value.epoch)) };
}
