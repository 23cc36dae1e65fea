// `sentinelctl settings`: what is wanted of a group, and of its PostgreSQL servers. In the log, so that every peer decides by the same.
import { hostname, userInfo } from 'node:os';
import { type Command, Option } from 'commander';
import { HBA_KEY, PARAMETER_PREFIX } from '../cluster/parameters.ts';
import { LOGICAL_SLOT_PREFIX, LOGICAL_SLOT_RULE, logicalSlotText } from '../cluster/logical-slots.ts';
import type { SettingsRecord } from '../cluster/state.ts';
import type { PlannedRequest, SettingsView } from '../transport/types.ts';
import { type Admin, type Context, messageOf, paintFor, withAdmin } from './context.ts';
import { renderDocument } from './document.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { wrap } from './format.ts';
import { differenceText, editedChange, editText } from './settings-edit.ts';
import {
  type Change,
  SETTINGS,
  changeOf,
  isKey,
  meantSetting,
  parseSettings,
  parseUnset,
  readable,
} from './settings-keys.ts';
import { showSettingsPlan } from './settings-plan.ts';
import { type SteerCommandOptions, steerGroup, withDryRun, withOutputOption } from './steer.ts';
import { withHbaFile } from './settings-hba.ts';
import { renderTable } from './table.ts';
import { type GroupOption, meantGroup } from './which-group.ts';

interface SettingsOptions extends SteerCommandOptions {
  readonly json?: true;
  readonly dryRun?: boolean;
}

const HELP_WIDTH = 80;
const HELP = `
Settings:
${Object.entries(SETTINGS)
  .flatMap(([name, { meaning }]) => wrap(`  ${name.padEnd(16)}  `, meaning, HELP_WIDTH))
  .join('\n')}
${wrap('  postgresql.NAME   ', 'a parameter of PostgreSQL, on every node of the group, before what its own configuration file says', HELP_WIDTH).join('\n')}
${wrap('  hba               ', 'rules for pg_hba.conf, one a line or @FILE, on every node of the group: after our own, before those of its configuration file', HELP_WIDTH).join('\n')}
${wrap('  logical_slots.NAME  ', `a logical replication slot that survives a failover: ${LOGICAL_SLOT_RULE}`, HELP_WIDTH).join('\n')}

Examples:
  sentinelctl settings get
  sentinelctl settings set durability=strict acks=2
  sentinelctl settings set main durability=async lease=5s max_lag=16MB
  sentinelctl settings set postgresql.work_mem=64MB postgresql.jit=off
  sentinelctl settings set hba='host app app 10.0.0.0/24 scram-sha-256'
  sentinelctl settings set hba=@rules.conf
  sentinelctl settings set logical_slots.cdc=app:pgoutput`;

const GROUP_RULE = 'before them the group, unless there is only one';

export function addSettingsCommand(program: Command, context: Context): void {
  const settings = program
    .command('settings')
    .description('what is wanted of a group: durability, limits, parameters of PostgreSQL, pg_hba.conf');
  withJson(
    settings
      .command('get')
      .description('show the settings of a group, or one of them')
      .argument('[words...]', `the setting; ${GROUP_RULE}`)
      .addHelpText('after', HELP)
      .action((words: readonly string[], _options: unknown, self: Command) =>
        get(context, named(words, self), optionsOf(self)),
      ),
  );
  withPlan(
    settings
      .command('set')
      .description('change settings of a group; those that are not named stay as they are')
      .argument('<key=value...>', `the settings; ${GROUP_RULE}`)
      .addHelpText('after', HELP)
      .action(async (given: readonly string[], _options: unknown, self: Command) => {
        const words = named(given, self);
        const [first = ''] = words;
        const group = first.includes('=') ? undefined : first;
        const asked = parseSettings((group === undefined ? words : words.slice(1)).map(withHbaFile));
        await apply(context, optionsOf(self), group, asked);
      }),
  );
  withPlan(
    settings
      .command('unset')
      .description(
        'leave parameters of PostgreSQL, or hba, to the configuration files of the nodes again; drop logical slots',
      )
      .argument(
        '<keys...>',
        `${PARAMETER_PREFIX}NAME, ${LOGICAL_SLOT_PREFIX}NAME or ${HBA_KEY}; ${GROUP_RULE}`,
      )
      .action(async (given: readonly string[], _options: unknown, self: Command) => {
        const words = named(given, self);
        const [first = ''] = words;
        const group = isKey(first) || words.length === 1 ? undefined : first;
        await apply(
          context,
          optionsOf(self),
          group,
          parseUnset(group === undefined ? words : words.slice(1)),
        );
      }),
  );
  withPlan(
    settings
      .command('edit')
      .description('change settings of a group in $VISUAL or $EDITOR')
      .argument('[group]', 'the group; may be left out where there is only one')
      .action((group: string | undefined, _options: unknown, self: Command) =>
        edit(context, meantGroup(group, self.opts<GroupOption>()), optionsOf(self)),
      ),
  );
  withJson(
    settings
      .command('history')
      .description('show who changed what and when; the latest 50 changes, oldest first')
      .argument('[group]', 'the group; may be left out where there is only one')
      .action((group: string | undefined, _options: unknown, self: Command) =>
        history(context, meantGroup(group, self.opts<GroupOption>()), optionsOf(self)),
      ),
  );
}

