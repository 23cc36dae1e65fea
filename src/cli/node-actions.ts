// `sentinelctl node restart`, `reload`, `reinit`, `rejoin` and `promote`: what its agent does to one node's PostgreSQL when a person asks.
import { type Command, InvalidArgumentError } from 'commander';
import { DURATION_RULE, parseDurationMs } from '../base/duration.ts';
import type { NodeAction } from '../transport/types.ts';
import { type Context, withAdmin } from './context.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { failOver, type FailoverOptions } from './failover.ts';
import { nodeView, waitForClone } from './node-wait.ts';
import { confirm } from './peer-change.ts';
import { TIME_RULE, parseTimeMs } from './time.ts';
import { parseNode, steerGroup, withOutputOption, type SteerCommandOptions } from './steer.ts';

const RESTART_HELP = `
A standby leaves the sync rule first, so that no write waits for it, and comes
back by itself. A primary is refused: switch over first, or give --in-place,
which pauses its group for as long as the restart takes (5 minutes at most) and
has writes wait meanwhile.

With --at or --in the restart is put into the log and takes place by itself, by
the same steps, whatever becomes of this program: one for each node. A node that
is the primary by then is skipped, unless --in-place was given with it. In a group
they follow one another: each waits until the standbys stream again.

Examples:
  sentinelctl node restart pg2
  sentinelctl node restart pg2 --at 03:00
  sentinelctl node restart pg1 --in 2h --in-place
  sentinelctl node restart pg2 --cancel`;

const REINIT_HELP = `
Only of a standby, and while its primary runs: it leaves the sync rule, is
stopped, and its data directory is replaced by a clone of the primary. The old
one is kept until the clone streams, so there has to be room for both.`;

const REJOIN_HELP = `
A clone or rewind that failed is tried again after pauses of up to a minute, and
one for want of room every five seconds: this has the agent try again now.`;

const REPLACE_HELP = `
After pg_upgrade: the group is paused, the PostgreSQL of its primary is stopped,
and node.data_directory of that host names the upgraded data directory. The group
begins anew with it, under its name and with its settings; the other nodes are
cloned from it. What only the database before holds is given up. The same leads
back to the old one, as long as its data directory is there.

Examples:
  sentinelctl node replace-database pg1 --dry-run
  sentinelctl node replace-database pg1 --yes`;

const DRY_RUN = 'only say what would happen, or why it could not be done';
/** It may have to leave the sync rule, make a checkpoint and stop first. */
const OUTCOME_TIMEOUT_MS = 240_000;

interface ActionOptions extends SteerCommandOptions {
  readonly dryRun?: boolean;
  readonly inPlace?: boolean;
  readonly at?: string;
  readonly in?: number;
  readonly cancel?: boolean;
  readonly yes?: boolean;
  readonly wait?: number;
}

