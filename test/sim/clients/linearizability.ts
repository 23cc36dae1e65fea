// Whether a history of one register is linearizable. First the order that the log suggests is tried: if it fits, that proves it.
// Else Wing and Gong's search with Lowe's memory of what was tried, as in Porcupine; and where that would take too long, the zones
// of Gibbons and Korach, which decide it for a register whose writes all differ.
// An operation whose outcome nobody knows may take effect at any time after its call, or never.
// Must never call a history linearizable that is not.
import type { Operation } from './history.ts';

export type Verdict =
  { readonly kind: 'linearizable' } | { readonly kind: 'violated'; readonly detail: string };

const STEP_COUNT_MAX = 100_000;

/** A call or a return, in a list from which operations are lifted out while the search takes them for done. */
interface Node {
  readonly operation: number;
  readonly isCall: boolean;
  /** Of a call: its return. */
  match: Node | undefined;
  previous: Node | undefined;
  next: Node | undefined;
}

/** The register begins with 0; every write writes another value. Times are numbers. */
export function checkRegister(operations: readonly Operation[]): Verdict {
  const known = relevant(operations);
  if (isWitness(known)) return { kind: 'linearizable' };
  return search(known, STEP_COUNT_MAX) ?? checkZones(known);
}

/** Whether the order of their places in the log keeps to the order of time, and each read gives what was written last. */
function isWitness(operations: readonly Operation[]): boolean {
  if (operations.some((operation) => operation.place === undefined)) return false;
  const order = [...operations].sort(
    (a, b) =>
      (a.place as number) - (b.place as number) ||
      Number(a.kind === 'read') - Number(b.kind === 'read') ||
      a.calledAt - b.calledAt,
  );
  let value = 0;
  for (const operation of order) {
    if (operation.kind === 'write') value = operation.value;
    else if (operation.value !== value) return false;
  }
  let earliestReturn = Number.POSITIVE_INFINITY;
  for (let at = order.length - 1; at >= 0; at -= 1) {
    const { calledAt, returnedAt } = order[at] as Operation;
    if (earliestReturn < calledAt) return false;
    earliestReturn = Math.min(earliestReturn, returnedAt ?? Number.POSITIVE_INFINITY);
  }
  return true;
}

/** Tries orders until one fits or none is left; undefined where that takes too many steps. */
export function search(known: readonly Operation[], stepCountMax: number): Verdict | undefined {
  const head = listOf(known);
  const words = Math.ceil(known.length / 31);
  const done = new Int32Array(words);
  const seen = new Map<number, { readonly done: Int32Array; readonly value: number }[]>();
  const stack: { readonly node: Node; readonly value: number }[] = [];
  let value = 0;
  let hash = 0;
  let node = head.next;
  let deepest = 0;
  let stuckAt: Operation | undefined;
  for (let steps = 0; node !== undefined; steps += 1) {
    if (steps > stepCountMax) return undefined;
    const operation = known[node.operation] as Operation;
    if (node.isCall) {
      const isFitting = operation.kind === 'write' || operation.value === value;
      const after = operation.kind === 'write' ? operation.value : value;
      if (isFitting && remember(seen, done, hash ^ spread(node.operation), node.operation, after)) {
        stack.push({ node, value });
        value = after;
        hash ^= spread(node.operation);
        done[Math.floor(node.operation / 31)] =
          (done[Math.floor(node.operation / 31)] as number) | (1 << (node.operation % 31));
        lift(node);
        node = head.next;
      } else {
        node = node.next;
      }
    } else {
      // Its return has come, and it was not put in any place: the last choice was wrong.
      if (stack.length >= deepest) {
        deepest = stack.length;
        stuckAt = operation;
      }
      const top = stack.pop();
      if (top === undefined) return { kind: 'violated', detail: describe(stuckAt) };
      const { operation: undone } = top.node;
      value = top.value;
      hash ^= spread(undone);
      done[Math.floor(undone / 31)] = (done[Math.floor(undone / 31)] as number) & ~(1 << (undone % 31));
      unlift(top.node);
      node = top.node.next;
    }
  }
  return { kind: 'linearizable' };
}

function describe(operation: Operation | undefined): string {
  if (operation === undefined) return 'no order of its operations fits';
  const { kind, value, calledAt, returnedAt } = operation;
  return kind === 'read'
    ? `a read from ${calledAt} to ${returnedAt} gave ${value}, which fits no order of the operations before it`
    : `a write of ${value} from ${calledAt} to ${returnedAt} has no place`;
}

/**
 * Each value has a zone, from the first return to the last call of the operations that wrote or read it; where that runs forward,
 * the register must hold the value all the while. So no two such zones may overlap, and none may contain a zone that runs back
 * (Gibbons and Korach, "Testing shared memories", 1997).
 */
