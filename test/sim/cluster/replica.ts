// The replicated state on one peer, and the proposals of its process: the real proposer numbers them in a session, and they are
// sent again until they are settled, so that each counts once (src/daemon/replica.ts is what it stands for).
// Must never tell a proposer of an outcome that the log does not hold.
import { type Command, proposalIdOf } from '../../../src/cluster/commands.ts';
import { type Submission, createProposer, hasCome } from '../../../src/cluster/proposer.ts';
import type { ClusterState } from '../../../src/cluster/state.ts';
import type { Entry, Snapshot } from '../../../src/raft/types.ts';
import { onFirstApplied } from '../checks/group-checks.ts';
import { note } from '../describe.ts';
import { put } from '../raft/inbox.ts';
import type { Host, Outcome, Pending, Replica, World } from '../world.ts';
import { applyEntry, decodeState } from './bridge.ts';

const RESEND_US = 300_000;
const RETRY_US = 50_000;
const PENDING_COUNT_MAX = 64;

export function createReplica(world: World, host: Host, state: ClusterState): Replica {
  return {
    state,
    proposer: createProposer({
      self: host.id,
      storeId: host.storeId,
      features: host.features,
      newSession: () => `s${host.id}x${(world.counter += 1)}`,
    }),
    opening: undefined,
    openSentAtUs: -RESEND_US,
    pending: new Set(),
    byId: new Map(),
  };
}

/** Proposes a command; `settle` is called once, in a later event. False where too many wait already. */
export function propose(
  world: World,
  host: Host,
  command: Command,
  timeoutUs: number,
  settle: (outcome: Outcome) => void,
): boolean {
  const { replica } = host;
  if (replica === undefined || replica.pending.size >= PENDING_COUNT_MAX) return false;
  const pending: Pending = {
    command,
    submitted: undefined,
    deadlineUs: world.timeline.nowUs + timeoutUs,
    sentAtUs: 0,
    settle,
  };
  replica.pending.add(pending);
  number(world, host, replica, pending);
  return true;
}

/** Gives the proposal its place in the session and submits it, where the session is open. */
function number(world: World, host: Host, replica: Replica, pending: Pending): void {
  const submission = replica.proposer.propose(pending.command, 0);
  if (submission === undefined) return;
  pending.submitted = { ...submission, session: replica.proposer.session };
  replica.byId.set(submission.proposalId, pending);
  pending.sentAtUs = world.timeline.nowUs;
  submit(world, host, submission);
}

function submit(world: World, host: Host, { proposalId, data }: Submission): void {
  put(world, host, { kind: 'propose', nowMs: 0, proposalId, data });
}

function settle(replica: Replica, pending: Pending, outcome: Outcome): void {
  replica.pending.delete(pending);
  const { submitted } = pending;
  if (submitted !== undefined) {
    replica.byId.delete(submitted.proposalId);
    if (submitted.session === replica.proposer.session) replica.proposer.settle(submitted.sequence);
  }
  pending.settle(outcome);
}

/** Certainly not in the log by this try: it is tried again after a moment. */
export function proposalRefused(world: World, host: Host, proposalId: string): void {
  const { replica } = host;
  if (replica === undefined) return;
  const retriedUs = world.timeline.nowUs - RESEND_US + RETRY_US;
  const pending = replica.byId.get(proposalId);
  if (pending !== undefined) pending.sentAtUs = retriedUs;
  else if (replica.opening?.proposalId === proposalId) replica.openSentAtUs = retriedUs;
}

export function replicaCommit(world: World, host: Host, entries: readonly Entry[]): void {
  const { replica } = host;
  if (replica === undefined) return;
  const { incarnation } = replica.state.membership;
  for (const entry of entries) {
    const { state, envelope, result } = applyEntry(world, replica.state, entry, onFirstApplied);
    replica.state = state;
    if (envelope === undefined || result?.event === undefined) continue;
    const pending = replica.byId.get(proposalIdOf(envelope));
    if (pending !== undefined) settle(replica, pending, result.refused === undefined ? 'applied' : 'refused');
  }
  // After a recovery the snapshot from before must not be given to anybody.
  if (replica.state.membership.incarnation !== incarnation) host.snapshotDueAtIndex = 0;
  follow(world, host, replica);
}

/** The state is another's; what became of proposals in between is not known here. */
export function replicaRestore(world: World, host: Host, snapshot: Snapshot): void {
  const { replica } = host;
  if (replica === undefined) return;
  replica.state = decodeState(snapshot.data);
  for (const pending of [...replica.pending]) {
    const { submitted } = pending;
    if (submitted !== undefined && hasCome(replica.state, { peer: host.id, ...submitted }) === true)
      settle(replica, pending, 'unknown');
  }
  follow(world, host, replica);
}

/** What the new state means for the session and for whom waits. */
export function follow(world: World, host: Host, replica: Replica): void {
  const change = replica.proposer.follow(replica.state);
  if (change === 'expired') {
    note(world, host, () => 'its session is gone: it opens another');
    for (const pending of [...replica.byId.values()]) settle(replica, pending, 'unknown');
  }
  if (change === 'opened') for (const pending of replica.pending) number(world, host, replica, pending);
  if (!replica.proposer.isOpen) openSession(world, host, replica);
}

function openSession(world: World, host: Host, replica: Replica): void {
  const earlier = replica.opening;
  const { nowUs } = world.timeline;
  replica.opening = replica.proposer.opening(replica.state, 0);
  if (replica.opening === undefined) return;
  if (replica.opening === earlier && nowUs - replica.openSentAtUs < RESEND_US) return;
  replica.openSentAtUs = nowUs;
  submit(world, host, replica.opening);
}

/** Deadlines and repetitions; called on ticks. */
export function tickReplica(world: World, host: Host): void {
  const { replica } = host;
  if (replica === undefined) return;
  if (!replica.proposer.isOpen) openSession(world, host, replica);
  if (replica.pending.size === 0) return;
  const { nowUs } = world.timeline;
  for (const pending of replica.pending) {
    if (pending.deadlineUs <= nowUs) {
      settle(replica, pending, 'unknown');
    } else if (nowUs - pending.sentAtUs >= RESEND_US) {
      pending.sentAtUs = nowUs;
      if (pending.submitted === undefined) number(world, host, replica, pending);
      else submit(world, host, pending.submitted);
    }
  }
}