export function addNodeActionCommands(parent: Command, context: Context): void {
  const ask = (action: NodeAction, name: string, options: ActionOptions): Promise<void> => {
    const dryRun = options.dryRun === true;
    const inPlace = options.inPlace === true;
    const request = { kind: 'node', node: parseNode(name), action, inPlace, dryRun } as const;
    return steerGroup(context, options, request, OUTCOME_TIMEOUT_MS);
  };
  const add = (action: NodeAction, description: string): Command =>
    withOutputOption(parent.command(action).description(description).argument('<node>', 'the node')).option(
      '--dry-run',
      DRY_RUN,
    );
  add('restart', "restart a node's PostgreSQL")
    .option('--in-place', 'also of a primary, without a switchover: writes wait meanwhile')
    .option('-y, --yes', 'do not ask')
    .option('--at <time>', `restart it by itself then: ${TIME_RULE}`)
    .option('--in <duration>', 'restart it by itself after that, such as 2h', parseWait)
    .option('--cancel', 'call off the restart that is scheduled')
    .addHelpText('after', RESTART_HELP)
    .action(async (name: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<ActionOptions>();
      const schedule = scheduleOf(options);
      const node = parseNode(name);
      const [inPlace, dryRun] = [options.inPlace === true, options.dryRun === true];
      if (inPlace && !dryRun && (await isPrimary(context, options, name))) {
        const when = schedule?.atMs === undefined ? '' : ` at ${new Date(schedule.atMs).toISOString()}`;
        const question = `${name} is the primary: restart it in place${when}, with writes waiting? [y/N] `;
        await confirm(context, options, question, isYes);
      }
      if (schedule !== undefined) {
        const request = { kind: 'schedule-restart', node, inPlace, dryRun, ...schedule } as const;
        return steerGroup(context, options, request);
      }
      return ask('restart', name, options);
    });
  add('reload', 'have a node read its settings again').action(
    (name: string, _options: unknown, self: Command) =>
      ask('reload', name, self.optsWithGlobals<ActionOptions>()),
  );
  add('reinit', "replace a standby's data directory by a new clone")
    .option('-y, --yes', 'do not ask')
    .option(
      '--wait <duration>',
      'wait until it streams, and say how far it is; the clone goes on after that',
      parseWait,
    )
    .addHelpText('after', REINIT_HELP)
    .action(async (name: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<ActionOptions>();
      const question = `Replace the data directory of ${parseNode(name)} by a clone of its primary? [y/N] `;
      if (options.dryRun !== true) await confirm(context, options, question, isYes);
      const { wait: timeoutMs } = options;
      if (timeoutMs === undefined || options.dryRun === true) return ask('reinit', name, options);
      const before = (await nodeView(context, options, name))?.member;
      await ask('reinit', name, options);
      await waitForClone(context, options, { name, before, timeoutMs });
    });
  add('rejoin', 'have a node that failed to join its group try again now')
    .addHelpText('after', REJOIN_HELP)
    .action((name: string, _options: unknown, self: Command) =>
      ask('rejoin', name, self.optsWithGlobals<ActionOptions>()),
    );
  add('replace-database', 'have a group go on with another database, which its primary holds')
    .option('-y, --yes', 'do not ask')
    .addHelpText('after', REPLACE_HELP)
    .action(async (name: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<ActionOptions>();
      const question = `Have the group go on with the database that ${parseNode(name)} holds, and give up what only the one before has? [y/N] `;
      if (options.dryRun !== true) await confirm(context, options, question, isYes);
      return ask('replace-database', name, options);
    });
  addPromoteCommand(parent, context);
}

function addPromoteCommand(parent: Command, context: Context): void {
  withOutputOption(
    parent
      .command('promote')
      .description('make a standby the primary: failover --to NODE')
      .argument('<node>', 'the standby')
      .option('-y, --yes', 'do not ask')
      .option('--dry-run', DRY_RUN)
      .option('--wait <duration>', 'how long to wait for the outcome', '40s'),
  ).action(async (name: string, _options: unknown, self: Command) => {
    const options = self.optsWithGlobals<FailoverOptions>();
    const to = parseNode(name);
    const { groups } = await withAdmin(context, options, (admin) => admin.status());
    const group = groups.find(({ nodes }) => nodes.some(({ node }) => node === to));
    if (group === undefined) throw new CliError(EXIT.failed, `there is no node ${to}`);
    await failOver(context, group.group, { ...options, to });
  });
}

/** Undefined: now. `atMs` undefined: never. */
function scheduleOf(options: ActionOptions): { readonly atMs: number | undefined } | undefined {
  const given = (['at', 'in', 'cancel'] as const).filter((key) => options[key] !== undefined);
  const usage = (text: string): CliError => new CliError(EXIT.usage, text);
  if (given.length > 1)
    throw usage(`--${given.join(' and --')} are given; expected one of --at, --in and --cancel`);
  if (options.cancel === true) {
    if (options.inPlace === true) throw usage('--in-place says nothing together with --cancel');
    return { atMs: undefined };
  }
  if (options.in !== undefined) return { atMs: Math.round(Date.now() + options.in) };
  if (options.at === undefined) return undefined;
  const atMs = parseTimeMs(options.at, Date.now());
  if (atMs === undefined) throw usage(`--at: "${options.at}" is given; expected ${TIME_RULE}`);
  return { atMs };
}

function parseWait(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === undefined) throw new InvalidArgumentError(`Expected ${DURATION_RULE}.`);
  return ms;
}

const isYes = (answer: string): boolean => /^y(es)?$/i.test(answer);

async function isPrimary(context: Context, options: ActionOptions, node: string): Promise<boolean> {
  const { groups } = await withAdmin(context, options, (admin) => admin.status());
  return groups.some((group) => group.primary === node);
}
