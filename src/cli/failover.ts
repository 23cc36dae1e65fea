// `sentinelctl failover`: a switchover on purpose. Says what will happen and asks first; the cluster checks and decides.
import { Option, type Command } from 'commander';
import { DURATION_RULE, formatDuration, parseDurationMs } from '../base/duration.ts';
import { isName, NAME_RULE, nodeId } from '../base/ids.ts';
import type { FailoverOutcome, GroupView, NodeView, StatusView } from '../transport/types.ts';
import { messageOf, paintFor, withAdmin, type CommonOptions, type Context } from './context.ts';
import { renderDocument, type Format } from './document.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { formatBytes, wrap } from './format.ts';

interface FailoverOptions extends CommonOptions {
  readonly to?: string;
  readonly yes?: boolean;
  readonly output: Format;
  readonly wait: string;
}

const HELP = `
The primary is stopped cleanly, which ships all of its WAL; a standby that has
all of it is promoted; the old primary follows as a standby. No acknowledged
write is lost. Where the primary is down already, the peers fail over by
themselves.

Examples:
  sentinelctl failover                    the only group, to the best standby
  sentinelctl failover main --to pg2 -y   without asking, for scripts`;

export function addFailoverCommand(program: Command, context: Context): void {
  program
    .command('failover')
    .description('make a standby the primary, on purpose')
    .argument('[group]', 'the group; may be left out where there is only one')
    .option('--to <node>', 'the standby to promote; by default the cluster chooses')
    .option('-y, --yes', 'do not ask')
    .option('--wait <duration>', 'how long to wait for the outcome', '40s')
    .addOption(
      new Option('-o, --output <format>', 'how to print the outcome')
        .choices(['table', 'json', 'yaml'])
        .default('table'),
    )
    .addHelpText('after', HELP)
    .action(async (group: string | undefined, _options: unknown, command: Command) => {
      await failOver(context, group, command.optsWithGlobals<FailoverOptions>());
    });
}

async function failOver(
  context: Context,
  groupName: string | undefined,
  options: FailoverOptions,
): Promise<void> {
  const waitMs = parseDurationMs(options.wait);
  if (waitMs === undefined)
    throw new CliError(EXIT.usage, `--wait: "${options.wait}" is given; expected ${DURATION_RULE}`);
  if (options.to !== undefined && !isName(options.to)) {
    throw new CliError(EXIT.usage, `--to: "${options.to}" is not the name of a node: expected ${NAME_RULE}`);
  }
  if (options.yes !== true && context.ask === undefined) {
    throw new CliError(
      EXIT.usage,
      'nothing was changed: standard input is no terminal to ask on; pass --yes to fail over without being asked',
    );
  }
  const to = options.to === undefined ? undefined : nodeId(options.to);
  const outcome = await withAdmin(context, options, async (admin) => {
    const group = chooseGroup(await admin.status(), groupName);
    const { columns } = context.stderr.size();
    const lines = plan(group, options.to).flatMap(([start, text]) => wrap(start, text, columns));
    context.stderr.write(`${lines.join('\n')}\n`);
    await confirm(context, options, group, options.to);
    // From here on a peer that falls silent leaves the outcome open: that is a failure, not "nobody to ask".
    return admin
      .failover({ group: group.group, to }, { timeoutMs: waitMs, signal: context.signal })
      .catch((error: unknown) => {
        throw new CliError(EXIT.failed, messageOf(error));
      });
  });
  context.stdout.write(renderOutcome(context, options, outcome));
  if (outcome.kind === 'refused') throw new CliError(EXIT.failed, `refused: ${outcome.reason}`);
}

function chooseGroup(status: StatusView, name: string | undefined): GroupView {
  if (status.groups.length === 0)
    throw new CliError(
      EXIT.failed,
      `nothing was changed: ${status.cluster} has no group yet; see sentinelctl status`,
    );
  const names = status.groups.map((group) => group.group).join(', ');
  if (name === undefined) {
    const [only, ...others] = status.groups;
    if (only !== undefined && others.length === 0) return only;
    throw new CliError(EXIT.usage, `name the group to fail over; there are: ${names}`);
  }
  const group = status.groups.find((known) => known.group === name);
  if (group === undefined)
    throw new CliError(EXIT.failed, `there is no group "${name}" in ${status.cluster}; there are: ${names}`);
  return group;
}

/** What will happen, from what is known now: lines as start and text. Throws where the cluster would certainly refuse. */
function plan(group: GroupView, to: string | undefined): (readonly [string, string])[] {
  const primary = group.primary ?? 'unknown';
  const target = group.nodes.find((node) => node.node === to);
  if (to !== undefined && target === undefined) {
    const names = group.nodes.map((node) => node.node).join(', ');
    throw new CliError(EXIT.failed, `there is no node "${to}" in group ${group.group}; there are: ${names}`);
  }
  if (to !== undefined && to === group.primary)
    throw new CliError(EXIT.failed, `${to} is the primary of ${group.group} already; nothing was changed`);
  const standbys = group.nodes.filter((node) => node.node !== group.primary);
  const chosen = target === undefined ? 'the standby that is furthest ahead' : target.node;
  const kind = target === undefined ? 'candidate' : 'target';
  return [
    ['', `group ${group.group}: ${group.phase}, epoch ${group.epoch}, primary ${primary}`],
    ['  1. ', `${primary} makes a checkpoint and stops cleanly; its sessions end and writes wait`],
    ['  2. ', `${chosen} is promoted once it has every acknowledged commit`],
    ['  3. ', `${primary} follows it as a standby`],
    ...(target === undefined ? standbys : [target]).map(
      (node) => ['  ', `${kind} ${describe(node)}`] as const,
    ),
  ];
}

function describe(node: NodeView): string {
  const lag = node.lagBytes === undefined ? 'lag unknown' : `${formatBytes(node.lagBytes)} behind`;
  return `${node.node}: ${node.state}, ${lag}, ${node.sync ?? 'not synchronous'}`;
}

async function confirm(
  context: Context,
  options: FailoverOptions,
  group: GroupView,
  to: string | undefined,
): Promise<void> {
  if (options.yes === true || context.ask === undefined) return;
  const answer = await context.ask(
    `Fail over ${group.group} from ${group.primary ?? 'unknown'} to ${to ?? 'the best standby'}? [y/N] `,
  );
  context.signal.throwIfAborted();
  if (!/^y(es)?$/i.test(answer.trim())) throw new CliError(EXIT.failed, 'nothing was changed');
}

function renderOutcome(context: Context, options: FailoverOptions, outcome: FailoverOutcome): string {
  if (options.output !== 'table') return renderDocument(options.output, outcome, { stream: false });
  if (outcome.kind === 'refused') return '';
  const paint = paintFor(context, options, context.stdout);
  const text = `${outcome.to} is the primary of ${outcome.group} at epoch ${outcome.epoch}, after ${formatDuration(outcome.tookMs)} (was ${outcome.from})`;
  return `${paint('green', 'done')}: ${text}\n`;
}
