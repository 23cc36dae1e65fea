// A small cluster to test with: peers p1 to p3, nodes a, b and c of one group, and the log that brought them to each phase.
// Never used outside tests.
import {
  type Epoch,
  type LogIndex,
  type MemberId,
  type NodeId,
  groupId,
  logIndex,
  memberId,
  nodeId,
  peerId,
  timeline,
} from '../../base/ids.ts';
import { lsn } from '../../base/lsn.ts';
import { type ApplyResult, apply, emptyState } from '../apply.ts';
import type { Command, CutReport, FailoverCause, SyncRule } from '../commands.ts';
import type { ClusterState, GroupState } from '../state.ts';

export const GROUP = groupId('main');
export const [P1, P2, P3] = [peerId('p1'), peerId('p2'), peerId('p3')] as const;
export const [A, B, C] = [nodeId('a'), nodeId('b'), nodeId('c')] as const;
export const memberOfNode = (node: NodeId): MemberId => memberId(`${node}_00000001`);
export const [MA, MB, MC] = [memberOfNode(A), memberOfNode(B), memberOfNode(C)] as const;
export const ALONE: SyncRule = { members: [], acks: 0 };
export const RULE_BC: SyncRule = { members: [MB, MC], acks: 1 };

const PEER_OF = new Map([
  [A, P1],
  [B, P2],
  [C, P3],
]);

export interface Log {
  state: ClusterState;
  /** Commits the command; returns why it was refused, or undefined. */
  commit(command: Command, proposalId?: string): string | undefined;
  /** Commits commands of which none may be refused. */
  must(...commands: readonly Command[]): void;
  readonly group: GroupState;
  readonly epoch: Epoch;
}

export function newLog(state: ClusterState = emptyState([P1, P2, P3])): Log {
  let count = 0;
  const log: Log = {
    state,
    commit(command, proposalId) {
      count += 1;
      const envelope = {
        proposalId: proposalId ?? `example-${log.state.appliedIndex}-${count}`,
        proposedAtMs: 0,
        command,
      };
      const result: ApplyResult = apply(log.state, logIndex(log.state.appliedIndex + 1), envelope);
      log.state = result.state;
      return result.refused;
    },
    must(...commands) {
      for (const command of commands) {
        const refused = log.commit(command);
        if (refused !== undefined) throw new Error(`${command.kind}: ${refused}`);
      }
    },
    get group() {
      const group = log.state.groups.get(GROUP);
      if (group === undefined) throw new Error('there is no group yet');
      return group;
    },
    get epoch() {
      return log.group.epoch;
    },
  };
  return log;
}

export const registration = (
  node: NodeId,
  member?: MemberId,
): Extract<Command, { kind: 'register-node' }> => ({
  kind: 'register-node',
  node,
  group: GROUP,
  peer: PEER_OF.get(node) ?? P1,
  host: node,
  port: 5432,
  member,
  systemIdentifier: member === undefined ? undefined : '77',
  priority: 0,
});

/** Commands at the log's present epoch. */
export const at = (log: Log) => {
  const base = { group: GROUP, epoch: log.epoch };
  return {
    ready: (): Command => ({
      kind: 'group-ready',
      ...base,
      member: MA,
      systemIdentifier: '77',
      timeline: timeline(1),
    }),
    down: (peer = P1, node: NodeId = log.group.phase.primary): Command => ({
      kind: 'subjective-down',
      peer,
      node,
      epoch: log.epoch,
      evidence: 'refused',
    }),
    up: (peer = P1, node: NodeId = log.group.phase.primary): Command => ({
      kind: 'subjective-up',
      peer,
      node,
      epoch: log.epoch,
    }),
    begin: (cause: FailoverCause = { kind: 'down' }): Command => ({ kind: 'begin-failover', ...base, cause }),
    cut: (node: NodeId, position: number, more: Partial<CutReport> = {}): Command => ({
      kind: 'cut-report',
      ...base,
      ...report(node, position, more),
    }),
    promote: (candidate: NodeId, onto: number, rule: SyncRule): Command => ({
      kind: 'promote',
      ...base,
      candidate,
      timeline: timeline(onto),
      rule,
    }),
    promoted: (node: NodeId, onto: number, switchLsn: number): Command => ({
      kind: 'promoted',
      ...base,
      node,
      timeline: timeline(onto),
      switchLsn: lsn(BigInt(switchLsn)),
    }),
    failed: (node: NodeId): Command => ({ kind: 'promotion-failed', ...base, node, reason: 'no room' }),
    resume: (): Command => ({ kind: 'resume', ...base }),
    change: (next: SyncRule): Command => ({ kind: 'begin-rule-change', ...base, next }),
    commitRule: (change: LogIndex = log.group.next?.change ?? logIndex(0)): Command => ({
      kind: 'commit-rule',
      ...base,
      change,
    }),
    floorPassed: (): Command => ({ kind: 'floor-passed', ...base }),
  };
};

export const report = (node: NodeId, position: number, more: Partial<CutReport> = {}): CutReport => ({
  node,
  member: memberOfNode(node),
  timeline: timeline(1),
  position: lsn(BigInt(position)),
  stopped: false,
  ...more,
});

/** a is being made the first primary. */
export function creating(): Log {
  const log = newLog();
  log.must(registration(A), registration(B), registration(C), {
    kind: 'create-group',
    group: GROUP,
    primary: A,
  });
  return log;
}

/** a runs alone; b and c are standbys outside the rule. */
export function runningAlone(): Log {
  const log = creating();
  log.must(at(log).ready(), registration(B, MB), registration(C, MC));
  return log;
}

/** a runs with the rule "1 of b, c". */
export function running(rule: SyncRule = RULE_BC): Log {
  const log = runningAlone();
  if (rule.acks === 0) return log;
  log.must(at(log).change(rule));
  log.must(at(log).commitRule());
  return log;
}

/** A majority holds the primary for down, and the failover has begun. */
export function fencing(log: Log = running()): Log {
  log.must(at(log).down(P1), at(log).down(P2));
  log.must(at(log).begin());
  return log;
}

/** b, at 100, was chosen over c, at `cAt`, for timeline 2. */
export function promoting(cAt = 90): Log {
  const log = fencing();
  log.must(at(log).cut(B, 100), at(log).cut(C, cAt));
  log.must(at(log).promote(B, 2, { members: [MC], acks: 1 }));
  return log;
}

/** b is primary on timeline 2 since 100; the floor stands. */
export function promoted(): Log {
  const log = promoting();
  log.must(at(log).promoted(B, 2, 100));
  return log;
}
