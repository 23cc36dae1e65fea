// `sentinelctl node`: what concerns one node's PostgreSQL.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import { addNodeActionCommands } from './node-actions.ts';
import { addNodeCheckCommand } from './node-check.ts';
import { addNodeLocalCommands } from './node-local.ts';
import { addNodeMembershipCommands } from './node-membership.ts';

const HELP = `
Whom a standby follows is the log's to say: there is nothing to set.

Examples:
  sentinelctl node check
  sentinelctl node restart pg2
  sentinelctl node reinit pg3 --dry-run
  sentinelctl node drop pg3 --destroy`;

export function addNodeCommand(program: Command, context: Context): void {
  const node = program
    .command('node')
    .description("look at and look after one node's PostgreSQL")
    .addHelpText('after', HELP);
  addNodeCheckCommand(node, context);
  addNodeActionCommands(node, context);
  addNodeMembershipCommands(node, context);
  addNodeLocalCommands(node, context);
}
