// What the command lines of the benchmarks share. Pure: says what is wrong, changes nothing.
import { parseArgs } from 'node:util';

/** The command line is wrong; the message names the option, its value and what would be right. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

type Options = Readonly<
  Record<string, { readonly type: 'string' | 'boolean'; readonly short?: string | undefined }>
>;

/** The options of a command line without positional arguments. Throws {@link UsageError} where one is unknown or lacks its value. */
export function parseOptions<const O extends Options>(
  argv: readonly string[],
  options: O,
): { readonly [K in keyof O]?: (O[K]['type'] extends 'string' ? string : boolean) | undefined } {
  try {
    return parseArgs({ args: [...argv], options }).values;
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

/** A whole number in `min` to `max`; undefined where the option was not given. Throws {@link UsageError}. */
export function whole(name: string, value: string | undefined, min: number, max: number): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!/^\d+$/.test(value) || number < min || number > max)
    throw new UsageError(`${name} ${value}: expected a whole number from ${min} to ${max}`);
  return number;
}
