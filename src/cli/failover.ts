// `sentinelctl failover`: a switchover on purpose. Says what will happen and asks first; the cluster checks and decides.
import { Option, type Command } from 'commander';
import { formatDuration } from '../base/duration.ts';
import { isName, NAME_RULE, nodeId } from '../base/ids.ts';
import type {
  FailoverOutcome,
  FailoverRequest,
  GroupView,
  NodeView,
  StatusView,
} from '../transport/types.ts';
import { type Admin, messageOf, paintFor, withAdmin, type Context } from './context.ts';
import { renderDocument } from './document.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { formatBytes, wrap } from './format.ts';
import { waitMs } from './peer-change.ts';
import { inEarnest, steerGroup, type SteerCommandOptions } from './steer.ts';
import { type GroupOption, meantGroup, withGroup } from './which-group.ts';
import { parseTimeMs, TIME_RULE } from './time.ts';

export interface FailoverOptions extends SteerCommandOptions, GroupOption {
  readonly to?: string;
  readonly yes?: boolean;
  readonly wait: string;
  readonly dryRun?: boolean;
  readonly at?: string;
  readonly acceptDataLoss?: boolean;
  readonly oldPrimaryIsOff?: boolean;
}

const HELP = `
The primary is stopped cleanly, which ships all of its WAL; a standby that has
all of it is promoted; the old primary follows as a standby. No acknowledged
write is lost. Where the primary is down already, the peers fail over by
themselves, unless no standby is sure to hold every acknowledged write: then
--accept-data-loss does it, once the old primary is known to be stopped.

Examples:
  sentinelctl failover                    the only group, to the best standby
  sentinelctl failover main --to pg2 -y   without asking, for scripts
  sentinelctl failover --dry-run          what would happen, or why it cannot
  sentinelctl failover --at 03:00         tonight; --at never calls it off
  sentinelctl failover --accept-data-loss --old-primary-is-off`;

export function addFailoverCommand(program: Command, context: Context): void {
  withGroup(
    program.command('failover').description('make a standby the primary, on purpose'),
    'the group; may be left out where there is only one, or with --to',
  )
    .option('--to <node>', 'the standby to promote; by default the cluster chooses')
    .option('-y, --yes', 'do not ask')
    .option('--dry-run', 'only say what would happen, or why it could not be done')
    .option('--at <time>', `begin by itself then: ${TIME_RULE}; or never`)
    .option('--accept-data-loss', 'also where acknowledged writes may be lost')
    .option('--old-primary-is-off', 'with it: you have made sure that the host of the old primary is off')
    .option('--wait <duration>', 'how long to wait for the outcome', '40s')
    .addOption(
      new Option('-o, --output <format>', 'how to print the outcome')
        .choices(['table', 'json', 'yaml'])
        .default('table'),
    )
    .addHelpText('after', HELP)
    .action(async (argument: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<FailoverOptions>();
      await failOver(context, meantGroup(argument, options), options);
    });
}

