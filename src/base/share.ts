// How much of a copy is there, for people, where its size is only estimated. Pure.

/** While it goes on it is not the whole: WAL comes with it, and its source may have grown since the estimate. */
export function shareOf(
  bytes: number,
  totalBytes: number,
): { readonly wholeBytes: number; readonly percent: number } {
  return {
    wholeBytes: Math.max(bytes, totalBytes),
    percent: Math.min(99, Math.floor((bytes / totalBytes) * 100)),
  };
}
