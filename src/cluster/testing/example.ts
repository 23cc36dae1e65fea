// A small cluster to test with: peers p1 to p3, nodes a, b and c of one group, and the log that brought them to each phase.
// Never used outside tests.
import {
  type Epoch,
  type LogIndex,
  type MemberId,
  type NodeId,
  type PeerId,
  groupId,
  logIndex,
  memberId,
  nodeId,
  peerId,
  timeline,
} from '../../base/ids.ts';
import { lsn } from '../../base/lsn.ts';
import type { Membership } from '../../raft/types.ts';
import { applyMembership } from '../apply-membership.ts';
import { type ApplyResult, apply, emptyState } from '../apply.ts';
import type { Command, CutReport, Envelope, FailoverCause, SyncRule } from '../commands.ts';
import type { ClusterState, GroupState } from '../state.ts';

export const GROUP = groupId('main');
export const [P1, P2, P3] = [peerId('p1'), peerId('p2'), peerId('p3')] as const;
export const [A, B, C] = [nodeId('a'), nodeId('b'), nodeId('c')] as const;
export const memberOfNode = (node: NodeId): MemberId => memberId(`${node}_00000001`);
export const [MA, MB, MC] = [memberOfNode(A), memberOfNode(B), memberOfNode(C)] as const;
export const ALONE: SyncRule = { members: [], acks: 0 };
export const RULE_BC: SyncRule = { members: [MB, MC], acks: 1 };

/** Sorted, reached at `NAME:7400`. */
export function membershipOf(voters: readonly PeerId[], more: Partial<Membership> = {}): Membership {
  const learners = more.learners ?? [];
  const addresses = [...voters, ...learners].sort().map((peer) => [peer, `${peer}:7400`] as const);
  return { voters: [...voters].sort(), learners, addresses: new Map(addresses), incarnation: 1, ...more };
}

export const MEMBERSHIP = membershipOf([P1, P2, P3]);

const PEER_OF = new Map([
  [A, P1],
  [B, P2],
  [C, P3],
]);

export interface Log {
  state: ClusterState;
  /** Commits the command, of no session where none is given; returns why it was refused, or undefined. */
  commit(command: Command, from?: Partial<Envelope>): string | undefined;
  /** Commits commands of which none may be refused. */
  must(...commands: readonly Command[]): void;
  /** Commits a membership; the one that is in force, with changes. */
  change(change: Partial<Membership>): void;
  readonly group: GroupState;
  readonly epoch: Epoch;
}

export function newLog(state: ClusterState = emptyState(MEMBERSHIP)): Log {
  const log: Log = {
    state,
    commit(command, from) {
      const envelope = { session: '', sequence: 0, answeredBelow: 0, proposedAtMs: 0, command, ...from };
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
    change(change) {
      const index = logIndex(log.state.appliedIndex + 1);
      log.state = applyMembership(log.state, index, { ...log.state.membership, ...change });
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

/** The first run of the peer's process, with its first store, up to date with `log`. */
export const opening = (
  log: Log,
  peer: PeerId = P1,
  more: Partial<Extract<Command, { kind: 'open-session' }>> = {},
): Extract<Command, { kind: 'open-session' }> => ({
  kind: 'open-session',
  peer,
  session: `${peer}-run1`,
  store: `${peer}-store`,
  features: 1,
  seenIndex: log.state.appliedIndex,
  ...more,
});

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

/** The log was recovered by p1 alone while a ran with the rule "1 of b, c". */
export function recovered(log: Log = running()): Log {
  log.change({ voters: [P1], addresses: new Map([[P1, 'p1:7400']]), incarnation: 2 });
  return log;
}
