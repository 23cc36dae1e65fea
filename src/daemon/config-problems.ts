// What is wrong with a configuration, said so that it can be put right without looking anything up: file, line, key,
// value, and what was expected. Turns zod's issues into such problems. Never shows the value of a password.
import type { z } from 'zod';
import { didYouMean } from '../base/did-you-mean.ts';

export interface ConfigProblem {
  /** `node.data_directory`; empty for the file as a whole. */
  readonly key: string;
  readonly line: number | undefined;
  /** `"data" is given, expected an absolute path`: value and what would be right. */
  readonly text: string;
}

/** Lists everything that is wrong with one file, in the order of its lines. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly file: string;
  readonly problems: readonly ConfigProblem[];

  constructor(file: string, problems: readonly ConfigProblem[]) {
    const inOrder = problems.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0));
    super(inOrder.map((problem) => formatProblem(file, problem)).join('\n'));
    this.file = file;
    this.problems = inOrder;
  }
}

/** `/etc/pg-sentinel/sentineld.yaml:12: node.data_directory: ...` */
export function formatProblem(file: string, problem: ConfigProblem): string {
  const place = problem.line === undefined ? file : `${file}:${problem.line}`;
  return problem.key === '' ? `${place}: ${problem.text}` : `${place}: ${problem.key}: ${problem.text}`;
}

type Path = readonly PropertyKey[];
/** What the conversion needs to know of the file. */
interface ProblemContext {
  readonly data: unknown;
  readonly lineOf: (path: Path) => number | undefined;
  /** JSON Schema of the file, for the names of known keys. */
  readonly jsonSchema: Record<string, unknown>;
}

/** One problem for each key, in the order of zod's issues; each unknown key is a problem of its own. */
export function problemsOfIssues(
  issues: readonly z.core.$ZodIssue[],
  context: ProblemContext,
): ConfigProblem[] {
  const problems = issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => unknownKey([...issue.path, key], context))
      : [wrongValue(issue, context)],
  );
  const seen = new Set<string>();
  return problems.filter(({ key }) => !seen.has(key) && seen.add(key));
}

/** `"data" is given, expected an absolute path`; a password is not shown. */
export function wrong(key: string, value: unknown, expected: string): string {
  if (value === undefined) return `missing; expected ${expected}`;
  if (value === null) return `empty; expected ${expected}, or leave the key out`;
  const shown = /(^|\.)password$/.test(key) ? `a ${typeof value} (not shown)` : show(value);
  return `${shown} is given; expected ${expected}`;
}

function unknownKey(path: Path, context: ProblemContext): ConfigProblem {
  const word = String(path.at(-1));
  const known = knownKeys(context.jsonSchema, path.slice(0, -1));
  const near = didYouMean(word, known);
  const elsewhere = near === undefined ? placesOf(context.jsonSchema, word) : [];
  const hint =
    near !== undefined
      ? `did you mean "${near}"?`
      : elsewhere.length > 0
        ? `it belongs to ${elsewhere.join(' or ')}`
        : `known here: ${known.join(', ')}`;
  return { key: path.join('.'), line: context.lineOf(path), text: `unknown key; ${hint}` };
}

function wrongValue(issue: z.core.$ZodIssue, context: ProblemContext): ConfigProblem {
  const key = issue.path.join('.');
  const line = context.lineOf(issue.path);
  if (issue.code === 'invalid_key') {
    const rule = issue.issues[0]?.message ?? 'another name';
    return { key, line, text: `"${String(issue.path.at(-1))}" is no name for this; expected ${rule}` };
  }
  const value = valueAt(context.data, issue.path);
  const unitless = key.startsWith('timing.') && /^\d+(\.\d+)?$/.test(String(value));
  const hint = unitless ? `; did you mean "${String(value)}ms"?` : '';
  return { key, line, text: wrong(key, value, issue.message) + hint };
}

function valueAt(data: unknown, path: Path): unknown {
  let value = data;
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

function show(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return typeof value === 'string'
    ? JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text)
    : text;
}

type JsonObject = {
  readonly properties?: Record<string, JsonObject>;
  readonly anyOf?: readonly JsonObject[];
};

function propertiesOf(schema: JsonObject | undefined): Record<string, JsonObject> {
  return (
    schema?.properties ?? schema?.anyOf?.find((option) => option.properties !== undefined)?.properties ?? {}
  );
}

function knownKeys(schema: JsonObject, path: Path): string[] {
  let at: JsonObject | undefined = schema;
  for (const part of path) at = propertiesOf(at)[String(part)];
  return Object.keys(propertiesOf(at));
}

/** The sections that know a key of this name: someone may only have indented it wrongly. */
function placesOf(schema: JsonObject, word: string, prefix = ''): string[] {
  return Object.entries(propertiesOf(schema)).flatMap(([key, child]) => [
    ...(key === word ? [prefix === '' ? 'the top level' : `"${prefix}"`] : []),
    ...placesOf(child, word, prefix === '' ? key : `${prefix}.${key}`),
  ]);
}
