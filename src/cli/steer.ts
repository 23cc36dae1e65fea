// What the commands that change something of a group or a node have in common: ask any peer, wait for the log, print the outcome.
import { Option, type Command } from 'commander';
import type { SteerRequest } from '../transport/types.ts';
import { messageOf, paintFor, withAdmin, type CommonOptions, type Context } from './context.ts';
import { FORMATS, renderDocument, type Format } from './document.ts';
import { CliError, EXIT } from './exit-codes.ts';

export interface SteerCommandOptions extends CommonOptions {
  readonly output: Format;
}

export function withOutputOption(command: Command): Command {
  return command.addOption(
    new Option('-o, --output <format>', 'how to print the outcome').choices(FORMATS).default('table'),
  );
}

/** Asks and prints; {@link CliError} where the cluster refuses, or falls silent. */
export async function steerGroup(
  context: Context,
  options: SteerCommandOptions,
  request: SteerRequest,
): Promise<void> {
  const outcome = await withAdmin(context, options, (admin) =>
    admin.steer(request, { signal: context.signal }).catch((error: unknown) => {
      throw new CliError(EXIT.failed, messageOf(error));
    }),
  );
  if (outcome.kind === 'refused') throw new CliError(EXIT.failed, `refused: ${outcome.reason}`);
  const paint = paintFor(context, options, context.stdout);
  context.stdout.write(
    options.output === 'table'
      ? `${paint('green', 'done')}: ${outcome.detail}\n`
      : renderDocument(options.output, outcome, { stream: false }),
  );
}
