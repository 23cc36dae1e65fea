// A server that somebody else has made and started: what of its settings and of its pg_hba.conf stays when it becomes ours, what is
// replaced. Pure but for the unit of a process; changes nothing.
import { readFileSync } from 'node:fs';
import { shownHbaLine } from '../cluster/hba-rules.ts';
import { RESERVED_PARAMETERS } from './reserved-parameters.ts';
import { parseSettings, renderSetting } from './settings.ts';

/** A setting that somebody has made, as it would be at the next start. */
export interface ForeignSetting {
  readonly name: string;
  /** As it was written. */
  readonly value: string;
  /** `configuration file` or `command line`. */
  readonly source: string;
  readonly file: string | undefined;
}

/** Places of files, which are where PostgreSQL looks for them without being told. */
const PLACES = new Set(['stats_temp_directory', 'data_directory_mode']);

/** What stays as it is: all that pg-sentinel does not set itself. */
export function keptSettings(settings: readonly ForeignSetting[]): readonly ForeignSetting[] {
  return settings.filter(({ name }) => !RESERVED_PARAMETERS.has(name) && !PLACES.has(name));
}

/** Whether a server decodes logically, or is to from its next start on: it goes on so as one of ours. `isWalLogical`: by its control file. */
export function isToDecode(settings: readonly ForeignSetting[], isWalLogical: boolean): boolean {
  return isWalLogical || isLogical(settings.findLast(({ name }) => name === 'wal_level')?.value);
}

/** As PostgreSQL reads it. */
export const isLogical = (walLevel: string | undefined): boolean => walLevel?.toLowerCase() === 'logical';

/** What gets another value, with both; the present ones come by name. */
export function replacedSettings(
  present: ReadonlyMap<string, { readonly value: string; readonly isRestartNeeded: boolean }>,
  ours: Readonly<Record<string, string>>,
): string[] {
  return Object.entries(ours).flatMap(([name, value]) => {
    const now = present.get(name);
    if (now === undefined || now.value === value) return [];
    return [`${name}: '${now.value}' -> '${value}'${now.isRestartNeeded ? ' (with its restart)' : ''}`];
  });
}

const TAKEN_OVER = '# Taken over by pg-sentinel from';
const TAKEN_OVER_END = '# End of what pg-sentinel has taken over.';

/**
 * The postgresql.conf of the data directory from now on, or undefined where it may stay as it is: `configFile` lies there, and nothing
 * came from the command line. What ALTER SYSTEM has set stays in postgresql.auto.conf, but for `wal_level`, which is taken out there as one of ours.
 */
export function takenOverConfiguration(options: {
  readonly settings: readonly ForeignSetting[];
  readonly configFile: string;
  readonly isInside: boolean;
  /** It is to have `wal_level = logical`, which is ours otherwise. */
  readonly decodes: boolean;
  /** The file as it is now. */
  readonly present: string;
}): string | undefined {
  const { settings, isInside, decodes, configFile, present } = options;
  const taken = keptSettings(settings).filter(
    ({ source, file }) =>
      source === 'command line' || (!isInside && file?.endsWith('/postgresql.auto.conf') !== true),
  );
  const [before, after] = isInside ? aroundTaken(present) : ['', ''];
  const isSaid = isLogical(parseSettings(`${before}${after}`).get('wal_level'));
  const walLevel = decodes && !isSaid ? [renderSetting('wal_level', 'logical')] : [];
  if (isInside && taken.length + walLevel.length === 0)
    return before === present ? undefined : `${before}${after}`;
  const from = !isInside ? configFile : taken.length > 0 ? 'the command line' : 'the running server';
  const lines = [...taken.map(({ name, value }) => renderSetting(name, value)), ...walLevel];
  const text = [`${TAKEN_OVER} ${from}.`, ...lines, TAKEN_OVER_END].join('\n');
  return `${before.trimEnd()}${before.trim() === '' ? '' : '\n\n'}${text}\n${after}`;
}

/**
 * That file, where its server has been set to decode since it was taken over; undefined where it says so already. All else in it stays.
 */
