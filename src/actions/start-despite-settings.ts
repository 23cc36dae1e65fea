// A start of PostgreSQL that must not fail for what people have set in the log: what it has not been seen to run with is taken back and
// announced, and it is started with what it had before. Where that does not help either, it was not for the settings.
import { StartError } from '../postgres/lifecycle.ts';
import type { TakenSettings, WrittenParameters } from './taken-settings.ts';

/** What the files have of the log. */
export interface WrittenFiles {
  readonly parameters: WrittenParameters;
  /** Undefined: pg_hba.conf has none of its rules, such as where clients are kept out. */
  readonly hba: readonly string[] | undefined;
}

export async function startDespiteSettings<T>(options: {
  readonly taken: TakenSettings;
  readonly start: () => Promise<T>;
  readonly written: () => WrittenFiles;
  /** Writes the files anew, without what was refused. */
  readonly rewrite: () => Promise<void>;
  readonly onRefused: (message: string) => void;
  readonly signal: AbortSignal;
}): Promise<T> {
  const { taken, rewrite, signal } = options;
  let failure = await attempt(options.start);
  if (!(failure.error instanceof StartError)) return resultOf(failure);
  if (suspectsOf(taken, options.written(), failure.error).isToRepeat) {
    // It may have been for something that is over: nothing of the settings was named.
    signal.throwIfAborted();
    failure = await attempt(options.start);
    if (!(failure.error instanceof StartError)) return resultOf(failure);
  }
  const { error } = failure;
  const written = options.written();
  const { names, hba } = suspectsOf(taken, written, error);
  if (names.length === 0 && hba === undefined) throw error;
  signal.throwIfAborted();
  if (names.length > 0) await taken.refuseParameters(names, written.parameters);
  if (hba !== undefined) await taken.refuseHba(hba, `PostgreSQL did not start: ${error.message}`);
  await rewrite();
  const again = await attempt(options.start);
  if (again.error instanceof StartError) {
    await taken.forgiveAll();
    await rewrite();
  }
  const started = resultOf(again);
  const what = [
    names.length === 0 ? '' : `the parameters ${names.map((name) => `postgresql.${name}`).join(', ')}`,
    hba === undefined ? '' : 'the rules for pg_hba.conf',
  ].filter((text) => text !== '');
  options.onRefused(
    `PostgreSQL does not start with ${what.join(' and ')} of the settings; it runs with what was there before: ${error.message}`,
  );
  return started;
}

/** What of the log PostgreSQL may not start with, by what it says. `isToRepeat`: it says nothing of any of them. */
function suspectsOf(
  taken: TakenSettings,
  { parameters, hba }: WrittenFiles,
  { message }: StartError,
): {
  readonly names: readonly string[];
  readonly hba: readonly string[] | undefined;
  readonly isToRepeat: boolean;
} {
  const isOfHba = message.includes('pg_hba.conf');
  const names = isOfHba ? [] : taken.unprovenParameters(parameters);
  const isNamed = names.some((name) => {
    const value = parameters.group.get(name) ?? '';
    return message.includes(name) || (value.length >= VALUE_LENGTH_MIN && message.includes(value));
  });
  return {
    names,
    hba: isOfHba && hba !== undefined && !taken.isHbaProven(hba) ? hba : undefined,
    isToRepeat: names.length > 0 && !isNamed,
  };
}

/** A shorter one may stand in any message. */
const VALUE_LENGTH_MIN = 4;

type Attempt<T> = { readonly started: T; readonly error?: never } | { readonly error: unknown };

const attempt = <T>(start: () => Promise<T>): Promise<Attempt<T>> =>
  start().then(
    (started) => ({ started }),
    (error: unknown) => ({ error }),
  );

function resultOf<T>(attempted: Attempt<T>): T {
  if ('started' in attempted) return attempted.started;
  throw attempted.error;
}