const withPlan = (command: Command): Command => withJson(withDryRun(command));

function withJson(command: Command): Command {
  return withOutputOption(command)
    .option('--group <group>', 'the group, in the place of the argument')
    .addOption(new Option('--json', 'the same as -o json'));
}

/** The words, before them the group of --group. */
function named(words: readonly string[], self: Command): readonly string[] {
  const { group } = self.opts<GroupOption>();
  return group === undefined || words[0] === group ? words : [group, ...words];
}

function optionsOf(command: Command): SettingsOptions {
  const options = command.optsWithGlobals<SettingsOptions>();
  return options.json === true ? { ...options, output: 'json' } : options;
}

async function apply(
  context: Context,
  options: SettingsOptions,
  group: string | undefined,
  { change, parameters, hba, logicalSlots }: Change,
  onlyRevision?: SettingsView['revision'],
): Promise<void> {
  const request: PlannedRequest = {
    ...{ kind: 'settings', group, change, by: whoAsks() },
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(hba === undefined ? {} : { hba }),
    ...(logicalSlots === undefined ? {} : { logicalSlots }),
    ...(onlyRevision === undefined ? {} : { onlyRevision }),
  };
  await (options.dryRun === true
    ? showSettingsPlan(context, options, request)
    : steerGroup(context, options, request));
}

/** For the history: who has run sentinelctl where. A word, and no proof. */
function whoAsks(): string {
  try {
    return `${userInfo().username}@${hostname()}`.slice(0, 100);
  } catch {
    return hostname().slice(0, 100);
  }
}

async function viewOf(admin: Admin, name: string | undefined): Promise<SettingsView> {
  const outcome = await admin.settings({ group: name });
  if (outcome.kind === 'refused') throw new CliError(EXIT.failed, outcome.reason);
  return outcome.view;
}

