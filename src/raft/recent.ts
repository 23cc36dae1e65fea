// The latest ids of a kind, so that what arrives twice is decided once. Bounded: forgets the older half when it is full.

export interface RecentIds {
  young: Set<string>;
  old: Set<string>;
}

/** Together with as many older ones: enough to outlast any copy of a message still on its way. */
const YOUNG_MAX = 8192;

export function createRecentIds(): RecentIds {
  return { young: new Set(), old: new Set() };
}

export function isRecent(ids: RecentIds, id: string): boolean {
  return ids.young.has(id) || ids.old.has(id);
}

export function rememberId(ids: RecentIds, id: string): void {
  if (ids.young.size >= YOUNG_MAX) {
    ids.old = ids.young;
    ids.young = new Set();
  }
  ids.young.add(id);
}
