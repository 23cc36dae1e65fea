// Which of the parameters and rules for pg_hba.conf in the log this node's PostgreSQL is known to take, and which it has refused: those must
// never keep it from starting. What was refused is not given to it again before the log says something else. Survives sentineld.
import { type Owner, readOwnFileSync, writeFileDurably } from '../postgres/durable-files.ts';
import { hbaLineDanger, hbaLinesProblem } from '../cluster/hba-rules.ts';

export interface TakenSettings {
  /** The log's parameters as they are to be written: without those that were refused, which are as they were before. */
  parameters(): ReadonlyMap<string, string>;
  /** The log's rules, or those before where they were refused. */
  hba(): readonly string[];
  /** Those with which PostgreSQL has run last. */
  provenHba(): readonly string[];
  /** Names of parameters in the file that PostgreSQL may not start with: it has not shown yet that it takes them. */
  unprovenParameters(written: WrittenParameters): readonly string[];
  /** Left out: the log's, as they are now. */
  isHbaProven(lines?: readonly string[]): boolean;
  /** Names of the log's parameters that were refused as they stand there. */
  refusedParameters(): readonly string[];
  hbaRefusal(): string | undefined;
  /** PostgreSQL has these parameters as the file has them. */
  proveParameters(names: Iterable<string>, written: WrittenParameters): Promise<void>;
  proveHba(lines: readonly string[]): Promise<void>;
  /** It does not start with those as the file has them. */
  refuseParameters(names: readonly string[], written: WrittenParameters): Promise<void>;
  /** It does not take the rules. */
  refuseHba(lines: readonly string[], reason: string): Promise<void>;
  /** Nothing is held against the present ones: it was not for them. */
  forgiveAll(): Promise<void>;
}

/** The log's parameters as they were when the file was written: the log may be further by the time PostgreSQL has read that. */
export interface WrittenParameters {
  readonly group: ReadonlyMap<string, string>;
  /** Names of those that the file has otherwise, for now. */
  readonly held: readonly string[];
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

  const provenHba = (): readonly string[] => kept.hba.filter((line) => hbaLineDanger(line) === undefined);
  const hba = (): readonly string[] => (hbaRefusal() === undefined ? options.groupHba() : provenHba());

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
    provenHba,
    unprovenParameters: ({ group, held }) =>
      [...new Set([...group.keys(), ...Object.keys(kept.parameters)])].filter(
        (name) => !held.includes(name) && (group.get(name) ?? null) !== before(name),
      ),
    isHbaProven: (lines = hba()) => isSame(kept.hba, lines),
    refusedParameters: () => [...names()].filter(isRefused).toSorted(),
    hbaRefusal,
    async proveParameters(taken, { group }) {
      const parameters = { ...kept.parameters };
      for (const name of taken) {
        const value = group.get(name);
        if (value === undefined) delete parameters[name];
        else parameters[name] = value;
      }
      await keep({ ...kept, parameters });
    },
    proveHba: (lines) => keep({ ...kept, hba: [...lines] }),
    refuseParameters(refused, { group }) {
      // What was refused before stays so for as long as the log says the same.
      const still = Object.entries(kept.refusedParameters).filter(([name]) => isRefused(name));
      const now = refused.map((name) => [name, group.get(name) ?? null] as const);
      return keep({ ...kept, refusedParameters: Object.fromEntries([...still, ...now]) });
    },
    refuseHba: (lines, reason) => keep({ ...kept, refusedHba: { lines: [...lines], reason } }),
    forgiveAll: () => keep({ ...kept, refusedParameters: {}, refusedHba: null }),
  };
}

const isSame = (some: readonly string[], others: readonly string[]): boolean =>
  some.length === others.length && some.every((line, at) => line === others[at]);

const FILE_BYTES_MAX = 16 << 20;

/** What cannot be read is nothing known: then all of the log's is tried again. */
function readKept(path: string): Kept {
  try {
    const text = readOwnFileSync(path, undefined, FILE_BYTES_MAX);
    return text === undefined ? NOTHING : { ...NOTHING, ...(JSON.parse(text) as Partial<Kept>) };
  } catch {
    return NOTHING;
  }
}
