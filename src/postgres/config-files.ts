// The files that a configuration of PostgreSQL consists of: postgresql.conf and what it includes (PostgreSQL documentation 20.1.5), on this
// host or on another server, through what reads them there. Reads only.
import { dirname, isAbsolute, join, resolve } from 'node:path';
import type { ForeignSetting } from './foreign-server.ts';
import { parseSettings } from './settings.ts';

export interface ConfigReader {
  /** Undefined where there is no such file. {@link UnreadableError} where it may not be read. */
  read(path: string): Promise<string | undefined>;
  /** The names in a directory; undefined where there is none. */
  list(directory: string): Promise<readonly string[] | undefined>;
}

export class UnreadableError extends Error {
  override readonly name = 'UnreadableError';
}

export interface ConfigFileText {
  readonly path: string;
  readonly text: string;
}

export interface ConfigTree {
  /** Each once, the one that was asked for first. */
  readonly files: readonly ConfigFileText[];
  /** Named by one of them, and not there. */
  readonly missing: readonly string[];
  /** Named by one of them, and not to be read, with why. */
  readonly unreadable: ReadonlyMap<string, string>;
}

/** PostgreSQL itself gives up at ten. */
const DEPTH_MAX = 10;

/** The file at `path` and all that it includes. */
export async function readConfigTree(reader: ConfigReader, path: string): Promise<ConfigTree> {
  const files = new Map<string, string>();
  const missing = new Set<string>();
  const unreadable = new Map<string, string>();
  const visit = async (at: string, depth: number, isOptional: boolean): Promise<void> => {
    if (files.has(at) || depth > DEPTH_MAX) return;
    const text = await attempt(at, () => reader.read(at));
    if (text === undefined) {
      if (!isOptional && !unreadable.has(at)) missing.add(at);
      return;
    }
    files.set(at, text);
    for (const { directive, path: included } of includesOf(text, at)) {
      if (directive !== 'include_dir') await visit(included, depth + 1, directive === 'include_if_exists');
      else {
        const names = await attempt(included, () => reader.list(included));
        if (names === undefined && !unreadable.has(included)) missing.add(included);
        for (const name of configNames(names ?? [])) await visit(join(included, name), depth + 1, false);
      }
    }
  };
  const attempt = async <T>(at: string, work: () => Promise<T | undefined>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof UnreadableError)) throw error;
      unreadable.set(at, error.message);
      return undefined;
    }
  };
  await visit(path, 0, false);
  return { files: [...files].map(([at, text]) => ({ path: at, text })), missing: [...missing], unreadable };
}

/** What stands for a setting: of each the last one, as the server would read them, one file after the other. */
export function settingsOfTree(tree: ConfigTree): ForeignSetting[] {
  const texts = new Map(tree.files.map(({ path, text }) => [path, text]));
  const settings = new Map<string, ForeignSetting>();
  const read = (path: string, depth: number): void => {
    if (depth > DEPTH_MAX) return;
    for (const line of (texts.get(path) ?? '').split('\n')) {
      const [include] = includesOf(line, path);
      if (include !== undefined) {
        const { directive, path: at } = include;
        const named = [...texts.keys()].filter((each) => dirname(each) === at).toSorted();
        for (const each of directive === 'include_dir' ? named : [at]) read(each, depth + 1);
        continue;
      }
      for (const [name, value] of parseSettings(line)) {
        settings.delete(name);
        settings.set(name, { name, value, source: 'configuration file', file: path });
      }
    }
  };
  const [root] = tree.files;
  if (root !== undefined) read(root.path, 0);
  return [...settings.values()];
}

export interface Include {
  readonly directive: 'include' | 'include_if_exists' | 'include_dir';
  /** Absolute. */
  readonly path: string;
}

/** What the text of the file at `path` includes, in its order. */
export function includesOf(text: string, path: string): Include[] {
  return text.split('\n').flatMap((line) => {
    const found = parseInclude(line);
    if (found === undefined) return [];
    const { directive, given } = found;
    return [{ directive, path: isAbsolute(given) ? given : resolve(dirname(path), given) }];
  });
}

/** The text with its includes leading to what `moved` says; undefined: where they do now. */
export function withIncludes(
  text: string,
  path: string,
  moved: (path: string) => string | undefined,
): string {
  const lines = text.split('\n').map((line) => {
    const [include] = includesOf(line, path);
    const to = include === undefined ? undefined : moved(include.path);
    return include === undefined || to === undefined
      ? line
      : `${include.directive} '${to.replaceAll("'", "''")}'`;
  });
  return lines.join('\n');
}

function parseInclude(
  line: string,
): { readonly directive: Include['directive']; readonly given: string } | undefined {
  const match = /^\s*(include(?:_if_exists|_dir)?)\s*=?\s*(?:'((?:[^']|'')*)'|([^\s#'=]+))/i.exec(line);
  if (match?.[1] === undefined) return undefined;
  const given = match[2]?.replaceAll("''", "'") ?? match[3];
  if (given === undefined || given === '') return undefined;
  return { directive: match[1].toLowerCase() as Include['directive'], given };
}

/** Of a directory PostgreSQL reads those, in the order of their names. */
const configNames = (names: readonly string[]): string[] =>
  names.filter((name) => name.endsWith('.conf') && !name.startsWith('.')).toSorted();
