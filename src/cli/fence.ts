// `sentinelctl fence` and `unfence`: keep a node's PostgreSQL stopped, and let it start again. `sentinelctl ack`: after too many failovers.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import { confirm } from './peer-change.ts';
import { type GroupOption, meantGroup, withGroup } from './which-group.ts';
import {
  inEarnest,
  parseNode,
  steerGroup,
  withDryRun,
  withOutputOption,
  type SteerCommandOptions,
} from './steer.ts';

interface FenceOptions extends SteerCommandOptions {
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

const plannable = (command: Command): Command => withOutputOption(withDryRun(command));

const FENCE_HELP = `
Its PostgreSQL is stopped and stays so, also after a restart of its host; it is
neither counted for commits nor promoted. A primary is switched over first.`;

export function addFenceCommands(program: Command, context: Context): void {
  plannable(
    program
      .command('fence')
      .description("stop a node's PostgreSQL and keep it stopped")
      .argument('<node>', 'the node')
      .option('-y, --yes', 'do not ask')
      .addHelpText('after', FENCE_HELP)
      .action(async (name: string, _options: unknown, self: Command) => {
        const options = self.optsWithGlobals<FenceOptions>();
        const node = parseNode(name);
        const question = `Stop the PostgreSQL of ${node} until it is unfenced (a primary is switched over first)? [y/N] `;
        if (options.dryRun !== true)
          await confirm(context, options, question, (answer) => /^y(es)?$/i.test(answer));
        await steerGroup(context, options, inEarnest({ kind: 'fence', node }, options));
      }),
  );
  plannable(
    program
      .command('unfence')
      .description('let a fenced node start again')
      .argument('<node>', 'the node')
      .action((name: string, _options: unknown, self: Command) => {
        const options = self.optsWithGlobals<FenceOptions>();
        const request = { kind: 'unfence', node: parseNode(name) } as const;
        return steerGroup(context, options, inEarnest(request, options));
      }),
  );
  plannable(
    withGroup(
      program.command('ack').description('let a group that had too many failovers fail over by itself again'),
    ).action((argument: string | undefined, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<FenceOptions & GroupOption>();
      const request = { kind: 'acknowledge', group: meantGroup(argument, options) } as const;
      return steerGroup(context, options, inEarnest(request, options));
    }),
  );
}
