// `sentinelctl uri`: a connection string that libpq and drivers with its multi-host rules follow through a failover.
import type { Command } from 'commander';
import type { GroupView, StatusView } from '../transport/types.ts';
import { withAdmin, type CommonOptions, type Context } from './context.ts';
import { CliError, EXIT } from './exit-codes.ts';

interface UriOptions extends CommonOptions {
  readonly group?: string;
  readonly database: string;
  readonly user?: string;
  readonly readOnly?: boolean;
}

const HELP = `
The URI names every node of the group; the client finds out which one takes
writes. It holds no password.

Examples:
  psql "$(sentinelctl uri --database shop --user app)"
  sentinelctl uri --read-only                 for standbys`;

export function addUriCommand(program: Command, context: Context): void {
  program
    .command('uri')
    .description('print the connection URI of a group')
    .option('--group <group>', 'the group; may be left out where there is only one')
    .option('-d, --database <name>', 'the database', 'postgres')
    .option('-U, --user <name>', 'the PostgreSQL user')
    .option('--read-only', 'for nodes that take no writes')
    .addHelpText('after', HELP)
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<UriOptions>();
      const status = await withAdmin(context, options, (admin) => admin.status());
      context.stdout.write(`${connectionUri(findGroup(status, options.group), options)}\n`);
    });
}

function findGroup(status: StatusView, name: string | undefined): GroupView {
  if (status.groups.length === 0)
    throw new CliError(EXIT.failed, `${status.cluster} has no group yet; see sentinelctl status`);
  const names = status.groups.map((group) => group.group).join(', ');
  const matching = status.groups.filter((group) => name === undefined || group.group === name);
  const [group, ...others] = matching;
  if (group === undefined)
    throw new CliError(
      EXIT.failed,
      `there is no group "${name ?? ''}" in ${status.cluster}; there are: ${names}`,
    );
  if (others.length > 0) throw new CliError(EXIT.usage, `name the group with --group; there are: ${names}`);
  return group;
}

/** Hosts in the order in which a client had best try them: the primary first for writes, last for reads. */
function connectionUri(
  group: GroupView,
  options: { readonly database: string; readonly user?: string; readonly readOnly?: boolean },
): string {
  if (group.nodes.length === 0) throw new CliError(EXIT.failed, `group ${group.group} has no nodes yet`);
  const rank = (node: string): number => ((node === group.primary) === (options.readOnly === true) ? 1 : 0);
  const nodes = group.nodes.toSorted((a, b) => rank(a.node) - rank(b.node) || (a.node < b.node ? -1 : 1));
  const user = options.user === undefined ? '' : `${encodeURIComponent(options.user)}@`;
  const hosts = nodes.map((node) => node.address).join(',');
  const attributes = options.readOnly === true ? 'read-only' : 'read-write';
  return `postgres://${user}${hosts}/${encodeURIComponent(options.database)}?target_session_attrs=${attributes}`;
}
