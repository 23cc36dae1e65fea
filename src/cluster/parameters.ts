// PostgreSQL parameters of a group in the log, rules for its pg_hba.conf, and what was changed when by whom. Knows names and sizes only: which parameters PostgreSQL
// has differs by version, so that a peer which asked it here would apply something else than the others.
import { LOGICAL_SLOT_PREFIX, logicalSlotText } from './logical-slots.ts';
import type { LogIndex } from '../base/ids.ts';
import type { Command, ParameterChange } from './commands.ts';
import { type GroupState, type SettingsDifference, SETTINGS_RECORD_COUNT_MAX } from './state.ts';

export const PARAMETER_COUNT_MAX = 200;
const PARAMETER_VALUE_BYTES_MAX = 1024;
/** Of all names and values together: they are in one snapshot with everything else. */
const PARAMETERS_BYTES_MAX = 65_536;
export const HBA_COUNT_MAX = 500;
const HBA_LINE_BYTES_MAX = 1024;
const HBA_BYTES_MAX = 65_536;
const NAME_LENGTH_MAX = 128;
const BY_LENGTH_MAX = 128;
/** Of one record: a history of them all stays below a megabyte. */
const DIFFERENCE_COUNT_MAX = 32;
const SHOWN_LENGTH_MAX = 100;

/** What is wrong with the name of a parameter, or undefined. Upper case is for whoever asks to lower. */
export function parameterNameProblem(name: string): string | undefined {
  if (/^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_$]*)?$/.test(name) && name.length <= NAME_LENGTH_MAX)
    return undefined;
  return `"${shortened(name)}" is not the name of a PostgreSQL parameter: expected letters, digits and _ such as work_mem, or EXTENSION.NAME, of at most ${NAME_LENGTH_MAX} characters`;
}

/** What is wrong with one value, or undefined; whether PostgreSQL takes it is another question. */
export function parameterValueProblem(name: string, value: string): string | undefined {
  if (/\p{Cc}/u.test(value))
    return `postgresql.${name}: the value ${JSON.stringify(shortened(value))} holds a line break or another control character; it must be one line of text`;
  const bytes = byteLength(value);
  return bytes > PARAMETER_VALUE_BYTES_MAX
    ? `postgresql.${name}: the value has ${bytes} bytes; it may have ${PARAMETER_VALUE_BYTES_MAX} at most`
    : undefined;
}

