// `sentinelctl adopt`: a group is made of a primary and its standbys that run already.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import { confirm } from './peer-change.ts';
import { steerGroup, withOutputOption, type SteerCommandOptions } from './steer.ts';
import { type GroupOption, meantGroup, withGroup } from './which-group.ts';

const HELP = `
sentineld has to run on every host, with node.data_directory naming the data
directory of the server that runs there. The primary goes on as it is, and writes
with it; each standby is restarted in turn. The group is not protected, and does
not fail over by itself, before the primary was switched over or restarted:
nothing does that by itself.

Examples:
  sentinelctl adopt --dry-run
  sentinelctl adopt main --yes
  sentinelctl failover main`;

export function addAdoptCommand(program: Command, context: Context): void {
  withOutputOption(
    withGroup(
      program.command('adopt').description('make a group of a primary and its standbys that run already'),
      'the group; may be left out where only one could be adopted',
    )
      .option('-y, --yes', 'do not ask')
      .option('--dry-run', 'only say what was found, what would happen, or why it could not be done'),
  )
    .addHelpText('after', HELP)
    .action(async (argument: string | undefined, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<
        SteerCommandOptions & GroupOption & { readonly yes?: boolean; readonly dryRun?: boolean }
      >();
      const group = meantGroup(argument, options);
      const dryRun = options.dryRun === true;
      const question = 'Take over the servers that run, restarting each standby in turn? [y/N] ';
      if (!dryRun) await confirm(context, options, question, (answer) => /^y(es)?$/i.test(answer));
      await steerGroup(context, options, { kind: 'adopt', group, dryRun });
    });
}
