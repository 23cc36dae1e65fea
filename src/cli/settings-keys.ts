// The settings of a group by the names that people use: how each is written, and how it is read.
import { didYouMean } from '../base/did-you-mean.ts';
import { DURATION_RULE, formatDuration, parseDurationMs } from '../base/duration.ts';
import { isFailback, isSitePolicy } from '../cluster/apply-settings.ts';
import type { GroupSettings, LogicalSlotChange, ParameterChange } from '../cluster/commands.ts';
import {
  LOGICAL_SLOT_PREFIX,
  LOGICAL_SLOT_RULE,
  logicalSlotNameProblem,
  parseLogicalSlot,
} from '../cluster/logical-slots.ts';
import {
  HBA_KEY,
  PARAMETER_PREFIX,
  parameterNameProblem,
  parameterValueProblem,
} from '../cluster/parameters.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { hbaRulesOf } from './settings-hba.ts';
import { BYTES_RULE, UNIT_BYTES, formatBytes, parseBytes } from './format.ts';

export interface Setting {
  readonly meaning: string;
  /** For people, rounded. */
  readonly format: (settings: GroupSettings) => string;
  /** What `parse` makes the same settings of. */
  readonly exact: (settings: GroupSettings) => string;
  /** The key it has in the log. */
  readonly field: keyof GroupSettings;
  /** What the text asks for, or undefined where it is not `expected`. */
  readonly parse: (text: string) => Partial<GroupSettings> | undefined;
  readonly expected: string;
}

const COUNT_RULE = 'a whole number of 1 or more, with at most nine digits';

/** By the name that people use, in the order in which they are shown. */
export const SETTINGS: Readonly<Record<string, Setting>> = {
  durability: {
    meaning:
      'what a commit waits for: quorum (standbys, while there are any), strict (standbys, always), async (none)',
    format: ({ durability }) => durability,
    exact: ({ durability }) => durability,
    field: 'durability',
    parse: (text) =>
      text === 'quorum' || text === 'strict' || text === 'async' ? { durability: text } : undefined,
    expected: 'quorum, strict or async',
  },
  acks: {
    meaning:
      'standbys that flush a commit before it is acknowledged (quorum: all of them where there are fewer)',
    format: ({ acks }) => String(acks),
    exact: ({ acks }) => String(acks),
    field: 'acks',
    parse: (text) => withCount(text, (acks) => ({ acks })),
    expected: COUNT_RULE,
  },
  lease: {
    meaning:
      'async: how long the primary may take writes without word from a leader; a failover waits as long',
    format: ({ leaseMs }) => formatDuration(leaseMs),
    exact: ({ leaseMs }) => exactDuration(leaseMs),
    field: 'leaseMs',
    parse: (text) => withDuration(text, (leaseMs) => ({ leaseMs })),
    expected: DURATION_RULE,
  },
  max_lag: {
    meaning: 'async: a standby that is known to lack more is not promoted',
    format: ({ maxLagBytes }) => formatBytes(maxLagBytes),
    exact: ({ maxLagBytes }) => exactBytes(maxLagBytes),
    field: 'maxLagBytes',
    parse: (text) => {
      const maxLagBytes = parseBytes(text);
      return maxLagBytes === undefined ? undefined : { maxLagBytes };
    },
    expected: BYTES_RULE,
  },
  max_failovers: {
    meaning: 'so many failovers within failover_window hold the group until sentinelctl ack',
    format: ({ maxFailovers }) => String(maxFailovers),
    exact: ({ maxFailovers }) => String(maxFailovers),
    field: 'maxFailovers',
    parse: (text) => withCount(text, (maxFailovers) => ({ maxFailovers })),
    expected: COUNT_RULE,
  },
  failover_window: {
    meaning: 'see max_failovers',
    format: ({ failoverWindowMs }) => formatDuration(failoverWindowMs),
    exact: ({ failoverWindowMs }) => exactDuration(failoverWindowMs),
    field: 'failoverWindowMs',
    parse: (text) => withDuration(text, (failoverWindowMs) => ({ failoverWindowMs })),
    expected: DURATION_RULE,
  },
  slot_retention: {
    meaning: 'how long the replication slots of a member that is absent are kept',
    // Mostly hours, of which `formatDuration` knows none.
    format: ({ slotRetentionMs }) => exactDuration(slotRetentionMs),
    exact: ({ slotRetentionMs }) => exactDuration(slotRetentionMs),
    field: 'slotRetentionMs',
    parse: (text) => withDuration(text, (slotRetentionMs) => ({ slotRetentionMs })),
    expected: DURATION_RULE,
  },
  max_slot_wal: {
    meaning: 'how much WAL a replication slot may keep; one that falls further behind is lost',
    format: ({ maxSlotWalBytes }) => formatBytes(maxSlotWalBytes),
    exact: ({ maxSlotWalBytes }) => exactBytes(maxSlotWalBytes),
    field: 'maxSlotWalBytes',
    parse: (text) => {
      const maxSlotWalBytes = parseBytes(text);
      return maxSlotWalBytes === undefined ? undefined : { maxSlotWalBytes };
    },
    expected: BYTES_RULE,
  },
  site_policy: {
    meaning:
      'ignore; prefer (of candidates of equal priority one in the site of the old primary); majority (that, and none outside the site of most voters)',
    format: ({ sitePolicy }) => sitePolicy,
    exact: ({ sitePolicy }) => sitePolicy,
    field: 'sitePolicy',
    parse: (text) => (isSitePolicy(text) ? { sitePolicy: text } : undefined),
    expected: 'ignore, prefer or majority',
  },
  failback: {
    meaning: 'off, or the node or site that is made the primary again: node:NAME, site:NAME',
    format: ({ failback }) => failback,
    exact: ({ failback }) => failback,
    field: 'failback',
    parse: (text) => (isFailback(text) ? { failback: text } : undefined),
    expected: 'off, node:NAME or site:NAME',
  },
  failback_after: {
    meaning: 'how long it has to stream well before that',
    format: ({ failbackAfterMs }) => formatDuration(failbackAfterMs),
    exact: ({ failbackAfterMs }) => exactDuration(failbackAfterMs),
    field: 'failbackAfterMs',
    parse: (text) => withDuration(text, (failbackAfterMs) => ({ failbackAfterMs })),
    expected: DURATION_RULE,
  },
};

