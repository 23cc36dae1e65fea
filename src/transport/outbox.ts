// The bounded queue of what waits to be sent on one link. Pure data, no network.
// Must never hold more than its limits, and never change the order of what it keeps.

export interface OutboxLimits {
  readonly countMax: number;
  readonly bytesMax: number;
  /** A batch ends before the item that would take it beyond this; a larger item is a batch of its own. */
  readonly batchBytesMax: number;
}

export interface OutboxItem<T> {
  readonly value: T;
  readonly bytes: number;
  readonly queuedAtMs: number;
  /** Worth nothing once a later one exists (heartbeats): the oldest of these goes first when room is needed. */
  readonly perishable: boolean;
}

export interface Outbox<T> {
  /** False where something had to be dropped: the oldest perishable item, or else this one. */
  push(item: OutboxItem<T>): boolean;
  /** Removes and returns the next items to send in one frame, in order; empty where there are none. */
  takeBatch(): T[];
  /** Forgets what was queued before `ms`: a link that comes back must not begin with old news. */
  dropOlderThan(ms: number): void;
  readonly count: number;
  readonly bytes: number;
  /** Items dropped since the start, for whatever reason. */
  readonly droppedCount: number;
}

export function createOutbox<T>(limits: OutboxLimits): Outbox<T> {
  let items: OutboxItem<T>[] = [];
  let bytes = 0;
  let droppedCount = 0;

  const remove = (at: number): void => {
    const [removed] = items.splice(at, 1);
    bytes -= removed?.bytes ?? 0;
    droppedCount += 1;
  };
  const fits = (item: OutboxItem<T>): boolean =>
    items.length < limits.countMax && bytes + item.bytes <= limits.bytesMax;

  return {
    push(item) {
      const droppedBefore = droppedCount;
      while (!fits(item)) {
        const oldest = items.findIndex((queued) => queued.perishable);
        if (oldest === -1) {
          droppedCount += 1;
          return false;
        }
        remove(oldest);
      }
      items.push(item);
      bytes += item.bytes;
      return droppedCount === droppedBefore;
    },
    takeBatch() {
      let count = 0;
      let batchBytes = 0;
      for (const item of items) {
        if (count > 0 && batchBytes + item.bytes > limits.batchBytesMax) break;
        count += 1;
        batchBytes += item.bytes;
      }
      bytes -= batchBytes;
      return items.splice(0, count).map((item) => item.value);
    },
    dropOlderThan(ms) {
      const kept = items.filter((item) => item.queuedAtMs >= ms);
      droppedCount += items.length - kept.length;
      items = kept;
      bytes = kept.reduce((sum, item) => sum + item.bytes, 0);
    },
    get count() {
      return items.length;
    },
    get bytes() {
      return bytes;
    },
    get droppedCount() {
      return droppedCount;
    },
  };
}
