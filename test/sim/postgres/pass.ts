// What one pass of an agent is given, and what every step may do: ask the log through its leader, propose, register.
// Must never count as confirmed what was not read through the leader after it was asked for.
import { type MemberId, makeMemberId } from '../../../src/base/ids.ts';
import type { Command } from '../../../src/cluster/commands.ts';
import type { ClusterState, GroupState, NodeState } from '../../../src/cluster/state.ts';
import { type Duty, duties } from '../../../src/failover/duties.ts';
import { startRead } from '../cluster/reads.ts';
import { propose } from '../cluster/replica.ts';
import type { Host, ReadHandle, World } from '../world.ts';
import { GROUP, type Postgres, SYSTEM_IDENTIFIER } from './postgres.ts';

export type DutyOf<K extends Duty['kind']> = Extract<Duty, { readonly kind: K }>;

/** What an agent forgets when it restarts. */
export interface Agent {
  isCaughtUp: boolean;
  catchUp: ReadHandle | undefined;
  confirmation:
    { readonly kind: Duty['kind']; readonly epoch: number; readonly read: ReadHandle } | undefined;
  stoppedAtUs: number;
  /** Since when it has seen its primary gone without its doing; negative: it has not. */
  goneSinceUs: number;
  hasSeenPrimary: boolean;
  registerAgainUs: number;
  /** A cut of this agent that holds since then: at which epoch, of which run of PostgreSQL. */
  cutAt: { readonly incarnation: number; readonly epoch: number; readonly startCount: number } | undefined;
  /** WAL is being fetched, by this run of the agent, or was: then what came of it is to be said. */
  fetching: { readonly startCount: number; readonly untilUs: number; isOver: boolean } | undefined;
  change: RuleChange | undefined;
  readonly proposing: Set<Command['kind']>;
  /** Valid is the latest pass that was scheduled. */
  passNumber: number;
  nextPassUs: number;
  reportedAtUs: number;
  seenGroup: GroupState | undefined;
  seenNode: NodeState | undefined;
}

/** A change of the sync rule under way, stage by stage (src/actions/rule-change.ts). */
export interface RuleChange {
  readonly index: number;
  readonly startCount: number;
  stage: 'wait' | 'set' | 'verify' | 'flush';
  seenAt: number;
  flushed: number;
}

/** What one step of a duty is given. */
export interface Pass {
  readonly world: World;
  readonly host: Host;
  readonly agent: Agent;
  readonly node: Postgres;
  readonly state: ClusterState;
}

const REGISTER_AGAIN_US = 150_000;
const PROPOSAL_TIMEOUT_US = 600_000;

export const localMember = (node: Postgres): Postgres['member'] => (node.isFit ? node.member : undefined);

/** Whether the log, read through the leader just now, says the same: undefined while the answer is not there yet. */
export function confirms(pass: Pass, kind: Duty['kind'], epoch: number): boolean | undefined {
  const { world, host, agent, node, state } = pass;
  const { confirmation } = agent;
  if (confirmation === undefined || confirmation.kind !== kind || confirmation.epoch !== epoch) {
    agent.confirmation = { kind, epoch, read: startRead(world, host, undefined) };
    return undefined;
  }
  if (confirmation.read.state === 'pending') return undefined;
  agent.confirmation = undefined;
  if (confirmation.read.state === 'refused') return false;
  const present = duties(state, node.name);
  return present.kind === kind && present.kind !== 'none' && present.epoch === epoch;
}

/** Proposes, unless the same kind of command is under way from here. */
export function proposeOnce({ world, host, agent }: Pass, command: Command): void {
  if (agent.proposing.has(command.kind)) return;
  const isTaken = propose(world, host, command, PROPOSAL_TIMEOUT_US, () =>
    agent.proposing.delete(command.kind),
  );
  if (isTaken) agent.proposing.add(command.kind);
}

/** A new data directory gets an id of its own. */
export function newMember({ world, node }: Pass): MemberId {
  world.counter += 1;
  return makeMemberId(node.name, world.counter.toString(16).padStart(8, '0'));
}

export function register(pass: Pass): void {
  const { node, host } = pass;
  const member = localMember(node);
  // A refusal stands until something changes: asking again and again would fill the log.
  if (pass.world.timeline.nowUs < pass.agent.registerAgainUs) return;
  pass.agent.registerAgainUs = pass.world.timeline.nowUs + REGISTER_AGAIN_US;
  proposeOnce(pass, {
    kind: 'register-node',
    node: node.name,
    group: GROUP,
    peer: node.peer,
    host: node.name,
    port: 5432,
    member,
    systemIdentifier: node.isFit ? SYSTEM_IDENTIFIER : undefined,
    // So that the one that stands furthest is not always the one that is wanted.
    priority: host.place % 3,
  });
}
