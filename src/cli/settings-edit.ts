// The settings of a group as a text that a person edits, and what its changes ask for. Pure.
import { parse, stringify } from 'yaml';
import { HBA_KEY, PARAMETER_PREFIX } from '../cluster/parameters.ts';
import { LOGICAL_SLOT_PREFIX, logicalSlotText } from '../cluster/logical-slots.ts';
import type { SettingsView } from '../transport/types.ts';
import { hbaLinesOf } from '../cluster/hba-rules.ts';
import { CliError } from './exit-codes.ts';
import { type Change, SETTINGS, changeOf } from './settings-keys.ts';

const SECTION = 'postgresql';
const SLOTS = 'logical_slots';

const wantedSlots = (view: SettingsView): SettingsView['logicalSlots'] =>
  view.logicalSlots.filter(({ standing }) => standing !== 'unset');

/** YAML with every setting, in the form in which `settings set` takes it. */
export function editText(view: SettingsView): string {
  const settings = Object.fromEntries(
    Object.entries(SETTINGS).map(([key, { exact }]) => [key, exact(view.settings)]),
  );
  const parameters = Object.fromEntries(view.parameters.map(({ name, value }) => [name, value]));
  const lines = [
    `# Settings of group ${view.group}, revision ${view.revision}. Save to apply; leave as it is to change nothing.`,
    ...Object.entries(SETTINGS).map(([key, { meaning }]) => `#   ${key}: ${meaning}`),
    `#   ${HBA_KEY}: rules for pg_hba.conf on every node, such as - host all all 10.0.0.0/24 scram-sha-256`,
    `#   ${SECTION}: parameters of PostgreSQL on every node, such as work_mem: 64MB`,
    `#   ${SLOTS}: logical replication slots that survive a failover, such as cdc: app:pgoutput`,
  ];
  const slots = Object.fromEntries(
    wantedSlots(view).map(({ name, wanted }) => [name, logicalSlotText(wanted)]),
  );
  const body = stringify(
    { ...settings, [HBA_KEY]: view.hba, [SECTION]: parameters, [SLOTS]: slots },
    { lineWidth: 0, schema: 'failsafe' },
  );
  return `${lines.join('\n')}\n${body}`;
}

/** What the text asks for, without what is so already; or what is wrong with it. A setting that is left out stays, a parameter goes. */
export function editedChange(view: SettingsView, text: string): Change | string {
  let document: unknown;
  try {
    // All as text: `010` and `on` are not read as something else.
    document = parse(text, { schema: 'failsafe' });
  } catch (error) {
    return `it is not YAML: ${(error as Error).message.split('\n')[0] ?? ''}`;
  }
  if (!isMap(document)) return 'it holds no settings: expected KEY: VALUE lines';
  const { [SECTION]: section, [HBA_KEY]: rules, [SLOTS]: slotSection, ...settings } = document;
  // One of before logical slots, or without that part, takes none away.
  const slots = slotSection === '' ? {} : slotSection;
  if (slots !== undefined && !isMap(slots)) return `${SLOTS}: expected NAME: DATABASE:PLUGIN lines below it`;
  const parameters = section === undefined || section === '' ? {} : section;
  if (!isMap(parameters)) return `${SECTION}: expected NAME: VALUE lines below it`;
  const wanted = new Map<string, string>();
  if (Array.isArray(rules) && rules.every((rule) => typeof rule === 'string'))
    wanted.set(HBA_KEY, hbaLinesOf(rules.join('\n')).join('\n'));
  else if (typeof rules === 'string') wanted.set(HBA_KEY, hbaLinesOf(rules).join('\n'));
  else if (rules !== undefined) return `${HBA_KEY}: expected a list of pg_hba.conf lines`;
  for (const [key, value] of [
    ...Object.entries(settings),
    ...Object.entries(parameters).map(
      ([name, each]) => [`${PARAMETER_PREFIX}${name.toLowerCase()}`, each] as const,
    ),
    ...Object.entries(slots ?? {}).map(([name, each]) => [`${LOGICAL_SLOT_PREFIX}${name}`, each] as const),
  ]) {
    if (typeof value !== 'string') return `${key}: expected one value`;
    if (wanted.has(key)) return `${key} is given twice`;
    wanted.set(key, value);
  }
  const present = presentValues(view);
  const changed = new Map<string, string | undefined>(
    [...wanted].filter(([key, value]) => present.get(key) !== value),
  );
  for (const { name } of view.parameters)
    if (!wanted.has(`${PARAMETER_PREFIX}${name}`)) changed.set(`${PARAMETER_PREFIX}${name}`, undefined);
  for (const { name } of slots === undefined ? [] : wantedSlots(view))
    if (!wanted.has(`${LOGICAL_SLOT_PREFIX}${name}`)) changed.set(`${LOGICAL_SLOT_PREFIX}${name}`, undefined);
  try {
    return changeOf(changed);
  } catch (error) {
    if (error instanceof CliError) return error.message;
    throw error;
  }
}

/** One line for each difference: `acks: 1 -> 2`. */
export function differenceText(
  view: SettingsView,
  { change, parameters, hba, logicalSlots = [] }: Change,
): string[] {
  const present = presentValues(view);
  const next = { ...view.settings, ...change };
  const settings = Object.entries(SETTINGS)
    .filter(([, { field }]) => next[field] !== view.settings[field])
    .map(([key, { exact }]) => `${key}: ${exact(view.settings)} -> ${exact(next)}`);
  const others = parameters.map(({ name, value }) => {
    const key = `${PARAMETER_PREFIX}${name}`;
    return `${key}: ${present.get(key) ?? '(not set)'} -> ${value ?? '(not set)'}`;
  });
  const slots = logicalSlots.map(({ name, wanted }) => {
    const key = `${LOGICAL_SLOT_PREFIX}${name}`;
    return `${key}: ${present.get(key) ?? '(not set)'} -> ${wanted === undefined ? '(not set)' : logicalSlotText(wanted)}`;
  });
  return [...settings, ...others, ...slots, ...hbaDifferenceText(view.hba, hba)];
}

function hbaDifferenceText(before: readonly string[], after: readonly string[] | undefined): string[] {
  if (after === undefined) return [];
  const gone = before.filter((line) => !after.includes(line)).map((line) => `${HBA_KEY}: - ${line}`);
  const come = after.filter((line) => !before.includes(line)).map((line) => `${HBA_KEY}: + ${line}`);
  return gone.length + come.length === 0 ? [`${HBA_KEY}: another order`] : [...gone, ...come];
}

function presentValues(view: SettingsView): Map<string, string> {
  return new Map([
    ...Object.entries(SETTINGS).map(([key, { exact }]) => [key, exact(view.settings)] as const),
    ...view.parameters.map(({ name, value }) => [`${PARAMETER_PREFIX}${name}`, value] as const),
    ...wantedSlots(view).map(
      ({ name, wanted }) => [`${LOGICAL_SLOT_PREFIX}${name}`, logicalSlotText(wanted)] as const,
    ),
    [HBA_KEY, view.hba.join('\n')],
  ]);
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