/** What is to change, and nothing else. */
export interface Change {
  readonly change: Partial<GroupSettings>;
  /** In the order of their names. */
  readonly parameters: readonly ParameterChange[];
  /** Rules for pg_hba.conf, in the place of those before. */
  readonly hba?: readonly string[];
  /** In the order of their names. */
  readonly logicalSlots?: readonly LogicalSlotChange[];
}

const NAMES = `${Object.keys(SETTINGS).join(', ')}, ${HBA_KEY}, ${LOGICAL_SLOT_PREFIX}SLOT, or ${PARAMETER_PREFIX}PARAMETER`;

/** Whether the word names a setting, rather than a group. */
export const isKey = (word: string): boolean =>
  Object.hasOwn(SETTINGS, word) || word === HBA_KEY || hasPrefix(word);

/** `there is no setting "ack"; did you mean acks?`, else which there are. */
function noSettingText(word: string): string {
  return `there is no setting "${word}"; ${meantSetting(word) ?? `there are: ${NAMES}`}`;
}

/** Undefined where no setting is near enough. */
export function meantSetting(word: string): string | undefined {
  const near = didYouMean(word, [...Object.keys(SETTINGS), HBA_KEY]);
  return near === undefined ? undefined : `did you mean ${near}?`;
}

const hasPrefix = (word: string): boolean =>
  word.startsWith(PARAMETER_PREFIX) || word.startsWith(LOGICAL_SLOT_PREFIX);

/** `KEY=VALUE` words. Throws a {@link CliError} that names the key, the value, and what would be right. */
export function parseSettings(words: readonly string[]): Change {
  if (words.length === 0) throw new CliError(EXIT.usage, `name a setting: KEY=VALUE, of ${NAMES}`);
  const values = new Map<string, string>();
  for (const word of words) {
    const at = word.indexOf('=');
    if (at < 0) throw new CliError(EXIT.usage, `"${word}" is no setting: expected KEY=VALUE, of ${NAMES}`);
    const key = keyOf(word.slice(0, at));
    if (values.has(key)) throw new CliError(EXIT.usage, `${key} is given twice`);
    values.set(key, word.slice(at + 1));
  }
  return changeOf(values);
}

/** The parameters and logical slots that are to be set no longer. Throws a {@link CliError}. */
export function parseUnset(words: readonly string[]): Change {
  const values = new Map<string, undefined>();
  for (const word of words) {
    const key = keyOf(word);
    if (!hasPrefix(key) && key !== HBA_KEY)
      throw new CliError(
        EXIT.usage,
        isKey(key)
          ? `${key} always has a value; change it with sentinelctl settings set`
          : `"${word}" cannot be unset: expected ${PARAMETER_PREFIX}PARAMETER, such as ${PARAMETER_PREFIX}work_mem, ${LOGICAL_SLOT_PREFIX}SLOT, or ${HBA_KEY}`,
      );
    if (values.has(key)) throw new CliError(EXIT.usage, `${key} is given twice`);
    values.set(key, undefined);
  }
  return changeOf(values);
}

