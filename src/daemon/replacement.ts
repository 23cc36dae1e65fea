// `sentinelctl node replace-database`: a group goes on with another database, which its primary's agent has found in its data directory. The agent
// looks, the log decides.
import { replacementObstacle } from '../cluster/apply-replacement.ts';
import { formatDuration } from '../base/duration.ts';
import { nodesOfGroup } from '../cluster/state.ts';
import type { SteerOutcome } from '../transport/types.ts';
import type { Target } from './node-commands.ts';
import { planned, wait } from './pauses.ts';
import { done, refused } from './steering.ts';

/** How long the pass under way may take. */
const BUSY_TIMEOUT_MS = 20_000;
/** A start makes a checkpoint of what was replayed, and the accounts are set up. */
const BEGIN_TIMEOUT_MS = 60_000;
const PROPOSAL_TIMEOUT_MS = 5000;
const NO_ANSWER = 'no answer from a Raft leader; it may still be done, see sentinelctl events';

export async function replaceDatabase({
  options,
  group,
  node,
  agent,
  dryRun,
}: Target): Promise<SteerOutcome> {
  const isNot = `the database of group ${group.id} is not replaced: `;
  const others = nodesOfGroup(options.state(), group.id).filter((other) => other.node !== node.node);
  const made = group.logicalSlots.filter(({ standing }) => standing === 'made').map(({ name }) => name);
  const lost =
    made.length === 0
      ? ''
      : `; the consumers of logical slot${made.length === 1 ? '' : 's'} ${made.join(', ')} have to begin anew`;
  const joining =
    others.length === 0
      ? lost
      : `; ${others.map((other) => other.node).join(', ')} hold the database before, and are cloned once that is moved away, or their node.data_directory names another place; until then all that is written is on ${node.node} alone${lost}`;
  // What can be known without its agent; `to` is anything but what it is.
  const early = replacementObstacle(options.state(), group, {
    primary: node.node,
    from: group.systemIdentifier ?? '',
    to: '',
  });
  if (early !== undefined) return refused(`${isNot}${early}`);
  const startedMs = performance.now();
  let found = '';
  let offered = '';
  const propose = async ({ from, to, text }: { from: string; to: string; text: string }): Promise<string> => {
    found = text;
    offered = to;
    if (dryRun) return text;
    const command = { kind: 'replace-database', group: group.id, epoch: group.epoch } as const;
    const outcome = await options.propose({ ...command, primary: node.node, from, to }, PROPOSAL_TIMEOUT_MS);
    // Whether it is done where nobody answered is seen below.
    if (outcome.kind === 'refused') throw new Error(outcome.reason);
    return text;
  };
  try {
    const request = { kind: 'replace-database', propose } as const;
    await agent.ask(request, { timeoutMs: BUSY_TIMEOUT_MS, signal: options.signal });
  } catch (error) {
    return refused(`${isNot}${(error as Error).message}`);
  }
  if (dryRun)
    return planned(
      `group ${group.id} begins anew with ${node.node} alone, and with its database: ${found}${joining}`,
    );
  const runs = (): boolean => {
    const present = options.state().groups.get(group.id);
    return present?.phase.kind === 'running' && present.epoch !== group.epoch;
  };
  const isRunning = await wait(options, BEGIN_TIMEOUT_MS, runs);
  if (options.state().groups.get(group.id)?.systemIdentifier !== offered) return refused(NO_ANSWER);
  return done(
    isRunning
      ? `group ${group.id} goes on with the database of ${node.node} (${found}), after ${formatDuration(Math.round(performance.now() - startedMs))}${joining}`
      : `group ${group.id} is to go on with the database of ${node.node} (${found}), and does not yet: see the message of ${node.node} in sentinelctl status${joining}`,
  );
}
