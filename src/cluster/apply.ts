// apply(state, entry) -> state: the only thing that changes the replicated state, the same on every peer. It checks every
// command again, so that even a leader with a bug cannot fail over without a quorum. A command that does not fit is refused
// and recorded as such; refusing changes nothing else.
import { unreachable } from '../base/assert.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
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
import { applyBeginRuleChange, applyCommitRule, applyFloorPassed } from './apply-rule.ts';
import type { Command, Envelope } from './commands.ts';
import { type ClusterState, EVENT_COUNT_MAX, RECENT_PROPOSAL_COUNT_MAX } from './state.ts';

export function emptyState(voters: readonly PeerId[]): ClusterState {
  return {
    appliedIndex: 0 as LogIndex,
    voters,
    groups: new Map(),
    nodes: new Map(),
    events: [],
    recentProposals: [],
  };
}

export interface ApplyResult {
  readonly state: ClusterState;
  /** Why the command was refused; undefined where it took effect. */
  readonly refused: string | undefined;
}

/** Applies the command committed at `index`. A proposal that was already applied lately is passed over. */
export function apply(state: ClusterState, index: LogIndex, envelope: Envelope): ApplyResult {
  if (state.recentProposals.includes(envelope.proposalId)) {
    return { state: { ...state, appliedIndex: index }, refused: undefined };
  }
  const applied = applyCommand(state, index, envelope.command);
  const refused = isRefused(applied) ? applied.refused : undefined;
  const next = isRefused(applied) ? state : applied;
  const event = { index, proposedAtMs: envelope.proposedAtMs, command: envelope.command, refused };
  return {
    state: {
      ...next,
      appliedIndex: index,
      events: [...next.events.slice(-EVENT_COUNT_MAX + 1), event],
      recentProposals: [...next.recentProposals.slice(-RECENT_PROPOSAL_COUNT_MAX + 1), envelope.proposalId],
    },
    refused,
  };
}

/** Moves on over an entry that carries no command (a leader's no-op). */
export function applyNothing(state: ClusterState, index: LogIndex): ClusterState {
  return { ...state, appliedIndex: index };
}

/** The voters in force from `index` on: a quorum is a majority of them. */
export function applyVoters(state: ClusterState, index: LogIndex, voters: readonly PeerId[]): ClusterState {
  return { ...state, appliedIndex: index, voters };
}

function applyCommand(state: ClusterState, index: LogIndex, command: Command): Applied {
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
      return applyBeginFailover(state, index, command);
    case 'cut-report':
      return applyCutReport(state, command);
    case 'promote':
      return applyPromote(state, command);
    case 'promoted':
      return applyPromoted(state, command);
    case 'promotion-failed':
      return applyPromotionFailed(state, command);
    case 'resume':
      return applyResume(state, command);
    case 'begin-rule-change':
      return applyBeginRuleChange(state, index, command);
    case 'commit-rule':
      return applyCommitRule(state, command);
    case 'floor-passed':
      return applyFloorPassed(state, command);
    default:
      return unreachable(command);
  }
}