async function get(context: Context, words: readonly string[], options: SettingsOptions): Promise<void> {
  const [first] = words;
  const name = first === undefined || isKey(first) ? undefined : first;
  const [key, ...rest] = name === undefined ? words : words.slice(1);
  if (rest.length > 0) throw new CliError(EXIT.usage, `one setting at a time: "${rest[0]}" is too many`);
  const view = await withAdmin(context, options, (admin) =>
    viewOf(admin, name).catch((error: unknown) => {
      // A word alone may have been meant as a setting.
      if (
        name === undefined ||
        words.length > 1 ||
        !messageOf(error).startsWith(`there is no group ${name};`)
      )
        throw error;
      const meant = meantSetting(name);
      const hint = meant === undefined ? '' : `: ${meant}`;
      throw new CliError(EXIT.failed, `${messageOf(error)}; nor is there a setting of that name${hint}`);
    }),
  );
  if (key !== undefined) {
    printOne(context, options, view, key);
    return;
  }
  if (options.output !== 'table') {
    const parameters = Object.fromEntries(view.parameters.map((each) => [each.name, each.value]));
    const pending = Object.fromEntries([
      ...view.parameters
        .filter((each) => each.pendingRestart.length > 0)
        .map((each) => [each.name, each.pendingRestart] as const),
      ...(view.pendingOthers ?? []).map(({ name, nodes }) => [name, nodes] as const),
    ]);
    const { group, revision, settings, hba, hbaPending, logicalSlots } = view;
    const document = {
      ...{ group, ...settings, revision, postgresql: parameters, pendingRestart: pending, hba },
      hbaPending: Object.fromEntries(hbaPending.map(({ node, reason }) => [node, reason])),
      logicalSlots: Object.fromEntries(
        logicalSlots.map(({ name, wanted, standing, notes }) => [name, { ...wanted, standing, notes }]),
      ),
    };
    context.stdout.write(renderDocument(options.output, document, { stream: false }));
    return;
  }
  context.stdout.write(`${settingsLines(context, options, view).join('\n')}\n`);
  for (const each of view.parameters) {
    const note = noteOf(each);
    if (note !== '') context.stdout.write(`${PARAMETER_PREFIX}${each.name}: ${note}\n`);
  }
  for (const { name, nodes } of view.pendingOthers ?? [])
    context.stdout.write(
      `${PARAMETER_PREFIX}${name}: not set for the group; pending restart: ${nodes.join(', ')}\n`,
    );
  for (const { node, reason } of view.hbaPending)
    context.stdout.write(`${HBA_KEY}: not in force on ${node}: ${reason}\n`);
  for (const { name, notes } of view.logicalSlots)
    for (const note of notes) context.stdout.write(`${LOGICAL_SLOT_PREFIX}${name}: ${note}\n`);
}

/** Meanings go on over as many lines as they need; a parameter has its value alone beside it, in full. */
function settingsLines(context: Context, options: SettingsOptions, view: SettingsView): string[] {
  const { columns: width } = context.stdout.size();
  const rows = Object.entries(SETTINGS).map(([key, { format, meaning }]) => ({
    key,
    value: format(view.settings),
    meaning,
  }));
  const keyWidth = Math.max(...rows.map(({ key }) => key.length));
  const valueWidth = Math.max('VALUE'.length, ...rows.map(({ value }) => value.length));
  const start = (key: string, value: string): string =>
    `${key.padEnd(keyWidth)}  ${value.padEnd(valueWidth)}  `;
  const slotWidth = Math.max(...view.logicalSlots.map(({ name }) => name.length));
  const parameterWidth = Math.max(...view.parameters.map(({ name }) => name.length));
  return [
    paintFor(context, options, context.stdout)('dim', `${start('SETTING', 'VALUE')}MEANING`),
    ...rows.flatMap(({ key, value, meaning }) => wrap(start(key, value), meaning, width)),
    ...view.parameters.map(
      ({ name, value }) => `${PARAMETER_PREFIX}${name.padEnd(parameterWidth)}  ${value}`,
    ),
    ...view.hba.map((line) => `${HBA_KEY.padEnd(keyWidth)}  ${line}`),
    ...view.logicalSlots.map(
      ({ name, wanted, standing }) =>
        `${LOGICAL_SLOT_PREFIX}${name.padEnd(slotWidth)}  ${logicalSlotText(wanted)}${standing === 'made' ? '' : ` (${standing === 'wanted' ? 'not made yet' : standing})`}`,
    ),
  ];
}

function noteOf({ pendingRestart, overrides }: SettingsView['parameters'][number]): string {
  const notes = [
    pendingRestart.length === 0 ? '' : `pending restart: ${pendingRestart.join(', ')}`,
    overrides.length === 0 ? '' : `counts before the configuration file of ${overrides.join(', ')}`,
  ];
  return notes.filter((note) => note !== '').join('; ');
}

