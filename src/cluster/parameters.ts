// PostgreSQL parameters of a group in the log, and what was changed when by whom. Knows names and sizes only: which parameters PostgreSQL
// has differs by version, so that a peer which asked it here would apply something else than the others.
import type { LogIndex } from '../base/ids.ts';
import type { Command, ParameterChange } from './commands.ts';
import { type GroupState, type SettingsDifference, SETTINGS_RECORD_COUNT_MAX } from './state.ts';

export const PARAMETER_COUNT_MAX = 200;
const PARAMETER_VALUE_BYTES_MAX = 1024;
/** Of all names and values together: they are in one snapshot with everything else. */
const PARAMETERS_BYTES_MAX = 65_536;
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
  return { ...command, parameters };
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

/** From one state of the settings to another: settings first, then parameters in the order of their names. */
function* differences(
  before: Pick<GroupState, 'settings' | 'parameters'>,
  after: Pick<GroupState, 'settings' | 'parameters'>,
): Iterable<SettingsDifference> {
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
}

function shortened(text: string): string {
  if (text.length <= SHOWN_LENGTH_MAX) return text;
  // Not between the halves of one character.
  return `${text.slice(0, SHOWN_LENGTH_MAX).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

const byteLength = (text: string): number => new TextEncoder().encode(text).length;
