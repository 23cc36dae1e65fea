// Virtual time in whole microseconds: a binary heap of events with numeric keys, those of one moment in order of arrival.
// Must never compare anything but numbers: order has to be the same on every machine.

/** One thing that will happen. `host` and `boot` tell whose it is: what was meant for a process that has ended is dropped. */
export interface SimEvent {
  readonly kind: number;
  readonly host: number;
  readonly boot: number;
  readonly ref: unknown;
}

export interface Timeline {
  nowUs: number;
  /** Events handed out so far. */
  count: number;
  keys: Float64Array;
  events: SimEvent[];
  size: number;
  order: number;
}

/** Events of one moment are told apart by their number of arrival, up to 2^22 of them in a life. */
const ORDER_COUNT = 4_194_304;

export function createTimeline(): Timeline {
  return { nowUs: 0, count: 0, keys: new Float64Array(256), events: [], size: 0, order: 0 };
}

export function schedule(timeline: Timeline, delayUs: number, event: SimEvent): void {
  const order = timeline.order;
  timeline.order = order + 1;
  if (order >= ORDER_COUNT) throw new Error('too many events in one life');
  const key = (timeline.nowUs + (delayUs > 0 ? delayUs : 0)) * ORDER_COUNT + order;
  let position = timeline.size;
  timeline.size = position + 1;
  if (position >= timeline.keys.length) {
    const larger = new Float64Array(timeline.keys.length * 2);
    larger.set(timeline.keys);
    timeline.keys = larger;
  }
  const { keys, events } = timeline;
  while (position > 0) {
    const parent = (position - 1) >> 1;
    const parentKey = keys[parent] as number;
    if (parentKey < key) break;
    keys[position] = parentKey;
    events[position] = events[parent] as SimEvent;
    position = parent;
  }
  keys[position] = key;
  events[position] = event;
}

/** The next event up to `untilUs`; without one, time moves on to `untilUs` and the result is undefined. */
export function next(timeline: Timeline, untilUs: number): SimEvent | undefined {
  const { keys, events } = timeline;
  if (timeline.size === 0 || Math.floor((keys[0] as number) / ORDER_COUNT) > untilUs) {
    timeline.nowUs = untilUs;
    return undefined;
  }
  const event = events[0] as SimEvent;
  timeline.nowUs = Math.floor((keys[0] as number) / ORDER_COUNT);
  timeline.count += 1;
  const size = timeline.size - 1;
  timeline.size = size;
  const key = keys[size] as number;
  const moved = events.pop() as SimEvent;
  if (size === 0) return event;
  let position = 0;
  for (;;) {
    let child = 2 * position + 1;
    if (child >= size) break;
    if (child + 1 < size && (keys[child + 1] as number) < (keys[child] as number)) child += 1;
    const childKey = keys[child] as number;
    if (childKey >= key) break;
    keys[position] = childKey;
    events[position] = events[child] as SimEvent;
    position = child;
  }
  keys[position] = key;
  events[position] = moved;
  return event;
}
