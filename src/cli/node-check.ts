// `sentinelctl node check`: a plugin for Nagios and what understands its plugins. Whatever goes wrong with the check itself is UNKNOWN,
// on standard output, for that is all that such a program reads.
import { CommanderError, InvalidArgumentError, type Command } from 'commander';
import { delay } from '../base/clock.ts';
import type { StatusView } from '../transport/types.ts';
import {
  DEFAULT_LIMITS,
  type Level,
  type Limit,
  type Limits,
  type NodeCheck,
  checkNodes,
  isOnlyUnreported,
  worst,
} from './check-node.ts';
import { type CommonOptions, type Context, messageOf, withAdmin } from './context.ts';
import { renderDocument } from './document.ts';
import { UNKNOWN_CODE } from './exit-codes.ts';
import { BYTES_RULE, formatBytes, parseBytes } from './format.ts';
import { checkLine, factsOf, plainLine } from './render-check.ts';
import { parseNode } from './steer.ts';

const NAGIOS: Record<Level, 0 | 1 | 2 | 3> = { OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3 };

const HELP = `
One line for each node, and the worst of them as exit code: 0 OK, 1 WARNING,
2 CRITICAL, 3 UNKNOWN. Looked at: that PostgreSQL is what the log says and its
guard is there, that a standby streams, how far it is behind and whether it
counts for commits, room on the disks of the data directory and pg_wal, WAL that
slots keep, archiving, settings that need a restart, and whether it is fenced,
paused or in maintenance. What its agent does not report is UNKNOWN; where that is
all, it is waited for up to five seconds. Of a server that is only watched:
whether it is up, by a majority, and what it has to replay.

Examples:
  sentinelctl node check
  sentinelctl node check pg2 --warning-lag 16MB --critical-lag 256MB
  sentinelctl node check --json`;

/** Below the time that such programs give a plugin: ten seconds as a rule. */
const REPORT_MS_MAX = 5000;
const REPORT_POLL_MS = 200;

interface CheckOptions extends CommonOptions {
  readonly json?: boolean;
  readonly warningLag: number;
  readonly criticalLag: number;
  readonly warningKept: number;
  readonly criticalKept: number;
  readonly warningFree: number;
  readonly criticalFree: number;
  readonly warningReady: number;
  readonly criticalReady: number;
}

export function addNodeCheckCommand(parent: Command, context: Context): void {
  const command = parent
    .command('check')
    .description('say how a node is, as Nagios expects it; without a name, each node')
    .argument('[node]', 'the node')
    .option('--json', 'print it as JSON');
  limitOptions(command, 'lag', 'bytes', 'how far a standby may be behind', DEFAULT_LIMITS.lagBytes);
  limitOptions(command, 'kept', 'bytes', 'WAL that replication slots may keep', DEFAULT_LIMITS.keptBytes);
  limitOptions(command, 'free', 'percent', 'of its disks to be free', DEFAULT_LIMITS.freePercent);
  limitOptions(command, 'ready', 'count', 'files that may wait to be archived', DEFAULT_LIMITS.readyCount);
  command
    .addHelpText('after', HELP)
    .exitOverride((error) => {
      if (error.code === 'commander.helpDisplayed') throw error;
      context.stdout.write(`${plainLine('UNKNOWN', error.message.replace(/^error: /, ''))}\n`);
      throw new CommanderError(NAGIOS.UNKNOWN, UNKNOWN_CODE, error.message);
    })
    .action(async (name: string | undefined, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<CheckOptions>();
      try {
        await check(context, options, name);
      } catch (error) {
        context.signal.throwIfAborted();
        context.stdout.write(`${plainLine('UNKNOWN', messageOf(error))}\n`);
        context.setExitCode(NAGIOS.UNKNOWN);
      }
    });
}

async function check(context: Context, options: CheckOptions, name: string | undefined): Promise<void> {
  const only = name === undefined ? undefined : parseNode(name);
  const limits = limitsOf(options);
  const { status, checks } = await withAdmin(context, options, async (admin) => {
    const deadlineMs = performance.now() + REPORT_MS_MAX;
    for (;;) {
      const status = await admin.status();
      const checks = checkNodes(status, limits, only);
      if (!isOnlyUnreported(checks) || performance.now() > deadlineMs) return { status, checks };
      await delay(REPORT_POLL_MS, context.signal);
    }
  });
  if (checks.length === 0)
    throw new Error(only === undefined ? 'there is no group yet' : noNode(status, only));
  const level = worst(checks.map((each) => each.level));
  context.stdout.write(
    options.json === true
      ? renderDocument('json', { level, exitCode: NAGIOS[level], nodes: checks }, { stream: false })
      : checks
          .map((each) => `${checkLine(each, factsOf(each, stateOf(status, each)), checks.length > 1)}\n`)
          .join(''),
  );
  context.setExitCode(NAGIOS[level]);
}

function noNode(status: StatusView, name: string): string {
  const names = [
    ...status.groups.flatMap(({ nodes }) => nodes.map(({ node }) => node)),
    ...(status.watched ?? []).map(({ server }) => server),
  ];
  return `there is no node ${name}${names.length === 0 ? '' : `; there are ${names.join(', ')}`}`;
}

function stateOf(status: StatusView, { node: name }: NodeCheck): string {
  for (const { nodes, primary } of status.groups) {
    const node = nodes.find((each) => each.node === name);
    if (node !== undefined) return node.role === 'primary' ? 'primary' : `streams from ${primary ?? '?'}`;
  }
  const server = status.watched?.find((each) => each.server === name);
  return server === undefined ? '' : `${server.role === 'none' ? server.state : server.role}, only watched`;
}

function limitOptions(
  command: Command,
  what: string,
  unit: 'bytes' | 'percent' | 'count',
  meaning: string,
  limit: Limit,
): void {
  for (const level of ['warning', 'critical'] as const) {
    const text = unit === 'bytes' ? formatBytes(limit[level]).replace(' ', '') : String(limit[level]);
    command.option(
      `--${level}-${what} <${unit}>`,
      level === 'warning' ? meaning : `the same, for ${level.toUpperCase()}`,
      PARSERS[unit],
      limit[level],
    );
    const option = command.options.at(-1);
    if (option !== undefined) option.defaultValueDescription = text;
  }
}

const PARSERS = {
  bytes: (text: string): number => {
    const bytes = parseBytes(text);
    if (bytes === undefined) throw new InvalidArgumentError(`Expected ${BYTES_RULE}.`);
    return bytes;
  },
  percent: (text: string): number => {
    const [, digits] = /^(\d{1,3}(?:\.\d+)?)%?$/.exec(text) ?? [];
    if (digits === undefined || Number(digits) > 100)
      throw new InvalidArgumentError('Expected a percentage from 0 to 100, such as 10 or 10%.');
    return Number(digits);
  },
  count: (text: string): number => {
    if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a whole number, such as 100.');
    return Number(text);
  },
} as const;

function limitsOf(options: CheckOptions): Limits {
  const limit = (what: string, warning: number, critical: number, isLeast: boolean): Limit => {
    if (isLeast ? warning < critical : warning > critical)
      throw new Error(
        `--warning-${what} ${warning} is ${isLeast ? 'below' : 'above'} --critical-${what} ${critical}: the warning has to come first`,
      );
    return { warning, critical };
  };
  return {
    lagBytes: limit('lag', options.warningLag, options.criticalLag, false),
    keptBytes: limit('kept', options.warningKept, options.criticalKept, false),
    freePercent: limit('free', options.warningFree, options.criticalFree, true),
    readyCount: limit('ready', options.warningReady, options.criticalReady, false),
  };
}