export function checkZones(operations: readonly Operation[]): Verdict {
  const zones = new Map<number, { write: Operation | undefined; firstReturn: number; lastCall: number }>();
  const begin = Number.NEGATIVE_INFINITY;
  zones.set(0, {
    write: { kind: 'write', value: 0, calledAt: begin, returnedAt: begin, place: 0 },
    firstReturn: begin,
    lastCall: begin,
  });
  for (const operation of operations) {
    const zone = zones.get(operation.value) ?? {
      write: undefined,
      firstReturn: Number.POSITIVE_INFINITY,
      lastCall: begin,
    };
    if (operation.kind === 'write') zone.write = operation;
    zone.firstReturn = Math.min(zone.firstReturn, operation.returnedAt ?? Number.POSITIVE_INFINITY);
    zone.lastCall = Math.max(zone.lastCall, operation.calledAt);
    zones.set(operation.value, zone);
  }
  for (const { kind, value, returnedAt } of operations) {
    const write = zones.get(value)?.write;
    if (kind === 'read' && (write === undefined || (returnedAt ?? Number.POSITIVE_INFINITY) < write.calledAt))
      return { kind: 'violated', detail: `${value} was read, and had not been written` };
  }
  const all = [...zones.entries()].map(([value, { firstReturn, lastCall }]) => ({
    value,
    firstReturn,
    lastCall,
  }));
  const forward = all
    .filter((zone) => zone.firstReturn < zone.lastCall)
    .sort((a, b) => a.firstReturn - b.firstReturn);
  for (let at = 1; at < forward.length; at += 1) {
    const [one, other] = [forward[at - 1], forward[at]] as const;
    if (one !== undefined && other !== undefined && other.firstReturn < one.lastCall)
      return {
        kind: 'violated',
        detail: `${one.value} and ${other.value} must both be held at ${other.firstReturn}`,
      };
  }
  for (const { value, firstReturn, lastCall } of all) {
    if (firstReturn < lastCall) continue;
    const around = forward.find((zone) => zone.firstReturn < lastCall && firstReturn < zone.lastCall);
    if (around !== undefined)
      return {
        kind: 'violated',
        detail: `${value} was held from ${lastCall} to ${firstReturn}, while ${around.value} must have been`,
      };
  }
  return { kind: 'linearizable' };
}

/** A write whose outcome nobody knows and whose value nobody read need not have happened; a read without an answer says nothing. */
function relevant(operations: readonly Operation[]): Operation[] {
  const read = new Set<number>();
  for (const { kind, value, returnedAt } of operations)
    if (kind === 'read' && returnedAt !== undefined) read.add(value);
  return operations.filter(
    (operation) =>
      operation.returnedAt !== undefined || (operation.kind === 'write' && read.has(operation.value)),
  );
}

/** Calls and returns in the order of time; what never returned does so after everything else. */
function listOf(operations: readonly Operation[]): Node {
  const nodes: { readonly at: number; readonly node: Node }[] = [];
  operations.forEach((operation, place) => {
    const back: Node = {
      operation: place,
      isCall: false,
      match: undefined,
      previous: undefined,
      next: undefined,
    };
    const call: Node = { operation: place, isCall: true, match: back, previous: undefined, next: undefined };
    nodes.push({ at: operation.calledAt, node: call });
    // Without a return it is never asked for: such a return is left out, so that the operation may stay undone.
    if (operation.returnedAt !== undefined) nodes.push({ at: operation.returnedAt, node: back });
    else call.match = undefined;
  });
  nodes.sort((a, b) => a.at - b.at || Number(b.node.isCall) - Number(a.node.isCall));
  const head: Node = { operation: -1, isCall: false, match: undefined, previous: undefined, next: undefined };
  let last = head;
  for (const { node } of nodes) {
    last.next = node;
    node.previous = last;
    last = node;
  }
  // Done when every return is lifted out: calls that never return may be left.
  return head;
}

function lift(call: Node): void {
  unlink(call);
  if (call.match !== undefined) unlink(call.match);
}

function unlift(call: Node): void {
  if (call.match !== undefined) relink(call.match);
  relink(call);
}

function unlink(node: Node): void {
  if (node.previous !== undefined) node.previous.next = node.next;
  if (node.next !== undefined) node.next.previous = node.previous;
}

function relink(node: Node): void {
  if (node.previous !== undefined) node.previous.next = node;
  if (node.next !== undefined) node.next.previous = node;
}

function spread(operation: number): number {
  const mixed = Math.imul(operation + 1, 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
}

/** False where the same operations were done before with the same value left behind: that way leads nowhere. */
function remember(
  seen: Map<number, { readonly done: Int32Array; readonly value: number }[]>,
  done: Int32Array,
  hash: number,
  operation: number,
  value: number,
): boolean {
  const key = hash ^ Math.imul(value, 0x85ebca6b);
  const word = Math.floor(operation / 31);
  const bit = 1 << (operation % 31);
  const known = seen.get(key);
  if (known !== undefined) {
    for (const other of known) {
      if (other.value !== value) continue;
      let isSame = true;
      for (let at = 0; at < done.length && isSame; at += 1)
        isSame = other.done[at] === (at === word ? (done[at] as number) | bit : done[at]);
      if (isSame) return false;
    }
  }
  const copy = Int32Array.from(done);
  copy[word] = (copy[word] as number) | bit;
  if (known === undefined) seen.set(key, [{ done: copy, value }]);
  else known.push({ done: copy, value });
  return true;
}
