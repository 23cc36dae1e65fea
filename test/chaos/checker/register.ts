// Whether the history of a register is linearizable. Every value is written at most once, so the order of the writes can be read off
// the values: each says which one it replaced. What is left is whether points in time exist that fit this order: they do where
// no operation began after one that comes later in the order had ended. Pure.
import type { Operation, RegisterStep } from './operation.ts';

type Step<K extends RegisterStep['kind']> = Operation & {
  readonly register: Extract<RegisterStep, { kind: K }>;
};

/** A sentence for each violation. `final` is what the register holds after the last operation. */
export function registerViolations(options: {
  readonly key: string;
  readonly initial: string;
  readonly final: string;
  readonly operations: readonly Operation[];
}): string[] {
  const { key, initial, final } = options;
  const own = options.operations.filter(({ register }) => register?.key === key);
  const attempts = own.filter((operation): operation is Step<'compare-and-set'> =>
    isStep(operation, 'compare-and-set'),
  );
  const reads = own.filter(
    (operation): operation is Step<'read'> => isStep(operation, 'read') && operation.outcome === 'acked',
  );
  const chain = chainOf(attempts, initial, final);
  if (typeof chain === 'string') return [`register ${key}: ${chain}`];

  const violations: string[] = [];
  const placeOf = new Map([
    [initial, 0],
    ...chain.map(({ register }, at) => [register.value, at + 1] as const),
  ]);
  for (const { id, outcome, register } of attempts)
    if (outcome === 'acked' && register.won && !placeOf.has(register.value))
      violations.push(`${id} set ${register.value}, which is not among what the register held`);
  /** Writes at even places, the reads of a write's value between it and the next. */
  const placed: Placed[] = chain.map((operation, at) => ({ operation, place: 2 * (at + 1) }));
  for (const operation of reads) {
    const at = placeOf.get(operation.register.value);
    if (at === undefined)
      violations.push(`${operation.id} read ${operation.register.value}, which the register never held`);
    else placed.push({ operation, place: 2 * at + 1 });
  }
  violations.push(...inversions(placed));
  for (const operation of attempts)
    if (operation.outcome === 'acked' && !operation.register.won)
      violations.push(...wronglyLost(operation, chain, placeOf));
  return violations.map((text) => `register ${key}: ${text}`);
}

function isStep(operation: Operation, kind: RegisterStep['kind']): boolean {
  return operation.register?.kind === kind;
}

/** An attempt of unknown outcome took effect at any time after it began, if it did. */
const endOf = ({ outcome, endMs }: Operation): number =>
  outcome === 'unknown' ? Number.POSITIVE_INFINITY : endMs;

/** The writes that took effect, in order: from the last value back to the first. A sentence where there is no such order. */
function chainOf(
  attempts: readonly Step<'compare-and-set'>[],
  initial: string,
  final: string,
): Step<'compare-and-set'>[] | string {
  const writers = new Map<string, Step<'compare-and-set'>>();
  for (const attempt of attempts) {
    const { value, won } = attempt.register;
    if (attempt.outcome === 'failed' || (attempt.outcome === 'acked' && !won)) continue;
    if (value === initial || writers.has(value)) return `${value} is written twice`;
    writers.set(value, attempt);
  }
  const chain: Step<'compare-and-set'>[] = [];
  for (let value = final; value !== initial;) {
    const writer = writers.get(value);
    if (writer === undefined) return `it holds ${value}, which nobody can have written`;
    if (chain.length >= writers.size) return `the values that were replaced go round in a circle at ${value}`;
    chain.push(writer);
    value = writer.register.expected;
  }
  return chain.toReversed();
}

interface Placed {
  readonly operation: Operation;
  readonly place: number;
}

/** Operations that ended before one began that comes earlier in the order. */
function inversions(placed: readonly Placed[]): string[] {
  const violations: string[] = [];
  const inOrder = placed.toSorted((a, b) => a.place - b.place);
  let latest: Operation | undefined;
  let group: Operation[] = [];
  let groupPlace = -1;
  const close = (): void => {
    for (const operation of group)
      if (operation.startMs > (latest?.startMs ?? Number.NEGATIVE_INFINITY)) latest = operation;
    group = [];
  };
  for (const { operation, place } of inOrder) {
    if (place !== groupPlace) close();
    groupPlace = place;
    group.push(operation);
    if (latest !== undefined && latest.startMs > endOf(operation))
      violations.push(`${operation.id} had ended before ${latest.id} began, but comes after it by its value`);
  }
  return violations;
}

/** A compare-and-set that lost although the register held what it expected all the time. */
function wronglyLost(
  operation: Step<'compare-and-set'>,
  chain: readonly Operation[],
  placeOf: ReadonlyMap<string, number>,
): string[] {
  const at = placeOf.get(operation.register.expected);
  if (at === undefined) return [];
  const before = chain[at - 1];
  const after = chain[at];
  const heldBefore = before === undefined || endOf(before) < operation.startMs;
  const heldAfter = after === undefined || after.startMs > operation.endMs;
  return heldBefore && heldAfter
    ? [
        `${operation.id} was told that it did not hold ${operation.register.expected}, but it did all the time`,
      ]
    : [];
}