function printOne(context: Context, options: SettingsOptions, view: SettingsView, key: string): void {
  if (key === HBA_KEY) {
    // As a file that `settings set hba=@FILE` takes.
    const text = view.hba.map((line) => `${line}\n`).join('');
    const isTable = options.output === 'table';
    context.stdout.write(
      isTable ? text : renderDocument(options.output, { [key]: view.hba }, { stream: false }),
    );
    return;
  }
  const setting = Object.hasOwn(SETTINGS, key) ? SETTINGS[key] : undefined;
  const name = key.toLowerCase().slice(PARAMETER_PREFIX.length);
  const parameter = view.parameters.find((each) => each.name === name);
  const slot = view.logicalSlots.find(
    (each) => `${LOGICAL_SLOT_PREFIX}${each.name}` === key && each.standing !== 'unset',
  );
  const value = isKey(key)
    ? (setting?.exact(view.settings) ?? (slot && logicalSlotText(slot.wanted)) ?? parameter?.value)
    : undefined;
  if (value === undefined) {
    if (key.startsWith(LOGICAL_SLOT_PREFIX)) throw new CliError(EXIT.failed, `${key} is not set`);
    if (isKey(key))
      throw new CliError(EXIT.failed, `${key} is not set: each node has it from its own configuration file`);
    changeOf(new Map([[key, '']]));
  }
  context.stdout.write(
    options.output === 'table'
      ? `${value}\n`
      : renderDocument(options.output, { [key]: value }, { stream: false }),
  );
}

async function edit(context: Context, name: string | undefined, options: SettingsOptions): Promise<void> {
  if (context.edit === undefined)
    throw new CliError(EXIT.usage, 'there is no terminal to edit on; use sentinelctl settings set');
  const view = await withAdmin(context, options, (admin) => viewOf(admin, name));
  const edited = await context.edit(editText(view), 'settings.yaml').catch((error: unknown) => {
    throw new CliError(EXIT.failed, (error as Error).message);
  });
  const asked = editedChange(view, edited.text);
  if (typeof asked === 'string')
    throw new CliError(
      EXIT.usage,
      `nothing was changed: ${asked}${edited.kept === undefined ? '' : `; your text is kept in ${edited.kept}`}`,
    );
  const lines = differenceText(view, asked);
  if (lines.length === 0) {
    edited.discard();
    context.stdout.write('nothing was changed\n');
    return;
  }
  const isPlan = options.dryRun === true;
  if (!isPlan) context.stderr.write(`${lines.join('\n')}\n`);
  try {
    await apply(context, options, view.group, asked, view.revision);
  } catch (error) {
    if (edited.kept !== undefined) context.stderr.write(`your text is kept in ${edited.kept}\n`);
    throw error;
  }
  if (!isPlan) return edited.discard();
  // Whoever asked for a plan has not had what they typed for nothing.
  if (edited.kept !== undefined) context.stderr.write(`your text is kept in ${edited.kept}\n`);
}

async function history(context: Context, name: string | undefined, options: SettingsOptions): Promise<void> {
  const view = await withAdmin(context, options, (admin) => viewOf(admin, name));
  if (options.output !== 'table') {
    const changes = view.history.map(({ index, atMs, by, differences, more }) => ({
      revision: index,
      at: new Date(atMs).toISOString(),
      by,
      changes: differences.map(({ key, from, to }) => ({ key: readable(key, undefined).key, from, to })),
      more,
    }));
    context.stdout.write(renderDocument(options.output, changes, { stream: false }));
    return;
  }
  if (view.history.length === 0) {
    context.stdout.write(`the settings of group ${view.group} have not been changed\n`);
    return;
  }
  const rows = view.history.map((record) => [
    { text: String(record.index) },
    { text: new Date(record.atMs).toISOString() },
    { text: record.by === '' ? '-' : record.by },
    { text: changesText(record) },
  ]);
  const columns = ['REVISION', 'TIME', 'WHO', 'CHANGE'].map((title) => ({ title }));
  // Nothing of it is cut off.
  printTable(context, options, { columns, rows, width: Number.MAX_SAFE_INTEGER });
}

function changesText({ differences, more }: SettingsRecord): string {
  const texts = differences.map(({ key, from, to }) => {
    const before = readable(key, from);
    return `${before.key}: ${before.value} -> ${readable(key, to).value}`;
  });
  return [...texts, ...(more > 0 ? [`and ${more} more`] : [])].join(', ');
}

function printTable(
  context: Context,
  options: SettingsOptions,
  table: Pick<Parameters<typeof renderTable>[0], 'columns' | 'rows' | 'width'>,
): void {
  const lines = renderTable({ ...table, indent: '', paint: paintFor(context, options, context.stdout) });
  context.stdout.write(`${lines.join('\n')}\n`);
}