/** By key; undefined: no longer set. Throws a {@link CliError} for what is none, or not as expected. */
export function changeOf(values: ReadonlyMap<string, string | undefined>): Change {
  let change: Partial<GroupSettings> = {};
  const parameters: ParameterChange[] = [];
  const logicalSlots: LogicalSlotChange[] = [];
  let hba: readonly string[] | undefined;
  for (const [key, value] of values) {
    if (key === HBA_KEY) {
      hba = hbaRulesOf(value ?? '');
      continue;
    }
    if (key.startsWith(LOGICAL_SLOT_PREFIX)) {
      logicalSlots.push(slotChange(key, value));
      continue;
    }
    if (key.startsWith(PARAMETER_PREFIX)) {
      const name = key.slice(PARAMETER_PREFIX.length);
      const problem =
        parameterNameProblem(name) ?? (value === undefined ? undefined : parameterValueProblem(name, value));
      if (problem !== undefined) throw new CliError(EXIT.usage, problem);
      parameters.push({ name, value });
      continue;
    }
    const setting = Object.hasOwn(SETTINGS, key) ? SETTINGS[key] : undefined;
    if (setting === undefined || value === undefined) throw new CliError(EXIT.usage, noSettingText(key));
    const part = setting.parse(value);
    if (part === undefined)
      throw new CliError(EXIT.usage, `${key}: "${value}" is given; expected ${setting.expected}`);
    change = { ...change, ...part };
  }
  return {
    change,
    parameters: parameters.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    ...(hba === undefined ? {} : { hba }),
    ...(logicalSlots.length === 0
      ? {}
      : { logicalSlots: logicalSlots.toSorted((a, b) => (a.name < b.name ? -1 : 1)) }),
  };
}

function slotChange(key: string, value: string | undefined): LogicalSlotChange {
  const name = key.slice(LOGICAL_SLOT_PREFIX.length);
  const problem = logicalSlotNameProblem(name);
  if (problem !== undefined) throw new CliError(EXIT.usage, problem);
  if (value === undefined) return { name, wanted: undefined };
  const wanted = parseLogicalSlot(value);
  if (wanted === undefined)
    throw new CliError(EXIT.usage, `${key}: "${value}" is given; expected ${LOGICAL_SLOT_RULE}`);
  return { name, wanted };
}

/** PostgreSQL's names are the same in upper case. */
function keyOf(word: string): string {
  return word.startsWith(PARAMETER_PREFIX) ? word.toLowerCase() : word;
}

const TEXTS: ReadonlySet<keyof GroupSettings> = new Set(['durability', 'sitePolicy', 'failback'] as const);

/** The key of the log (`leaseMs`) as people know it (`lease`), and its value for people. */
export function readable(key: string, value: string | undefined): { key: string; value: string } {
  const shown = value ?? '(not set)';
  const found = Object.entries(SETTINGS).find(([, { field }]) => field === key);
  if (found === undefined || value === undefined) return { key: found?.[0] ?? key, value: shown };
  const [name, { exact, field }] = found;
  const raw = TEXTS.has(field) ? value : Number(value);
  return { key: name, value: exact({ [field]: raw } as unknown as GroupSettings) };
}

function withCount<T>(text: string, then: (count: number) => T): T | undefined {
  const count = Number(text);
  return /^\d{1,9}$/.test(text) && count >= 1 ? then(count) : undefined;
}

function withDuration<T>(text: string, then: (ms: number) => T): T | undefined {
  const ms = parseDurationMs(text);
  return ms === undefined ? undefined : then(Math.round(ms));
}

/** In the greatest unit of which it is a whole number. */
function exactDuration(ms: number): string {
  const units = [
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1000],
  ] as const;
  const [unit, size] = units.find(([, each]) => ms >= each && ms % each === 0) ?? ['ms', 1];
  return `${ms / size}${unit}`;
}

function exactBytes(bytes: number): string {
  const units = Object.entries(UNIT_BYTES).toReversed();
  const [unit, size] = units.find(([, each]) => bytes >= each && bytes % each === 0) ?? ['B', 1];
  return `${bytes / size}${unit}`;
}
