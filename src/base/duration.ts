// Durations as people write them in the configuration: "150ms", "2s", "5min".

const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000 };

export const DURATION_RULE = 'a number with a unit: ms, s, min or h, such as 500ms or 2s';

/** Of {@link parseDurationMs}: `m` is minutes too, as everybody writes it. */
export const DURATION_PATTERN = '^\\d+(\\.\\d+)?(ms|s|m|min|h)$';

/** Milliseconds of `text`, or undefined where it is not a duration with a unit. */
export function parseDurationMs(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|min|h)$/.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? Number.NaN);
}

/** `1.2s`, `340ms`, `5min`: for people. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)}s`;
  return `${Math.round(ms / 60_000)}min`;
}
