// Turns this peer's judgements of nodes into log entries: edges only. A judgement belongs to the group's epoch; when the
// epoch moves on, a node that is still down is proposed again for the new one.
import type { NodeId, PeerId } from '../base/ids.ts';
import type { Command, Evidence } from '../cluster/commands.ts';
import { type ClusterState, type GroupState, hasFollowed, pauseOf } from '../cluster/state.ts';
import type { Judgement } from '../health/events.ts';
import type { Target } from '../health/watch.ts';
import type { ProposalOutcome } from './replica.ts';

const PROPOSAL_TIMEOUT_MS = 2000;
const RETRY_MS = 200;

export type Verdict =
  | { readonly kind: 'up' }
  | { readonly kind: 'down'; readonly evidence: Evidence }
  | { readonly kind: 'open' };

export interface Observer {
  /** The present judgement of a node; `open` proposes nothing. */
  judged(node: NodeId, verdict: Verdict): void;
  /** Compares the standing judgements with the log and proposes the difference. Called after every change of either. */
  reconcile(): void;
}

export function createObserver(options: {
  readonly self: PeerId;
  readonly state: () => ClusterState;
  readonly propose: (command: Command, timeoutMs: number) => Promise<ProposalOutcome>;
}): Observer {
  const verdicts = new Map<NodeId, Verdict>();
  const underWay = new Set<NodeId>();

  /** Of one node: a judgement must not cost a look at all the others. */
  const proposeMissing = (node: NodeId, verdict: Verdict): void => {
    if (underWay.has(node)) return;
    const command = missingCommand(options.state(), options.self, node, verdict);
    if (command === undefined) return;
    underWay.add(node);
    const again = (delayMs: number): void => {
      underWay.delete(node);
      setTimeout(() => proposeMissing(node, verdicts.get(node) ?? verdict), delayMs);
    };
    options.propose(command, PROPOSAL_TIMEOUT_MS).then(
      (outcome) => again(outcome.kind === 'applied' ? 0 : RETRY_MS),
      () => again(RETRY_MS),
    );
  };

  return {
    judged(node, verdict) {
      verdicts.set(node, verdict);
      proposeMissing(node, verdict);
    },
    reconcile() {
      for (const [node, verdict] of verdicts) proposeMissing(node, verdict);
    },
  };
}

/** What this peer has to propose so that the log says what it judges; undefined where it does. */
export function missingCommand(
  state: ClusterState,
  self: PeerId,
  id: NodeId,
  verdict: Verdict,
): Command | undefined {
  const node = state.nodes.get(id);
  const group = node === undefined ? undefined : state.groups.get(node.group);
  if (node === undefined || group === undefined || !state.membership.voters.includes(self)) return undefined;
  const standing = node.subjectiveDown.find((entry) => entry.peer === self);
  const { epoch } = group;
  switch (verdict.kind) {
    case 'open':
      return undefined;
    case 'up':
      return standing === undefined ? undefined : { kind: 'subjective-up', peer: self, node: id, epoch };
    case 'down':
      // An administrator may stop it; nothing would come of it.
      if (group.phase.primary !== id && pauseOf(group, id) !== undefined) return undefined;
      if (standing !== undefined && (standing.epoch === epoch || !isCounted(group, id))) return undefined;
      return { kind: 'subjective-down', peer: self, node: id, epoch, evidence: verdict.evidence };
  }
}

/** Whether entries of the present epoch against the node could still begin a failover; others need not be written anew. */
function isCounted(group: GroupState, id: NodeId): boolean {
  const isPrimary = group.phase.primary === id;
  return isPrimary && !(group.phase.kind === 'fencing' && group.phase.cause.kind !== 'planned');
}

/** What the health checks' judgement amounts to in the log: an abstaining or undecided observer says nothing. */
export function verdictOf(judgement: Judgement): Verdict {
  if (judgement.verdict === 'up') return { kind: 'up' };
  if (judgement.verdict === 'down' && judgement.evidence !== undefined)
    return { kind: 'down', evidence: judgement.evidence };
  return { kind: 'open' };
}

/** What the health checks should watch: every node, each with what its group's epoch expects of it. */
export function healthTargets(state: ClusterState): Target[] {
  const targets: Target[] = [];
  for (const node of state.nodes.values()) {
    const group = state.groups.get(node.group);
    if (group === undefined || node.member === undefined) continue;
    targets.push({
      node: node.node,
      host: node.host,
      port: node.port,
      epoch: group.epoch,
      expect:
        group.phase.primary === node.node && group.phase.kind !== 'following' && !hasFollowed(group)
          ? 'primary'
          : 'standby',
      hostPeer: node.peer,
    });
  }
  return targets;
}
