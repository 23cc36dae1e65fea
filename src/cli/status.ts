// `sentinelctl status`: the cluster at a glance, once or (in watch.ts) again after every change.
import { Option, type Command } from 'commander';
import { withAdmin, type Context } from './context.ts';
import { FORMATS, renderDocument } from './document.ts';
import { healthOf, NAGIOS } from './health.ts';
import { scoped } from './status-scope.ts';
import { latestEvents, statusDocument, statusLines, type StatusOptions } from './status-picture.ts';
import { watchStatus } from './watch.ts';

const HELP = `
Examples:
  sentinelctl status
  sentinelctl status --watch                  redraws after every change; Ctrl-C ends it
  sentinelctl status --formation emea         where there are many groups
  sentinelctl status -o json | jq '.groups[].primary'
  sentinelctl status --exit-code              as a check: 0 healthy, 1 degraded or starting,
                                              2 failing over, down or no leader, 3 no peer reachable`;

export function addStatusCommand(program: Command, context: Context): void {
  program
    .command('status')
    .description('show groups, nodes and peers')
    .option('--group <group>', 'only this group, in full')
    .option('--formation <formation>', 'only the groups and watched servers of this formation')
    .option('-w, --watch', 'show it again after every change')
    .addOption(new Option('-o, --output <format>', 'how to print it').choices(FORMATS).default('table'))
    .option('--exit-code', 'let the exit code tell the health, as Nagios expects it')
    .addHelpText('after', HELP)
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<StatusOptions>();
      await (options.watch === true ? watchStatus(context, options) : printStatus(context, options));
    });
}

async function printStatus(context: Context, options: StatusOptions): Promise<void> {
  const [status, events] = await withAdmin(context, options, async (admin) => [
    scoped(await admin.status(), options),
    options.output === 'table' ? await latestEvents(admin) : [],
  ]);
  context.stdout.write(
    options.output === 'table'
      ? `${statusLines(context, options, status, events).join('\n')}\n`
      : renderDocument(options.output, statusDocument(status), { stream: false }),
  );
  if (options.exitCode === true) context.setExitCode(NAGIOS[healthOf(status).word]);
}