/** The parameters after the changes, in the order of their names. */
export function changedParameters(
  present: ReadonlyMap<string, string>,
  changes: readonly ParameterChange[],
): ReadonlyMap<string, string> {
  if (changes.length === 0) return present;
  const next = new Map(present);
  for (const { name, value } of changes) {
    if (value === undefined) next.delete(name);
    else next.set(name, value);
  }
  return new Map([...next].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Why these changes cannot be made, or undefined; `next` is what they would lead to. */
export function parametersProblem(
  next: ReadonlyMap<string, string>,
  changes: readonly ParameterChange[],
): string | undefined {
  for (const { name, value } of changes) {
    const problem =
      parameterNameProblem(name) ?? (value === undefined ? undefined : parameterValueProblem(name, value));
    if (problem !== undefined) return problem;
  }
  if (changes.length === 0) return undefined;
  if (next.size > PARAMETER_COUNT_MAX)
    return `there would be ${next.size} PostgreSQL parameters; there may be ${PARAMETER_COUNT_MAX} at most`;
  let bytes = 0;
  for (const [name, value] of next) bytes += byteLength(name) + byteLength(value);
  return bytes > PARAMETERS_BYTES_MAX
    ? `the PostgreSQL parameters would have ${bytes} bytes together; they may have ${PARAMETERS_BYTES_MAX} at most`
    : undefined;
}

/** What is wrong with rules for pg_hba.conf by their size and characters alone; what they say is for hba-rules.ts. */
export function hbaProblem(lines: readonly string[]): string | undefined {
  if (lines.length > HBA_COUNT_MAX)
    return `there would be ${lines.length} hba lines; there may be ${HBA_COUNT_MAX} at most`;
  let total = 0;
  for (const [at, line] of lines.entries()) {
    if (/[\0\r\n]/.test(line))
      return `hba line ${at + 1} holds a line break; expected one rule for each line`;
    const bytes = byteLength(line);
    if (bytes > HBA_LINE_BYTES_MAX)
      return `hba line ${at + 1} has ${bytes} bytes; it may have ${HBA_LINE_BYTES_MAX} at most`;
    total += bytes;
  }
  return total > HBA_BYTES_MAX
    ? `the hba lines would have ${total} bytes together; they may have ${HBA_BYTES_MAX} at most`
    : undefined;
}

export function byProblem(by: string): string | undefined {
  return by.length > BY_LENGTH_MAX
    ? `who asks for a change has ${by.length} characters; ${BY_LENGTH_MAX} at most`
    : undefined;
}

/** The command as an event keeps it: a thousand of them are kept. */
export function forEvent(command: Command): Command {
  if (command.kind !== 'configure') return command;
  const parameters = command.parameters
    .slice(0, DIFFERENCE_COUNT_MAX)
    .map(({ name, value }) => ({ name, value: value === undefined ? undefined : shortened(value) }));
  const logicalSlots = command.logicalSlots
    ?.slice(0, DIFFERENCE_COUNT_MAX)
    .map(({ name, wanted }) => ({ name: shortened(name), wanted }));
  return {
    ...{ ...command, parameters },
    ...(command.hba === undefined ? {} : { hba: command.hba.slice(0, DIFFERENCE_COUNT_MAX).map(shortened) }),
    ...(logicalSlots === undefined ? {} : { logicalSlots }),
  };
}

/** The group after the change, with its record; nothing is recorded where nothing has changed. */
export function recorded(
  before: GroupState,
  after: GroupState,
  { index, atMs, by }: { readonly index: LogIndex; readonly atMs: number; readonly by: string },
): GroupState {
  const all = [...differences(before, after)];
  if (all.length === 0) return before;
  const record = {
    index,
    atMs: Math.trunc(atMs),
    by,
    differences: all.slice(0, DIFFERENCE_COUNT_MAX),
    more: Math.max(0, all.length - DIFFERENCE_COUNT_MAX),
  };
  const settingsHistory = [...before.settingsHistory, record].slice(-SETTINGS_RECORD_COUNT_MAX);
  return { ...after, settingsRevision: index, settingsHistory };
}

export const PARAMETER_PREFIX = 'postgresql.';

export const HBA_KEY = 'hba';

type Recorded = Pick<GroupState, 'settings' | 'parameters' | 'hba' | 'logicalSlots'>;

/** From one state of the settings to another: settings first, then parameters in the order of their names, then rules. */
export function* differences(before: Recorded, after: Recorded): Generator<SettingsDifference, void> {
  const keys = Object.keys(before.settings) as (keyof GroupState['settings'])[];
  for (const key of keys.toSorted()) {
    const [from, to] = [before.settings[key], after.settings[key]];
    if (from !== to) yield { key, from: String(from), to: String(to) };
  }
  const names = new Set([...before.parameters.keys(), ...after.parameters.keys()]);
  for (const name of [...names].toSorted()) {
    const [from, to] = [before.parameters.get(name), after.parameters.get(name)];
    if (from === to) continue;
    yield {
      key: `${PARAMETER_PREFIX}${name}`,
      from: from === undefined ? undefined : shortened(from),
      to: to === undefined ? undefined : shortened(to),
    };
  }
  yield* hbaDifferences(before.hba, after.hba);
  yield* slotDifferences(before.logicalSlots, after.logicalSlots);
}

function* slotDifferences(
  before: Recorded['logicalSlots'],
  after: Recorded['logicalSlots'],
): Iterable<SettingsDifference> {
  const textOf = (slots: Recorded['logicalSlots'], name: string): string | undefined => {
    const slot = slots.find((each) => each.name === name);
    return slot === undefined || slot.standing === 'unset' ? undefined : logicalSlotText(slot);
  };
  for (const { name } of after) {
    const [from, to] = [textOf(before, name), textOf(after, name)];
    if (from !== to) yield { key: `${LOGICAL_SLOT_PREFIX}${name}`, from, to };
  }
}

function* hbaDifferences(before: readonly string[], after: readonly string[]): Iterable<SettingsDifference> {
  if (before.length === after.length && before.every((line, at) => line === after[at])) return;
  const [had, has] = [new Set(before), new Set(after)];
  const [gone, come] = [before.filter((line) => !has.has(line)), after.filter((line) => !had.has(line))];
  for (const line of gone) yield { key: HBA_KEY, from: shortened(line), to: undefined };
  for (const line of come) yield { key: HBA_KEY, from: undefined, to: shortened(line) };
  // In another order, the same rules say something else.
  if (gone.length === 0 && come.length === 0)
    yield { key: HBA_KEY, from: shortened(before.join('; ')), to: shortened(after.join('; ')) };
}

function shortened(text: string): string {
  if (text.length <= SHOWN_LENGTH_MAX) return text;
  // Not between the halves of one character.
  return `${text.slice(0, SHOWN_LENGTH_MAX).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

const byteLength = (text: string): number => new TextEncoder().encode(text).length;
