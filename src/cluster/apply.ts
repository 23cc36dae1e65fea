// apply(state, entry) -> state: the only thing that changes the replicated state, the same on every peer. It checks every
// command again, so that even a leader with a bug cannot fail over without a quorum. A command that does not fit is refused
// and recorded as such; refusing changes nothing else.
import { applyAdoptGroup, applyNodeAdopted } from './apply-adoption.ts';
import { assert, unreachable } from '../base/assert.ts';
import type { LogIndex } from '../base/ids.ts';
import type { Membership } from '../raft/types.ts';
import { type Applied, isRefused } from './applied.ts';
import {
  applyBeginFailover,
  applyCutReport,
  applyPromote,
  applyPromoted,
  applyPromotionFailed,
  applyResume,
} from './apply-failover.ts';
import {
  applyCreateGroup,
  applyGroupReady,
  applyRegisterNode,
  applySubjectiveDown,
  applySubjectiveUp,
} from './apply-nodes.ts';
import { applyUseUpstream } from './apply-cascade.ts';
import { applyFetchFailed, applyFetchWal } from './apply-fetch.ts';
import { applyEndPause, applyPause } from './apply-pauses.ts';
import { applyScheduleRestart } from './apply-restarts.ts';
import { applyReplaceDatabase } from './apply-replacement.ts';
import { applyRestoreGroup } from './apply-restore.ts';
import { applyReadmitNode, applyRemoveNode } from './apply-removal.ts';
import { applyBeginRuleChange, applyCommitRule, applyFloorPassed } from './apply-rule.ts';
import { applyChangeSettings, applyConfigure } from './apply-settings.ts';
import { admit, applyDescribePeer, applyOpenSession, applySetFeatureLevel } from './apply-peers.ts';
import {
  applyAcknowledgeFailovers,
  applyFenceNode,
  applyFenceFailed,
  applyNodeOff,
  applyScheduleSwitchover,
  applyUnfenceNode,
} from './apply-requests.ts';
import { applyConcludeServer, applyDeclareHost, applyJudgeServer } from './apply-hosts.ts';
import { applyLeadSite, applyPromoteSite } from './apply-site.ts';
import { applyTellSite } from './site-history.ts';
import { applyGiveUpSlot, applyMarkAbsent, applyMarkPresent } from './apply-slots.ts';
import { applyLogicalSlot } from './logical-slots.ts';
import type { Command, Envelope } from './commands.ts';
import { NO_EVENTS, addEvent } from './event-list.ts';
import { FIRST_FEATURE_LEVEL } from './features.ts';
import { forEvent } from './parameters.ts';
import type { ClusterEvent, ClusterState } from './state.ts';

/** Before the first entry. `membership` is the initial one: the same on every peer, or nobody's for a peer that is joining. */
export function emptyState(membership: Membership): ClusterState {
  return {
    appliedIndex: 0 as LogIndex,
    membership,
    membershipIndex: 0 as LogIndex,
    founders: membership.voters.toSorted(),
    peers: new Map(),
    featureLevel: FIRST_FEATURE_LEVEL,
    groups: new Map(),
    nodes: new Map(),
    removed: new Map(),
    watched: new Map(),
    events: NO_EVENTS,
  };
}

export interface ApplyResult {
  readonly state: ClusterState;
  /** Why the command was refused; undefined where it took effect, or came before. */
  readonly refused: string | undefined;
  /** What was added to the events; undefined for a proposal that came before, and for one of an expired session. */
  readonly event: ClusterEvent | undefined;
}

/** Applies the command committed at `index`. A proposal that came before is passed over. */
export function apply(state: ClusterState, index: LogIndex, envelope: Envelope): ApplyResult {
  assert(
    state.membership.incarnation > 0,
    () => `entry ${index} is a command, but no entry before it says who takes part`,
  );
  const admission = admit(state, envelope);
  if (admission.kind !== 'first') {
    const refused = admission.kind === 'refused' ? admission.reason : undefined;
    return { state: { ...admission.state, appliedIndex: index }, refused, event: undefined };
  }
  const applied = applyCommand(admission.state, index, envelope);
  const refused = isRefused(applied) ? applied.refused : undefined;
  const next = isRefused(applied) ? admission.state : applied;
  const { proposedAtMs } = envelope;
  const event = { index, proposedAtMs, command: forEvent(envelope.command), refused };
  return { state: { ...next, appliedIndex: index, events: addEvent(next.events, event) }, refused, event };
}

