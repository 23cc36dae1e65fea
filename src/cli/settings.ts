// `sentinelctl settings get` and `set`: what is wanted of a group. In the log, so that every peer decides by the same.
import type { Command } from 'commander';
import { DURATION_RULE, formatDuration, parseDurationMs } from '../base/duration.ts';
import type { GroupView } from '../transport/types.ts';
import { paintFor, withAdmin, type Context } from './context.ts';
import { renderDocument } from './document.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { chooseGroup } from './failover.ts';
import { BYTES_RULE, formatBytes, parseBytes, wrap } from './format.ts';
import { steerGroup, withOutputOption, type SteerCommandOptions } from './steer.ts';

type GroupSettings = NonNullable<GroupView['settings']>;

interface Setting {
  readonly meaning: string;
  readonly format: (settings: GroupSettings) => string;
  /** What the text asks for, or undefined where it is not `expected`. */
  readonly parse: (text: string) => Partial<GroupSettings> | undefined;
  readonly expected: string;
}

const COUNT_RULE = 'a whole number of 1 or more, with at most nine digits';

/** By the name that people use, in the order in which they are shown. */
const SETTINGS: Readonly<Record<string, Setting>> = {
  durability: {
    meaning:
      'what a commit waits for: quorum (standbys, while there are any), strict (standbys, always), async (none)',
    format: ({ durability }) => durability,
    parse: (text) =>
      text === 'quorum' || text === 'strict' || text === 'async' ? { durability: text } : undefined,
    expected: 'quorum, strict or async',
  },
  acks: {
    meaning:
      'standbys that flush a commit before it is acknowledged (quorum: all of them where there are fewer)',
    format: ({ acks }) => String(acks),
    parse: (text) => withCount(text, (acks) => ({ acks })),
    expected: COUNT_RULE,
  },
  lease: {
    meaning:
      'async: how long the primary may take writes without word from a leader; a failover waits as long',
    format: ({ leaseMs }) => formatDuration(leaseMs),
    parse: (text) => withDuration(text, (leaseMs) => ({ leaseMs })),
    expected: DURATION_RULE,
  },
  max_lag: {
    meaning: 'async: a standby that is known to lack more is not promoted',
    format: ({ maxLagBytes }) => formatBytes(maxLagBytes),
    parse: (text) => {
      const maxLagBytes = parseBytes(text);
      return maxLagBytes === undefined ? undefined : { maxLagBytes };
    },
    expected: BYTES_RULE,
  },
  max_failovers: {
    meaning: 'so many failovers within failover_window hold the group until sentinelctl ack',
    format: ({ maxFailovers }) => String(maxFailovers),
    parse: (text) => withCount(text, (maxFailovers) => ({ maxFailovers })),
    expected: COUNT_RULE,
  },
  failover_window: {
    meaning: 'see max_failovers',
    format: ({ failoverWindowMs }) => formatDuration(failoverWindowMs),
    parse: (text) => withDuration(text, (failoverWindowMs) => ({ failoverWindowMs })),
    expected: DURATION_RULE,
  },
};

const KEY_WIDTH = Math.max(...Object.keys(SETTINGS).map((key) => key.length));

const HELP_WIDTH = 80;
const HELP = `
Settings:
${Object.entries(SETTINGS)
  .flatMap(([name, { meaning }]) => wrap(`  ${name.padEnd(16)}  `, meaning, HELP_WIDTH))
  .join('\n')}

Examples:
  sentinelctl settings get
  sentinelctl settings set durability=strict acks=2
  sentinelctl settings set main durability=async lease=5s max_lag=16MB`;

export function addSettingsCommand(program: Command, context: Context): void {
  const settings = program.command('settings').description('what is wanted of a group: durability, limits');
  withOutputOption(
    settings
      .command('get')
      .description('show the settings of a group')
      .argument('[group]', 'the group; may be left out where there is only one')
      .action((group: string | undefined, _options: unknown, self: Command) =>
        get(context, group, self.optsWithGlobals<SteerCommandOptions>()),
      ),
  );
  withOutputOption(
    settings
      .command('set')
      .description('change settings of a group; those that are not named stay as they are')
      .argument('<key=value...>', 'the settings; before them the group, unless there is only one')
      .addHelpText('after', HELP)
      .action(async (words: readonly string[], _options: unknown, self: Command) => {
        const [first = ''] = words;
        const group = first.includes('=') ? undefined : first;
        const change = parseSettings(group === undefined ? words : words.slice(1));
        await steerGroup(context, self.optsWithGlobals<SteerCommandOptions>(), {
          kind: 'settings',
          group,
          change,
        });
      }),
  );
}

async function get(context: Context, name: string | undefined, options: SteerCommandOptions): Promise<void> {
  const group = await withAdmin(context, options, async (admin) => chooseGroup(await admin.status(), name));
  const settings = group.settings;
  if (settings === undefined)
    throw new CliError(
      EXIT.failed,
      'the peer that answered has no settings of groups: it is of another version',
    );
  if (options.output !== 'table') {
    const document = { group: group.group, ...settings };
    context.stdout.write(renderDocument(options.output, document, { stream: false }));
    return;
  }
  const { columns: width } = context.stdout.size();
  const rows = Object.entries(SETTINGS).map(([key, { format, meaning }]) => ({
    key,
    value: format(settings),
    meaning,
  }));
  const valueWidth = Math.max('VALUE'.length, ...rows.map(({ value }) => value.length));
  const start = (key: string, value: string): string =>
    `${key.padEnd(KEY_WIDTH)}  ${value.padEnd(valueWidth)}  `;
  const lines = [
    paintFor(context, options, context.stdout)('dim', `${start('SETTING', 'VALUE')}MEANING`),
    ...rows.flatMap(({ key, value, meaning }) => wrap(start(key, value), meaning, width)),
  ];
  context.stdout.write(`${lines.join('\n')}\n`);
}

/** Throws a {@link CliError} that names the key, the value, and what would be right. */
export function parseSettings(words: readonly string[]): Partial<GroupSettings> {
  const names = Object.keys(SETTINGS).join(', ');
  if (words.length === 0) throw new CliError(EXIT.usage, `name a setting: KEY=VALUE, of ${names}`);
  let change: Partial<GroupSettings> = {};
  const seen = new Set<string>();
  for (const word of words) {
    const at = word.indexOf('=');
    if (at < 0) throw new CliError(EXIT.usage, `"${word}" is no setting: expected KEY=VALUE, of ${names}`);
    const [key, value] = [word.slice(0, at), word.slice(at + 1)];
    const setting = Object.hasOwn(SETTINGS, key) ? SETTINGS[key] : undefined;
    if (setting === undefined)
      throw new CliError(EXIT.usage, `there is no setting "${key}"; there are: ${names}`);
    if (seen.has(key)) throw new CliError(EXIT.usage, `${key} is given twice`);
    seen.add(key);
    const part = setting.parse(value);
    if (part === undefined)
      throw new CliError(EXIT.usage, `${key}: "${value}" is given; expected ${setting.expected}`);
    change = { ...change, ...part };
  }
  return change;
}

function withCount<T>(text: string, then: (count: number) => T): T | undefined {
  const count = Number(text);
  return /^\d{1,9}$/.test(text) && count >= 1 ? then(count) : undefined;
}

function withDuration<T>(text: string, then: (ms: number) => T): T | undefined {
  const ms = parseDurationMs(text);
  return ms === undefined ? undefined : then(Math.round(ms));
}