export function withDecoding(present: string): string | undefined {
  if (isLogical(parseSettings(present).get('wal_level'))) return undefined;
  const line = `${renderSetting('wal_level', 'logical')}\n`;
  const end = present.indexOf(TAKEN_OVER_END);
  return end < 0
    ? takenOverConfiguration({ settings: [], configFile: '', isInside: true, decodes: true, present })
    : `${present.slice(0, end)}${line}${present.slice(end)}`;
}

/** The configuration file that a postgresql.conf was taken over from; undefined where it was not, or from a command line. */
export function takenOverFrom(text: string): string | undefined {
  return new RegExp(`^${TAKEN_OVER} (/.*)\\.$`, 'm').exec(text)?.[1];
}

/** What stands before and after the block of an earlier pass, which somebody may have gone on after. */
function aroundTaken(present: string): readonly [string, string] {
  const begin = present.indexOf(TAKEN_OVER);
  if (begin < 0) return [present, ''];
  const end = present.indexOf(TAKEN_OVER_END, begin);
  return [present.slice(0, begin), end < 0 ? '' : present.slice(end + TAKEN_OVER_END.length + 1)];
}

/** Settings on the command line of a server, as its `postmaster.opts` has it: `"-c" "name=value"`, `"--name=value"`. */
export function settingsOfCommandLine(options: string): Map<string, string> {
  const words = [...options.matchAll(/"([^"]*)"/g)].map(([, word]) => word ?? '');
  const settings = new Map<string, string>();
  for (const [at, word] of words.entries()) {
    const given = word === '-c' ? words[at + 1] : /^(?:-c|--)(.+)$/s.exec(word)?.[1];
    const [, name, value] = /^([\w.-]+)=(.*)$/s.exec(given ?? '') ?? [];
    if (name !== undefined && value !== undefined)
      settings.set(name.replaceAll('-', '_').toLowerCase(), value);
  }
  return settings;
}

const BEGIN = '# pg-sentinel: begin; of no use any more once pg-sentinel has restarted this server';
const END = '# pg-sentinel: end';

/** The pg_hba.conf of an adopted primary: ours in front, for its standbys and the probes, and all that was there behind. */
export function hbaWithOurs(present: string, ours: readonly string[]): string {
  return `${[BEGIN, ...ours, END].join('\n')}\n${withoutOurs(present)}`;
}

/** The file as its owner wrote it. */
export function withoutOurs(present: string): string {
  const begin = present.indexOf(BEGIN);
  const end = present.indexOf(END);
  return begin < 0 || end < begin ? present : present.slice(0, begin) + present.slice(end + END.length + 1);
}

export interface HbaLines {
  /** For ours, behind the lines of pg-sentinel's own accounts. */
  readonly kept: readonly string[];
  /** Those for replication: whoever replicates beside pg-sentinel's own accounts needs a line of his own. */
  readonly left: readonly string[];
  /** Why the file cannot be taken over. */
  readonly problem: string | undefined;
}

export function hbaLines(text: string): HbaLines {
  const lines = withoutOurs(text)
    .replaceAll('\\\n', ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  const isOfReplication = (line: string): boolean => databasesOf(line).includes('replication');
  const include = lines.find((line) => line.startsWith('include') || line.includes('@'));
  return {
    kept: lines.filter((line) => !isOfReplication(line)),
    left: lines.filter(isOfReplication),
    problem:
      include === undefined
        ? undefined
        : `its pg_hba.conf reads another file ("${shownHbaLine(include)}"): write what that holds into pg_hba.conf itself`,
  };
}

/** Of one rule. A list goes on after a comma, with or without blanks; what is quoted is no keyword. */
function databasesOf(rule: string): string[] {
  const [, list = ''] = /^\S+\s+((?:(?:"[^"]*"|[^\s,"])+|,\s*)+)/.exec(rule) ?? [];
  return list.trimEnd().split(/,\s*/);
}

/** The systemd unit that the process belongs to, such as `postgresql@15-main.service`. */
export function unitOf(pid: number): string | undefined {
  try {
    return /\/(postgres[^/]*\.service)/.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
