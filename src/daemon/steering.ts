// What everything that a person asks of a group or a node has in common: it is proposed, and the outcome of that is the answer.
import type { NodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import type { SteerOutcome } from '../transport/types.ts';
import type { DescribeParameters } from './parameter-check.ts';
import type { FailoverOptions } from './failover-watch.ts';

const PROPOSAL_TIMEOUT_MS = 5000;

export type SteerOptions = Omit<FailoverOptions, 'request'> & {
  /** Left out where no server is there to be asked. */
  readonly describeParameters?: DescribeParameters;
};

/** `detail` where it was applied. */
export async function proposeAndSay(
  options: SteerOptions,
  command: Command,
  detail: string,
): Promise<SteerOutcome> {
  const outcome = await options.propose(command, PROPOSAL_TIMEOUT_MS);
  switch (outcome.kind) {
    case 'applied':
      return done(detail);
    case 'refused':
      return refused(outcome.reason);
    case 'unknown':
      return refused('no answer from a Raft leader; it may still be done, see sentinelctl events');
  }
}

/** A refusal for a node that is not known says which ones there are. */
export function withNodeNames(
  options: Pick<SteerOptions, 'state'>,
  node: NodeId,
  outcome: SteerOutcome,
): SteerOutcome {
  const { nodes } = options.state();
  if (outcome.kind !== 'refused' || nodes.has(node)) return outcome;
  return refused(`${outcome.reason}; there are: ${[...nodes.keys()].join(', ') || 'none'}`);
}

export const done = (detail: string): SteerOutcome => ({ kind: 'done', detail });
export const refused = (reason: string): SteerOutcome => ({ kind: 'refused', reason });
