// Which of the parameters and rules for pg_hba.conf in the log this node's PostgreSQL is known to take, and which it has refused: those must
// never keep it from starting. What was refused is not given to it again before the log says something else. Survives sentineld.
import { readFileSync } from 'node:fs';
import type { Owner } from '../postgres/durable-files.ts';
import { writeFileDurably } from '../postgres/durable-files.ts';
import { hbaLineDanger, hbaLinesProblem } from '../cluster/hba-rules.ts';

export interface TakenSettings {
  /** The log's parameters as they are to be written: without those that were refused, which are as they were before. */
  parameters(): ReadonlyMap<string, string>;
  /** The log's rules, or those before where they were refused. */
  hba(): readonly string[];
  /** Names of parameters that PostgreSQL may not start with: it has not shown yet that it takes them. */
  unprovenParameters(): readonly string[];
  isHbaProven(): boolean;
  /** Names of the log's parameters that were refused as they stand there. */
  refusedParameters(): readonly string[];
  hbaRefusal(): string | undefined;
  /** PostgreSQL has these parameters of the log as they are now. */
  proveParameters(names: Iterable<string>): Promise<void>;
  proveHba(): Promise<void>;
  /** It does not start with those as they are now. */
  refuseParameters(names: readonly string[]): Promise<void>;
  /** It does not take the rules as they are now. */
  refuseHba(reason: string): Promise<void>;
  /** Nothing is held against the present ones: it was not for them. */
  forgiveAll(): Promise<void>;
}

interface Kept {
  /** With which PostgreSQL has run. */
  readonly parameters: Readonly<Record<string, string>>;
  /** The value that was refused; null: that it was not set. */
  readonly refusedParameters: Readonly<Record<string, string | null>>;
  readonly hba: readonly string[];
  readonly refusedHba: { readonly lines: readonly string[]; readonly reason: string } | null;
}

const NOTHING: Kept = { parameters: {}, refusedParameters: {}, hba: [], refusedHba: null };

export function createTakenSettings(options: {
  readonly path: string;
  readonly owner: Owner | undefined;
  readonly groupParameters: () => ReadonlyMap<string, string>;
  readonly groupHba: () => readonly string[];
}): TakenSettings {
  let kept = readKept(options.path);

  const keep = async (next: Kept): Promise<void> => {
    if (JSON.stringify(next) === JSON.stringify(kept)) return;
    kept = next;
    // Beside the server's log; nobody but sentineld has to read it.
    await writeFileDurably({
      path: options.path,
      content: JSON.stringify(next),
      mode: 0o600,
      owner: undefined,
    });
  };

  const present = (name: string): string | null => options.groupParameters().get(name) ?? null;
  const before = (name: string): string | null =>
    Object.hasOwn(kept.parameters, name) ? (kept.parameters[name] ?? null) : null;
  const isRefused = (name: string): boolean =>
    Object.hasOwn(kept.refusedParameters, name) && kept.refusedParameters[name] === present(name);

  const names = (): Set<string> =>
    new Set([...options.groupParameters().keys(), ...Object.keys(kept.parameters)]);

  const hbaRefusal = (): string | undefined => {
    const lines = options.groupHba();
    const { refusedHba } = kept;
    if (refusedHba !== null && isSame(refusedHba.lines, lines)) return refusedHba.reason;
    // Another version has let them into the log.
    return hbaLinesProblem(lines);
  };

  const hba = (): readonly string[] =>
    hbaRefusal() === undefined
      ? options.groupHba()
      : kept.hba.filter((line) => hbaLineDanger(line) === undefined);

  return {
    parameters() {
      const due = new Map<string, string>();
      for (const name of [...names()].toSorted()) {
        const value = isRefused(name) ? before(name) : present(name);
        if (value !== null) due.set(name, value);
      }
      return due;
    },
    hba,
    unprovenParameters: () =>
      [...names()].filter((name) => !isRefused(name) && present(name) !== before(name)),
    isHbaProven: () => isSame(kept.hba, hba()),
    refusedParameters: () => [...names()].filter(isRefused).toSorted(),
    hbaRefusal,
    async proveParameters(taken) {
      const parameters = { ...kept.parameters };
      for (const name of taken) {
        const value = present(name);
        if (value === null) delete parameters[name];
        else if (!isRefused(name)) parameters[name] = value;
      }
      await keep({ ...kept, parameters });
    },
    proveHba: () => keep({ ...kept, hba: [...hba()] }),
    refuseParameters: (refused) =>
      keep({
        ...kept,
        refusedParameters: Object.fromEntries(refused.map((name) => [name, present(name)])),
      }),
    refuseHba: (reason) => keep({ ...kept, refusedHba: { lines: [...options.groupHba()], reason } }),
    forgiveAll: () => keep({ ...kept, refusedParameters: {}, refusedHba: null }),
  };
}

const isSame = (some: readonly string[], others: readonly string[]): boolean =>
  some.length === others.length && some.every((line, at) => line === others[at]);

/** What cannot be read is nothing known: then all of the log's is tried again. */
function readKept(path: string): Kept {
  try {
    const read = JSON.parse(readFileSync(path, 'utf8')) as Partial<Kept>;
    return { ...NOTHING, ...read };
  } catch {
    return NOTHING;
  }
}
