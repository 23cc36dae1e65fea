// `sentinelctl node unregister`, `drop`, `register` and `follow`: whether a node belongs to its group.
import type { Command } from 'commander';
import type { NodeAction } from '../transport/types.ts';
import type { Context } from './context.ts';
import { confirm } from './peer-change.ts';
import { askCluster, parseNode, steerGroup, withOutputOption, type SteerCommandOptions } from './steer.ts';

const UNREGISTER_HELP = `
The node leaves the sync rule, its group and the log. Its PostgreSQL is cut off
from the primary and left running, as a standby that follows nobody; its slots
on the other nodes are dropped. Its sentineld, which still has it in its
configuration, does not register it again: sentinelctl node register does.
Never of a primary. May be run again after it was broken off.`;

const DROP_HELP = `
As unregister, and its PostgreSQL is stopped and stays so. With --destroy its
data directory is removed as well, with its tablespaces, for good: the one that
it has at this moment, and no other one that is put in its place later. An agent
that does not answer does all this when it comes back.
Of a node that was removed already, it does what is missing.`;

const REGISTER_HELP = `
Of a node that was removed by unregister or drop: its agent registers it again
and it joins its group, by following or by a clone. A node that was never there
registers itself as soon as a sentineld runs that has it in its configuration.`;

const FOLLOW_HELP = `
Whom a standby follows is the log's to say: the primary of its group. This has
its agent try again at once, however often that failed, and waits until it
streams. Where it does not within 30 seconds, it says why and ends with 1; the
agent goes on trying.`;

/** It may have to leave the sync rule first, and its agent to stop it. */
const OUTCOME_TIMEOUT_MS = 120_000;

interface MembershipOptions extends SteerCommandOptions {
  readonly dryRun?: boolean;
  readonly destroy?: boolean;
  readonly acceptDataLoss?: boolean;
  readonly yes?: boolean;
}

export function addNodeMembershipCommands(parent: Command, context: Context): void {
  const requestOf = (
    action: NodeAction,
    name: string,
    { dryRun = false, destroy, acceptDataLoss }: MembershipOptions,
  ) => ({
    kind: 'node' as const,
    node: parseNode(name),
    action,
    inPlace: false,
    dryRun,
    ...(destroy === true ? { destroy } : {}),
    ...(acceptDataLoss === true ? { acceptsLoss: acceptDataLoss } : {}),
  });
  const add = (action: NodeAction, description: string, help: string): Command =>
    withOutputOption(parent.command(action).description(description).argument('<node>', 'the node'))
      .option('--dry-run', 'only say what would happen, or why it could not be done')
      .addHelpText('after', help);
  const ask = (action: NodeAction) => (name: string, _options: unknown, self: Command) => {
    const options = self.optsWithGlobals<MembershipOptions>();
    return steerGroup(context, options, requestOf(action, name, options), OUTCOME_TIMEOUT_MS);
  };
  /** What it would do is said before a person is asked. */
  const askBack = (action: NodeAction) => async (name: string, _options: unknown, self: Command) => {
    const options = self.optsWithGlobals<MembershipOptions>();
    const request = requestOf(action, name, options);
    if (options.dryRun !== true && options.yes !== true) {
      const { detail } = await askCluster(context, options, { ...request, dryRun: true });
      await confirm(context, options, `${detail.replace(PLANNED, '')}. Go on? [y/N] `, isYes);
    }
    await steerGroup(context, options, request, OUTCOME_TIMEOUT_MS);
  };
  add('unregister', 'take a node out of its group, and leave its PostgreSQL', UNREGISTER_HELP)
    .option(...ACCEPT_LOSS)
    .option('-y, --yes', 'do not ask')
    .action(askBack('unregister'));
  add('drop', 'take a node out of its group, and stop its PostgreSQL', DROP_HELP)
    .option('--destroy', 'remove its data directory as well')
    .option(...ACCEPT_LOSS)
    .option('-y, --yes', 'do not ask')
    .action(askBack('drop'));
  add('register', 'let a node that was removed join its group again', REGISTER_HELP).action(ask('register'));
  add('follow', 'have a standby follow the primary now', FOLLOW_HELP).action(ask('follow'));
}

const ACCEPT_LOSS = [
  '--accept-data-loss',
  'after peer recover: of a node that will never report, or was removed before; what it alone holds is lost',
] as const;
const PLANNED = /^it could be done, nothing was changed; then: /;
const isYes = (answer: string): boolean => /^y(es)?$/i.test(answer);
