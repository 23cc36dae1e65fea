// How far a copy has come, for people: bytes, speed and the time left. Pure. Says something at most once a second: each word of it travels
// to every peer.
import { formatDuration } from '../base/duration.ts';

const SAY_EVERY_MS = 1000;
/** The speed is that of about so long, so that neither a pause nor the beginning rules it for long. */
const WINDOW_MS = 10_000;

export interface CloneProgress {
  readonly bytes: number;
  /** The source's estimate; undefined until it is known. The copy may become larger: WAL comes with it. */
  readonly totalBytes: number | undefined;
}

/** Returns what to say now, or undefined while it is too early for another word. */
export function createProgressText(nowMs: () => number): (progress: CloneProgress) => string | undefined {
  let points: { readonly atMs: number; readonly bytes: number }[] = [];
  return ({ bytes, totalBytes }) => {
    const atMs = nowMs();
    const last = points.at(-1);
    if (last !== undefined && atMs - last.atMs < SAY_EVERY_MS) return undefined;
    points = [...points.filter((point) => atMs - point.atMs <= WINDOW_MS), { atMs, bytes }];
    const [first] = points;
    const passedMs = first === undefined ? 0 : atMs - first.atMs;
    const perSecond = passedMs === 0 ? 0 : ((bytes - (first?.bytes ?? 0)) * 1000) / passedMs;
    return [amountText(bytes, totalBytes), ...speedTexts(bytes, totalBytes, perSecond)].join(', ');
  };
}

function amountText(bytes: number, totalBytes: number | undefined): string {
  if (totalBytes === undefined || totalBytes <= 0) return megabytes(bytes);
  const percent = Math.min(100, Math.floor((bytes / totalBytes) * 100));
  return `${megabytes(bytes)} of ${megabytes(totalBytes)} (${percent} %)`;
}

function speedTexts(bytes: number, totalBytes: number | undefined, perSecond: number): string[] {
  if (perSecond <= 0) return [];
  const leftBytes = totalBytes === undefined ? 0 : totalBytes - bytes;
  const left = leftBytes > 0 ? [`${formatDuration((leftBytes * 1000) / perSecond)} left`] : [];
  return [`${(perSecond / (1 << 20)).toFixed(1)} MB/s`, ...left];
}

const megabytes = (value: number): string => `${Math.round(value / (1 << 20))} MB`;
