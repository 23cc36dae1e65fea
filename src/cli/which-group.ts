// Which group a command is about, where a cluster has several: its argument, or --group as with `uri` and `events`.
import type { Command } from 'commander';
import { CliError, EXIT } from './exit-codes.ts';

export interface GroupOption {
  readonly group?: string;
}

/** Adds the optional argument, and the option that says the same. */
export function withGroup(command: Command, description?: string): Command {
  return command
    .argument('[group]', description ?? 'the group; may be left out where there is only one')
    .option('--group <group>', 'the same as the argument');
}

/** {@link CliError} with exit code 2 where both are given and differ. */
export function meantGroup(argument: string | undefined, { group }: GroupOption): string | undefined {
  if (argument !== undefined && group !== undefined && argument !== group)
    throw new CliError(EXIT.usage, `${argument} and --group ${group} are given; name one group`);
  return argument ?? group;
}