/** What the command would lead to, were it committed next at that wall time (ms since 1970): the state, or why it would be refused. Changes nothing. */
export function foresee(state: ClusterState, command: Command, atMs: number): Applied {
  const index = (state.appliedIndex + 1) as LogIndex;
  const envelope = { session: '', sequence: 0, answeredBelow: 0, proposedAtMs: atMs, command };
  return applyCommand(state, index, envelope);
}

/** Moves on over an entry that carries no command (a leader's no-op). */
export function applyNothing(state: ClusterState, index: LogIndex): ClusterState {
  return { ...state, appliedIndex: index };
}

function applyCommand(state: ClusterState, index: LogIndex, { command, proposedAtMs }: Envelope): Applied {
  switch (command.kind) {
    case 'register-node':
      return applyRegisterNode(state, command);
    case 'create-group':
      return applyCreateGroup(state, index, command);
    case 'group-ready':
      return applyGroupReady(state, command);
    case 'subjective-down':
      return applySubjectiveDown(state, index, command);
    case 'subjective-up':
      return applySubjectiveUp(state, command);
    case 'begin-failover':
      return applyBeginFailover(state, index, command, proposedAtMs);
    case 'cut-report':
      return applyCutReport(state, command);
    case 'promote':
      return applyPromote(state, command);
    case 'promoted':
      return applyPromoted(state, command);
    case 'promotion-failed':
      return applyPromotionFailed(state, command);
    case 'fetch-wal':
      return applyFetchWal(state, command);
    case 'fetch-failed':
      return applyFetchFailed(state, command);
    case 'use-upstream':
      return applyUseUpstream(state, command);
    case 'resume':
      return applyResume(state, command);
    case 'begin-rule-change':
      return applyBeginRuleChange(state, index, command);
    case 'commit-rule':
      return applyCommitRule(state, command);
    case 'floor-passed':
      return applyFloorPassed(state, command);
    case 'change-settings':
      return applyChangeSettings(state, index, command, proposedAtMs);
    case 'configure':
      return applyConfigure(state, index, command, proposedAtMs);
    case 'fence-node':
      return applyFenceNode(state, command);
    case 'unfence-node':
      return applyUnfenceNode(state, command);
    case 'acknowledge-failovers':
      return applyAcknowledgeFailovers(state, command);
    case 'node-off':
      return applyNodeOff(state, command);
    case 'fence-failed':
      return applyFenceFailed(state, command);
    case 'schedule-switchover':
      return applyScheduleSwitchover(state, command);
    case 'pause':
      return applyPause(state, command);
    case 'end-pause':
      return applyEndPause(state, command);
    case 'remove-node':
      return applyRemoveNode(state, command);
    case 'readmit-node':
      return applyReadmitNode(state, command);
    case 'adopt-group':
      return applyAdoptGroup(state, index, command);
    case 'node-adopted':
      return applyNodeAdopted(state, command);
    case 'replace-database':
      return applyReplaceDatabase(state, index, command);
    case 'restore-group':
      return applyRestoreGroup(state, index, command);
    case 'schedule-restart':
      return applyScheduleRestart(state, command);
    case 'lead-site':
      return applyLeadSite(state, index, command);
    case 'promote-site':
      return applyPromoteSite(state, index, command);
    case 'tell-site':
      return applyTellSite(state, command);
    case 'open-session':
      return applyOpenSession(state, index, command);
    case 'mark-absent':
      return applyMarkAbsent(state, command, proposedAtMs);
    case 'give-up-slot':
      return applyGiveUpSlot(state, command, proposedAtMs);
    case 'mark-present':
      return applyMarkPresent(state, command);
    case 'logical-slot':
      return applyLogicalSlot(state, command);
    case 'set-feature-level':
      return applySetFeatureLevel(state, command);
    case 'describe-peer':
      return applyDescribePeer(state, command);
    case 'declare-host':
      return applyDeclareHost(state, command);
    case 'judge-server':
      return applyJudgeServer(state, command);
    case 'conclude-server':
      return applyConcludeServer(state, command);
    default:
      return unreachable(command);
  }
}
