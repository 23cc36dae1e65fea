// How patient the health checks are. Plain numbers, all in milliseconds; the configuration fills them in.

export interface HealthSettings {
  /** Time between two probes on the open session. */
  readonly probeIntervalMs: number;
  /** Silence of the node for this long is `no-answer`; refusals of a node never seen up need this long too. */
  readonly downAfterMs: number;
  /** Writes failing, or hanging while new connections are answered, for this long is `write-failing`. */
  readonly writeDownAfterMs: number;
  /** Starting up or in recovery for this long, where a primary is expected, is `in-recovery`. */
  readonly recoveryDownAfterMs: number;
  /** After a clean shutdown by an administrator refusals do not count for this long. */
  readonly restartGraceMs: number;
}

export const DEFAULT_HEALTH_SETTINGS: HealthSettings = {
  probeIntervalMs: 500,
  downAfterMs: 2000,
  writeDownAfterMs: 10_000,
  recoveryDownAfterMs: 30_000,
  restartGraceMs: 10_000,
};

/** A new connection is tried this often beside the open session: a frozen postmaster serves the open one still. */
export const CONNECTION_CHECK_INTERVAL_MS = 1000;

/** The first tries to connect again after a loss, each this long after the one before it failed. */
export const FAST_RETRY_DELAYS_MS = [0, 40, 40, 40] as const;

/** Refusals that make `refused`, and the least time between the first and the last of them: a burst is one observation. */
export const REFUSED_COUNT_MIN = 3;
export const REFUSED_SPAN_MS = 70;

/** The observer's own tick while something may ripen; a wake-up costs more than what is done in it, so all calm it is slower. */
export const TICK_MS = 100;
export const calmTickMs = (settings: HealthSettings): number =>
  Math.max(TICK_MS, Math.min(500, settings.downAfterMs / 4));

/** How late a tick may be before the observer no longer trusts itself. */
export const STALL_MS = 500;

/**
 * How long the observer must have been well, after trouble of its own, before it judges again: half of `downAfterMs`, so that a stall costs
 * less than a silence does, and long enough for two probes to show the trouble again.
 */
export const wellAfterMs = (settings: HealthSettings): number =>
  Math.max(settings.downAfterMs / 2, 2 * settings.probeIntervalMs);

/**
 * Nodes that come to be watched together, as after a start, are first asked so long after each other: a login takes some milliseconds of the
 * threads that the log's disk needs too, and probes that began together would come together ever after.
 */
const START_SPREAD_MS = 4;

/** Of so many new nodes all are asked within one probe's interval, however many there are. */
export const startSpreadMs = (newCount: number, { probeIntervalMs }: HealthSettings): number =>
  Math.min(START_SPREAD_MS, probeIntervalMs / Math.max(1, newCount));
