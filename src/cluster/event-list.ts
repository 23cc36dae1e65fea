// The latest events of the log, for `sentinelctl events`. A plain value that is never changed in place: adding one copies a
// small part, so that the states before it stay as they were at little cost.
import type { ClusterEvent, EventList } from './state.ts';

export const EVENT_COUNT_MAX = 1000;
const CHUNK_COUNT = 25;

export const NO_EVENTS: EventList = { chunks: [], latest: [] };

export function addEvent({ chunks, latest }: EventList, event: ClusterEvent): EventList {
  const isFull = (chunks.length + 1) * CHUNK_COUNT > EVENT_COUNT_MAX;
  const kept = isFull ? chunks.slice(1) : chunks;
  if (latest.length + 1 < CHUNK_COUNT) return { chunks: kept, latest: [...latest, event] };
  return { chunks: [...kept, [...latest, event]], latest: [] };
}

/** The events as one list, oldest first. */
export function listEvents({ chunks, latest }: EventList): readonly ClusterEvent[] {
  return [...chunks.flat(), ...latest];
}

export function lastEvent({ chunks, latest }: EventList): ClusterEvent | undefined {
  return latest.at(-1) ?? chunks.at(-1)?.at(-1);
}

/** The list that {@link listEvents} gave `events` for. */
export function eventListOf(events: readonly ClusterEvent[]): EventList {
  const chunks: (readonly ClusterEvent[])[] = [];
  for (let start = 0; start + CHUNK_COUNT <= events.length; start += CHUNK_COUNT)
    chunks.push(events.slice(start, start + CHUNK_COUNT));
  return { chunks, latest: events.slice(chunks.length * CHUNK_COUNT) };
}
