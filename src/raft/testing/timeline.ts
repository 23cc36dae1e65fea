// Virtual time: actions in order of their moment, those of one moment in order of arrival. A binary heap.

export interface Timeline {
  nowMs(): number;
  /** Runs `action` after `delayMs` of virtual time. */
  after(delayMs: number, action: () => void): void;
  /** Runs the next action; false when there is none or it lies beyond `untilMs` (time then stands at `untilMs`). */
  advance(untilMs: number): boolean;
}

interface Item {
  readonly atMs: number;
  readonly order: number;
  readonly action: () => void;
}

export function createTimeline(): Timeline {
  const heap: Item[] = [];
  let now = 0;
  let order = 0;

  const isBefore = (a: Item, b: Item): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
  const itemAt = (position: number): Item => heap[position] as Item;
  const swap = (a: number, b: number): void => {
    const item = itemAt(a);
    heap[a] = itemAt(b);
    heap[b] = item;
  };
  const rise = (start: number): void => {
    let position = start;
    while (position > 0) {
      const parent = (position - 1) >> 1;
      if (!isBefore(itemAt(position), itemAt(parent))) return;
      swap(position, parent);
      position = parent;
    }
  };
  const sink = (): void => {
    let position = 0;
    for (;;) {
      let first = position;
      for (const child of [2 * position + 1, 2 * position + 2]) {
        if (child < heap.length && isBefore(itemAt(child), itemAt(first))) first = child;
      }
      if (first === position) return;
      swap(position, first);
      position = first;
    }
  };

  return {
    nowMs: () => now,
    after: (delayMs, action) => {
      heap.push({ atMs: now + Math.max(0, delayMs), order: (order += 1), action });
      rise(heap.length - 1);
    },
    advance: (untilMs) => {
      const first = heap[0];
      if (first === undefined || first.atMs > untilMs) {
        now = untilMs;
        return false;
      }
      const last = heap.pop() as Item;
      if (heap.length > 0) {
        heap[0] = last;
        sink();
      }
      now = first.atMs;
      first.action();
      return true;
    },
  };
}
