// `sentinelctl pause`, `resume` and `maintenance`: keep a group from failing over by itself, and leave a node's PostgreSQL to a person.
import { type Command, InvalidArgumentError } from 'commander';
import { parseDurationMs } from '../base/duration.ts';
import { type Context, withAdmin } from './context.ts';
import { confirm } from './peer-change.ts';
import { type GroupOption, meantGroup, withGroup } from './which-group.ts';
import { parseNode, steerGroup, withOutputOption, type SteerCommandOptions } from './steer.ts';

const PAUSE_HELP = `
A paused group does not fail over by itself, and a scheduled switchover waits.
What protects data goes on, and so do sentinelctl failover, fence and
maintenance. A primary that crashes is started again; one that you shut down
cleanly is not, until the group is resumed. --node: of the primary, the same; of
a standby, its PostgreSQL is left to you, as with sentinelctl maintenance.

Examples:
  sentinelctl pause --for 30m         ends by itself
  sentinelctl pause main --node pg2`;

const MAINTENANCE_HELP = `
The node leaves the sync rule first; when this says done, its PostgreSQL may be
stopped, restarted or upgraded. Its agent does not start it again meanwhile; it
is not promoted, and its replication slots are kept. A primary is switched over
first. 'off' (or the end of --for) has it rejoin by itself.

Examples:
  sentinelctl maintenance on pg2 --for 2h
  sentinelctl maintenance on pg1 --to pg2   pg1 being the primary
  sentinelctl maintenance off pg1`;

const DRY_RUN = 'only say what would happen, or why it could not be done';

interface PauseOptions extends SteerCommandOptions, GroupOption {
  readonly node?: string;
  readonly for?: number;
  readonly to?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

export function addPauseCommands(program: Command, context: Context): void {
  withOutputOption(
    withGroup(program.command('pause').description('keep a group from failing over by itself'))
      .option('--node <node>', 'only this node')
      .option('--for <duration>', 'end by itself after that, such as 30m or 2h', parseLasting)
      .option('--dry-run', DRY_RUN)
      .addHelpText('after', PAUSE_HELP)
      .action((argument: string | undefined, _options: unknown, self: Command) => {
        const options = self.optsWithGlobals<PauseOptions>();
        const group = meantGroup(argument, options);
        const node = options.node === undefined ? undefined : parseNode(options.node);
        const dryRun = options.dryRun === true;
        return steerGroup(context, options, { kind: 'pause', group, node, forMs: options.for, dryRun });
      }),
  );
  withOutputOption(
    withGroup(program.command('resume').description('end a pause: the group fails over by itself again'))
      .option('--node <node>', 'the pause or maintenance of this node')
      .option('--dry-run', DRY_RUN)
      .action((argument: string | undefined, _options: unknown, self: Command) => {
        const options = self.optsWithGlobals<PauseOptions>();
        const group = meantGroup(argument, options);
        const node = options.node === undefined ? undefined : parseNode(options.node);
        return steerGroup(context, options, { kind: 'resume', group, node, dryRun: options.dryRun === true });
      }),
  );
  addMaintenanceCommand(program, context);
}

function addMaintenanceCommand(program: Command, context: Context): void {
  const maintenance = program
    .command('maintenance')
    .description("leave a node's PostgreSQL to you, and take it back")
    .addHelpText('after', MAINTENANCE_HELP);
  withOutputOption(
    maintenance
      .command('on')
      .description('take the node out of the sync rule and leave its PostgreSQL alone')
      .argument('<node>', 'the node')
      .option('--for <duration>', 'end by itself after that, such as 30m or 2h', parseLasting)
      .option('--to <node>', 'of a primary: the standby to switch over to')
      .option('-y, --yes', 'do not ask')
      .option('--dry-run', DRY_RUN)
      .action(async (name: string, _options: unknown, self: Command) => {
        const options = self.optsWithGlobals<PauseOptions>();
        const node = parseNode(name);
        const to = options.to === undefined ? undefined : parseNode(options.to);
        const dryRun = options.dryRun === true;
        if (!dryRun && options.yes !== true && (await isPrimary(context, options, node))) {
          const question = `${node} is the primary: switch over to ${to ?? 'a standby'} first? [y/N] `;
          await confirm(context, options, question, (answer) => /^y(es)?$/i.test(answer));
        }
        await steerGroup(context, options, { kind: 'maintenance', node, to, forMs: options.for, dryRun });
      }),
  );
  withOutputOption(
    maintenance
      .command('off')
      .description('the node rejoins by itself')
      .argument('<node>', 'the node')
      .option('--dry-run', DRY_RUN)
      .action((name: string, _options: unknown, self: Command) => {
        const options = self.optsWithGlobals<PauseOptions>();
        const dryRun = options.dryRun === true;
        const node = parseNode(name);
        return steerGroup(context, options, { kind: 'resume', group: undefined, node, dryRun });
      }),
  );
}

async function isPrimary(context: Context, options: PauseOptions, node: string): Promise<boolean> {
  const { groups } = await withAdmin(context, options, (admin) => admin.status());
  return groups.some((group) => group.primary === node);
}

const LASTING_MS_MAX = 365 * 86_400_000;

function parseLasting(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === undefined || ms <= 0 || ms > LASTING_MS_MAX)
    throw new InvalidArgumentError('Expected a duration of at most a year, such as 30m or 2h.');
  return Math.round(ms);
}
