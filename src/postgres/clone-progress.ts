// How far a copy has come, for people: bytes, speed and the time left. Pure. Says something at most once a second: each word of it travels
// to every peer.
import { formatDuration } from '../base/duration.ts';
import { shareOf } from '../base/share.ts';

const SAY_EVERY_MS = 1000;
/** The speed is that of about so long, so that neither a pause nor the beginning rules it for long. */
const WINDOW_MS = 10_000;

export interface CloneProgress {
  readonly bytes: number;
  /** The source's estimate; undefined until it is known. The copy may become larger: WAL comes with it. */
  readonly totalBytes: number | undefined;
}

/** How far it is, and how fast it comes. */
export interface CloneSpeed extends CloneProgress {
  /** Undefined until it is known. */
  readonly bytesPerSecond: number | undefined;
  readonly leftMs: number | undefined;
}

/** The speed is measured at most so often as `pointEveryMs`. */
export function createCloneSpeed(
  nowMs: () => number,
  pointEveryMs = SAY_EVERY_MS,
): (progress: CloneProgress) => CloneSpeed {
  let points: { readonly atMs: number; readonly bytes: number }[] = [];
  return ({ bytes, totalBytes }) => {
    const atMs = nowMs();
    const last = points.at(-1);
    if (last === undefined || atMs - last.atMs >= pointEveryMs)
      points = [...points.filter((point) => atMs - point.atMs <= WINDOW_MS), { atMs, bytes }];
    const [first] = points;
    const passedMs = first === undefined ? 0 : atMs - first.atMs;
    const perSecond = passedMs === 0 ? 0 : ((bytes - (first?.bytes ?? 0)) * 1000) / passedMs;
    const leftBytes = totalBytes === undefined ? 0 : totalBytes - bytes;
    return {
      bytes,
      totalBytes,
      bytesPerSecond: perSecond > 0 ? perSecond : undefined,
      leftMs: perSecond > 0 && leftBytes > 0 ? (leftBytes * 1000) / perSecond : undefined,
    };
  };
}

/** Returns what to say now, or undefined while it is too early for another word. */
export function createProgressText(nowMs: () => number): (progress: CloneProgress) => string | undefined {
  const measure = createCloneSpeed(nowMs);
  let saidAtMs: number | undefined;
  return (progress) => {
    const atMs = nowMs();
    if (saidAtMs !== undefined && atMs - saidAtMs < SAY_EVERY_MS) return undefined;
    saidAtMs = atMs;
    const { bytes, totalBytes, bytesPerSecond, leftMs } = measure(progress);
    return [
      amountText(bytes, totalBytes),
      ...(bytesPerSecond === undefined ? [] : [`${(bytesPerSecond / (1 << 20)).toFixed(1)} MB/s`]),
      ...(leftMs === undefined ? [] : [`${formatDuration(leftMs)} left`]),
    ].join(', ');
  };
}

function amountText(bytes: number, totalBytes: number | undefined): string {
  if (totalBytes === undefined || totalBytes <= 0) return megabytes(bytes);
  const { wholeBytes, percent } = shareOf(bytes, totalBytes);
  return `${megabytes(bytes)} of about ${megabytes(wholeBytes)} (${percent} %)`;
}

const megabytes = (value: number): string => `${Math.round(value / (1 << 20))} MB`;
