// The writes as a line of bars: one column for a slice of time, empty where nothing was acknowledged. Before the kill the
// line runs along; after it, it stays around the kill, so that the gap remains to be seen. Pure.

const BARS = { unicode: ' ▁▂▃▄▅▆▇█', ascii: ' ..::||##' } as const;
const SLICES_MS = [20, 40, 80, 160, 320, 640, 1280];

/** Replies that were on their way when the primary died. */
const LAST_REPLIES_MS = 20;

export interface PulseInput {
  /** When writes were acknowledged, ascending, of the same clock as the others. */
  readonly ackedAtMs: readonly number[];
  readonly nowMs: number;
  readonly killedAtMs: number | undefined;
  readonly width: number;
  readonly unicode: boolean;
}

export interface Pulse {
  readonly bars: string;
  readonly sliceMs: number;
}

export function renderPulse(input: PulseInput): Pulse {
  const { width, killedAtMs, nowMs } = input;
  const smallest = SLICES_MS[0] ?? 20;
  const { fromMs, sliceMs } =
    killedAtMs === undefined
      ? { sliceMs: smallest, fromMs: Math.floor(nowMs / smallest) * smallest - width * smallest }
      : around(killedAtMs, input.ackedAtMs.find((ms) => ms > killedAtMs + LAST_REPLIES_MS) ?? nowMs, width);
  const counts = Array.from({ length: width }, () => 0);
  for (let at = input.ackedAtMs.length - 1; at >= 0; at--) {
    const slice = Math.floor(((input.ackedAtMs[at] ?? 0) - fromMs) / sliceMs);
    if (slice < 0) break;
    const count = counts[slice];
    if (count !== undefined) counts[slice] = count + 1;
  }
  const bars = BARS[input.unicode ? 'unicode' : 'ascii'];
  const most = Math.max(1, ...counts);
  const text = counts.map((count) => bars[Math.ceil((count / most) * (bars.length - 1))] ?? ' ').join('');
  return { bars: text, sliceMs };
}

/** A quarter of the width before the kill; slices so long that the return is within the rest, a little of it left over. */
function around(killedAtMs: number, untilMs: number, width: number): { fromMs: number; sliceMs: number } {
  const before = Math.floor(width / 4);
  const after = width - before - Math.floor(width / 6);
  const sliceMs = SLICES_MS.find((ms) => killedAtMs + after * ms > untilMs) ?? SLICES_MS.at(-1) ?? 20;
  return { fromMs: killedAtMs - before * sliceMs, sliceMs };
}