export async function failOver(
  context: Context,
  groupName: string | undefined,
  options: FailoverOptions,
): Promise<void> {
  const timeoutMs = checkOptions(context, options);
  const to = options.to === undefined ? undefined : nodeId(options.to);
  if (options.at !== undefined) return schedule(context, groupName, to, options);
  const outcome = await withAdmin(context, options, async (admin) => {
    const status = await admin.status();
    const group = chooseGroup(status, groupName, options.to);
    targetOf(group, options.to);
    const { columns } = context.stderr.size();
    const say = (lines: readonly (readonly [string, string])[]): void => {
      const text = lines.flatMap(([start, line]) => wrap(start, line, columns)).join('\n');
      context.stderr.write(`${text}\n`);
    };
    if (status.leader === undefined) say([['', leaderlessText(status)]]);
    if (await isPrimaryAlready(admin, group, options)) {
      const { primary: node = '', epoch } = group;
      return { kind: 'done', group: group.group, from: node, to: node, epoch, tookMs: 0 } as const;
    }
    const request: FailoverRequest = {
      group: group.group,
      to,
      ...(options.acceptDataLoss === true ? { acceptDataLoss: true } : {}),
      ...(options.oldPrimaryIsOff === true ? { oldPrimaryIsOff: true } : {}),
    };
    if (options.dryRun === true) return admin.failover({ ...request, dryRun: true });
    if (options.acceptDataLoss === true) {
      const planned = await admin.failover({ ...request, dryRun: true });
      if (planned.kind === 'planned') {
        say(planLines(planned));
        if (planned.obstacle !== undefined) return { kind: 'refused', reason: planned.obstacle } as const;
      }
      await confirmLoss(context, options, group);
    } else {
      say(plan(group, options.to));
      await confirm(context, options, group, options.to);
    }
    // From here on a peer that falls silent leaves the outcome open: that is a failure, not "nobody to ask".
    return admin.failover(request, { timeoutMs, signal: context.signal }).catch((error: unknown) => {
      throw new CliError(EXIT.failed, messageOf(error));
    });
  });
  context.stdout.write(renderOutcome(context, options, outcome));
  if (outcome.kind === 'refused') throw new CliError(EXIT.failed, `refused: ${outcome.reason}`);
  if (outcome.kind === 'planned' && outcome.obstacle !== undefined)
    throw new CliError(EXIT.failed, `it could not be done now: ${outcome.obstacle}`);
}

/** `--wait` in milliseconds. Throws where the options make no sense together. */
function checkOptions(context: Context, options: FailoverOptions): number {
  const usage = (text: string): CliError => new CliError(EXIT.usage, text);
  const timeoutMs = waitMs(options);
  if (options.to !== undefined && !isName(options.to))
    throw usage(`--to: "${options.to}" is not the name of a node: expected ${NAME_RULE}`);
  if (options.oldPrimaryIsOff === true && options.acceptDataLoss !== true)
    throw usage('--old-primary-is-off says something only together with --accept-data-loss');
  if (options.at !== undefined && options.acceptDataLoss === true)
    throw usage('--at cannot be combined with --accept-data-loss');
  const asks = options.yes !== true && options.dryRun !== true && options.at === undefined;
  if (asks && context.ask === undefined)
    throw usage(
      'nothing was changed: standard input is no terminal to ask on; pass --yes to fail over without being asked',
    );
  return timeoutMs;
}

/** Into the log, so that it takes place whatever becomes of this program and of the peer it asks. */
async function schedule(
  context: Context,
  group: string | undefined,
  to: FailoverRequest['to'],
  options: FailoverOptions,
): Promise<void> {
  const text = options.at ?? '';
  const atMs = text === 'never' ? undefined : parseTimeMs(text, Date.now());
  if (text !== 'never' && atMs === undefined)
    throw new CliError(EXIT.usage, `--at: "${text}" is given; expected ${TIME_RULE}, or never`);
  const at = atMs === undefined ? undefined : { atMs, to };
  await steerGroup(context, options, inEarnest({ kind: 'schedule', group, at }, options));
}

/** The one that is named, that of the node to promote, or the only one. */
function chooseGroup(status: StatusView, name: string | undefined, to: string | undefined): GroupView {
  if (status.groups.length === 0)
    throw new CliError(
      EXIT.failed,
      `nothing was changed: ${status.cluster} has no group yet; see sentinelctl status`,
    );
  const names = status.groups.map((group) => group.group).join(', ');
  if (name === undefined) {
    const [only, ...others] = status.groups;
    if (only !== undefined && others.length === 0) return only;
    const ofNode = status.groups.find(({ nodes }) => nodes.some(({ node }) => node === to));
    if (ofNode !== undefined) return ofNode;
    throw new CliError(EXIT.usage, `name the group to fail over; there are: ${names}`);
  }
  const group = status.groups.find((known) => known.group === name);
  if (group === undefined)
    throw new CliError(EXIT.failed, `there is no group "${name}" in ${status.cluster}; there are: ${names}`);
  return group;
}

/** The node that is named, where one is. Throws where the group has none of that name. */
function targetOf(group: GroupView, to: string | undefined): NodeView | undefined {
  const target = group.nodes.find((node) => node.node === to);
  if (to === undefined || target !== undefined) return target;
  const names = group.nodes.map((node) => node.node).join(', ');
  throw new CliError(EXIT.failed, `there is no node "${to}" in group ${group.group}; there are: ${names}`);
}

