// The only source of chance in the simulator: integers from a seed, the same on every machine. Nothing here may depend on the
// platform's floating point beyond exact arithmetic.

export interface Random {
  /** A whole number from 0 to 2^32 - 1. */
  u32(): number;
  /** In [0, 1), a multiple of 2^-32. */
  unit(): number;
  /** A whole number from 0 to `count` - 1. */
  below(count: number): number;
  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number;
  /** True in `millionths` of a million cases. */
  ppm(millionths: number): boolean;
  pick<T>(items: readonly T[]): T;
}

/** sfc32 (Doty-Humphrey's small fast counting generator): 128 bits of state, integers only. */
export function createRandom(seed: number): Random {
  let a = Math.trunc(seed / 4294967296) | 0;
  let b = seed | 0;
  let c = 0x9e3779b9 | 0;
  let counter = 1;
  const u32 = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    c |= 0;
    return sum >>> 0;
  };
  for (let round = 0; round < 15; round += 1) u32();
  const below = (count: number): number => Math.floor((u32() / 4294967296) * count);
  return {
    u32,
    unit: () => u32() / 4294967296,
    below,
    between: (low, high) => low + below(high - low + 1),
    ppm: (millionths) => millionths > 0 && below(1_000_000) < millionths,
    pick: (items) => {
      const item = items[below(items.length)];
      if (item === undefined) throw new Error('nothing to pick from');
      return item;
    },
  };
}

/** The items in an order of chance; the argument is left alone. */
export function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last -= 1) {
    const other = random.below(last + 1);
    const item = result[last] as T;
    result[last] = result[other] as T;
    result[other] = item;
  }
  return result;
}
