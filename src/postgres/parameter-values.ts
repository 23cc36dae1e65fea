// Whether PostgreSQL takes a value for a parameter, by what its pg_settings says of it: asked before a value is written where a restart
// would be the first to stumble over it (PostgreSQL documentation, 20.1.1). Pure; a doubt is in the value's favour.

/** A row of pg_settings. */
export interface ParameterRow {
  readonly name: string;
  readonly vartype: string;
  readonly context: string;
  readonly unit: string | null;
  readonly min: string | null;
  readonly max: string | null;
  readonly words: readonly string[] | null;
}

export const DESCRIBE_PARAMETERS = `
  select name, vartype, context, unit, min_val as min, max_val as max, enumvals as words
  from pg_settings where name = any ($1)`;

/** What is wrong with setting it to the value, or undefined. `row` undefined: PostgreSQL has no such parameter. */
export function valueProblem(name: string, value: string, row: ParameterRow | undefined): string | undefined {
  // Of an extension that may be loaded later; PostgreSQL takes any of them.
  if (row === undefined) return name.includes('.') ? undefined : 'there is no such parameter';
  if (row.context === 'internal') return 'nobody can set it';
  switch (row.vartype) {
    case 'bool':
      return isBoolean(value) ? undefined : 'expected on or off';
    case 'enum': {
      const words = row.words ?? [];
      const isOne = words.some((word) => word.toLowerCase() === value.toLowerCase());
      // Some have hidden words, such as `true` for `on`.
      return isOne || isBoolean(value) ? undefined : `expected one of ${words.join(', ')}`;
    }
    case 'integer':
    case 'real':
      return numberProblem(value, row);
    default:
      return undefined;
  }
}

function isBoolean(text: string): boolean {
  const word = text.trim().toLowerCase();
  if (word === '0' || word === '1') return true;
  if (word === 'o' || word === '') return false;
  return ['on', 'off', 'true', 'false', 'yes', 'no'].some((full) => full.startsWith(word));
}

const MEMORY: Readonly<Record<string, number>> = { B: 1, kB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30, TB: 2 ** 40 };
const TIME_US: Readonly<Record<string, number>> = {
  ...{ us: 1, ms: 1000, s: 1_000_000, min: 60_000_000 },
  ...{ h: 3_600_000_000, d: 86_400_000_000 },
};

function numberProblem(text: string, row: ParameterRow): string | undefined {
  const base = baseOf(row.unit);
  const units = base === undefined ? [] : Object.keys(base.units);
  const expected = `expected ${row.vartype === 'real' ? 'a number' : 'a whole number'}${row.min === null || row.max === null ? '' : ` from ${row.min} to ${row.max}`}${row.unit === null ? '' : ` in units of ${row.unit}, or with a unit of ${units.join(', ')}`}`;
  const match = /^\s*(0x[0-9a-f]+$|[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*)\s*$/i.exec(text);
  if (match === null) return expected;
  const [, digits = '', unit = ''] = match;
  const factor = unit === '' ? 1 : base?.units[unit] === undefined ? undefined : base.units[unit] / base.size;
  if (factor === undefined) return expected;
  const scaled = Number(digits) * factor;
  const value = row.vartype === 'integer' ? Math.round(scaled) : scaled;
  if (row.min !== null && value < Number(row.min)) return expected;
  return row.max !== null && value > Number(row.max) ? expected : undefined;
}

/** `8kB`: the units that may be given, and how many of the smallest one is one of the parameter's own. */
function baseOf(
  unit: string | null,
): { readonly units: Readonly<Record<string, number>>; readonly size: number } | undefined {
  const match = /^(\d*)([a-z]+)$/i.exec(unit ?? '');
  if (match === null) return undefined;
  const [, count = '', name = ''] = match;
  for (const units of [MEMORY, TIME_US]) {
    const size = units[name];
    if (size !== undefined) return { units, size: size * (count === '' ? 1 : Number(count)) };
  }
  return undefined;
}