/**
 * A script that is run again has nothing left to do. Not so while it is being failed over, nor for who wants to lose writes. A status may be old: a
 * plan is made only after the log was read through its leader.
 */
async function isPrimaryAlready(
  admin: Pick<Admin, 'failover'>,
  { group, primary, phase }: GroupView,
  { to, acceptDataLoss }: FailoverOptions,
): Promise<boolean> {
  if (to === undefined || to !== primary || phase !== 'running' || acceptDataLoss === true) return false;
  const planned = await admin.failover({ group, to: nodeId(to), dryRun: true });
  return (
    planned.kind === 'planned' && planned.from === to && planned.obstacle === `${to} is the primary already`
  );
}

/** Said before anything else: what this peer shows may be old, and the cluster cannot do it. A moment without a leader passes, so it is asked all the same. */
function leaderlessText({ answeredBy }: StatusView): string {
  return `peer ${answeredBy} knows of no Raft leader: nothing can fail over until a majority of the voters reach each other, see sentinelctl status`;
}

/** What will happen, from what is known now: lines as start and text. */
function plan(group: GroupView, to: string | undefined): (readonly [string, string])[] {
  const primary = group.primary ?? 'unknown';
  if (to !== undefined && to === group.primary)
    return [
      [
        '',
        `group ${group.group}: ${group.phase}, epoch ${group.epoch}; ${to} is the primary, as far as the peer that answered knows`,
      ],
    ];
  const target = targetOf(group, to);
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
  const from = to !== undefined && to === group.primary ? '' : ` from ${group.primary ?? 'unknown'}`;
  const answer = await context.ask(`Fail over ${group.group}${from} to ${to ?? 'the best standby'}? [y/N] `);
  context.signal.throwIfAborted();
  if (!/^y(es)?$/i.test(answer.trim())) throw new CliError(EXIT.failed, 'nothing was changed');
}

/** For what cannot be undone `y` is too easily typed. */
async function confirmLoss(context: Context, options: FailoverOptions, group: GroupView): Promise<void> {
  if (options.yes === true || context.ask === undefined) return;
  const answer = await context.ask(
    `Acknowledged writes may be lost. Type the name of the group (${group.group}) to go on: `,
  );
  context.signal.throwIfAborted();
  if (answer.trim() !== group.group) throw new CliError(EXIT.failed, 'nothing was changed');
}

type Planned = Extract<FailoverOutcome, { readonly kind: 'planned' }>;

function planLines(planned: Planned): (readonly [string, string])[] {
  const { group, from, to, steps } = planned;
  return [
    ['', `group ${group}: from ${from}${to === undefined ? '' : ` to ${to}`}`],
    ...steps.map((step, place) => [`  ${place + 1}. `, step] as const),
  ];
}

function renderOutcome(context: Context, options: FailoverOptions, outcome: FailoverOutcome): string {
  if (options.output !== 'table') return renderDocument(options.output, outcome, { stream: false });
  const paint = paintFor(context, options, context.stdout);
  switch (outcome.kind) {
    case 'refused':
      return '';
    case 'planned': {
      const { columns } = context.stdout.size();
      const lines = planLines(outcome).flatMap(([start, line]) => wrap(start, line, columns));
      return `${[...lines, ...(outcome.obstacle === undefined ? ['nothing stands against it; nothing was changed'] : [])].join('\n')}\n`;
    }
    case 'done': {
      // No failover takes no time at all.
      if (outcome.to === outcome.from && outcome.tookMs === 0)
        return `${paint('green', 'done')}: ${outcome.to} is the primary of ${outcome.group} already; nothing was changed\n`;
      const was = outcome.to === outcome.from ? 'as before' : `was ${outcome.from}`;
      const text = `${outcome.to} is the primary of ${outcome.group} at epoch ${outcome.epoch}, after ${formatDuration(outcome.tookMs)} (${was})`;
      return `${paint('green', 'done')}: ${text}\n`;
    }
  }
}
