// `sentinelctl site`: a group that follows another site: which node streams from there, and the end of it.
import type { Command } from 'commander';
import type { NodeId } from '../base/ids.ts';
import { type Context, withAdmin } from './context.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { confirm } from './peer-change.ts';
import { askCluster, parseNode, steerGroup, withOutputOption, type SteerCommandOptions } from './steer.ts';
import { type GroupOption, meantGroup, withGroup } from './which-group.ts';

const HELP = `
A group whose hosts have node.follow in their configuration begins as a standby of
another site: one node, the site leader, streams from there, the others from it.
Nothing in it takes writes before "site promote".

Examples:
  sentinelctl site promote --dry-run
  sentinelctl site promote main
  sentinelctl site lead pg2`;

const PROMOTE_HELP = `
The best node becomes a primary, and the group an ordinary one, for ever. Nothing
here can stop the other site: make sure that nobody writes there any more. Where
it still runs, stop its primary cleanly first: then nothing is lost.

A node that somebody has opened by hand, or that stands on a timeline which the
other site is not known to have, is left out. Where it is the only one, or holds
what you want, --to NODE --accept-data-loss has it promoted, and no other.

Examples:
  sentinelctl site promote --dry-run
  sentinelctl site promote main --yes
  sentinelctl site promote main --to pg2 --accept-data-loss`;

const LEAD_HELP = `
No client notices: nothing in the group takes writes. After a recovery of the log
this also says that the group is to go on following: with --accept-data-loss, for
it may have been promoted, and have taken writes, in the part that is lost.

Example:
  sentinelctl site lead pg2`;

/** Streams are cut, a node is chosen and promoted. */
const PROMOTE_TIMEOUT_MS = 120_000;

type SiteOptions = SteerCommandOptions & GroupOption & { readonly yes?: boolean; readonly dryRun?: boolean };

interface PromoteOptions {
  readonly to?: string;
  readonly acceptDataLoss?: boolean;
}

export function addSiteCommand(program: Command, context: Context): void {
  const site = program
    .command('site')
    .description('a group that follows another site: promote it, choose who streams')
    .addHelpText('after', HELP);
  withOutputOption(
    withGroup(
      site.command('promote').description('end following the other site: the best node becomes a primary'),
    )
      .option('--to <node>', 'that node and no other; only with --accept-data-loss')
      .option('--accept-data-loss', 'with --to: what any other node holds beyond is lost')
      .option('-y, --yes', 'do not ask')
      .option('--dry-run', 'only say what would happen, or why it could not be done'),
  )
    .addHelpText('after', PROMOTE_HELP)
    .action(async (argument: string | undefined, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<SiteOptions & PromoteOptions>();
      const group = meantGroup(argument, options);
      const { to } = options;
      if ((to === undefined) === (options.acceptDataLoss === true))
        throw new CliError(
          EXIT.usage,
          to === undefined
            ? '--accept-data-loss says something only together with --to'
            : '--to has that node promoted whatever the others hold: expected --accept-data-loss with it',
        );
      const request = {
        ...({ kind: 'promote-site', group } as const),
        ...(to === undefined ? {} : { to: parseNode(to) }),
      };
      if (options.dryRun === true)
        return steerGroup(context, options, { ...request, dryRun: true }, PROMOTE_TIMEOUT_MS);
      if (options.yes !== true) {
        const plan = await askCluster(context, options, { ...request, dryRun: true });
        context.stderr.write(`${plan.detail}\n`);
      }
      const question = 'Is the other site stopped, and this one to take writes? [y/N] ';
      await confirm(context, options, question, (answer) => /^y(es)?$/i.test(answer));
      await steerGroup(context, options, { ...request, dryRun: false }, PROMOTE_TIMEOUT_MS);
    });
  withOutputOption(
    site
      .command('lead')
      .description('have another node of the group stream from the other site')
      .argument('<node>', 'the node')
      .option('--group <group>', 'refused where the node is of another group')
      .option(
        '--accept-data-loss',
        'after a recovery of the log: what may have been written here since is lost',
      )
      .option('--dry-run', 'only say what would happen, or why it could not be done'),
  )
    .addHelpText('after', LEAD_HELP)
    .action(async (text: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<SiteOptions & { readonly acceptDataLoss?: boolean }>();
      const { acceptDataLoss, group } = options;
      const node = parseNode(text);
      if (group !== undefined) await mustBeOfGroup(context, options, node, group);
      const request = {
        kind: 'lead-site',
        node,
        dryRun: options.dryRun === true,
        ...(acceptDataLoss === true ? { acceptsLoss: acceptDataLoss } : {}),
      } as const;
      await steerGroup(context, options, request);
    });
}

/** The node says which group is meant; a script that names both is not to move the site leader of another one. */
async function mustBeOfGroup(
  context: Context,
  options: SiteOptions,
  node: NodeId,
  name: string,
): Promise<void> {
  const { cluster, groups } = await withAdmin(context, options, (admin) => admin.status());
  const group = groups.find((each) => each.group === name);
  if (group === undefined) {
    const names = groups.map((each) => each.group).join(', ') || 'none';
    throw new CliError(EXIT.failed, `there is no group "${name}" in ${cluster}; there are: ${names}`);
  }
  if (group.nodes.some((each) => each.node === node)) return;
  const names = group.nodes.map((each) => each.node).join(', ');
  throw new CliError(EXIT.failed, `there is no node "${node}" in group ${name}; there are: ${names}`);
}
