// The chart of the outages: a row for each event, a dot for each run, on a logarithmic axis (a pause of 5 ms and a host that is gone
// for 2.5 s both have to be readable). Self-contained SVG, for light and dark backgrounds. Pure.
import { EVENTS, type Event } from './options.ts';
import type { Summary } from './report.ts';
import { percentile } from './statistics.ts';

export interface Row {
  readonly event: Event;
  /** One for each run. */
  readonly outagesMs: readonly number[];
  /** The largest gap of the quiet stretch before each event. */
  readonly controlsMs: readonly number[];
  readonly lost: number;
  readonly doubles: number;
}

export interface Drawing {
  readonly rows: readonly Row[];
}

/** What the design wants of the median, as a client sees it; for the events that must not be felt, of every run. */
const WANTED_MS: Readonly<Record<Event, number>> = {
  crash: 200,
  host: 2500,
  freeze: 2500,
  switchover: 250,
  standby: 1000,
  leader: 250,
  quorum: 250,
  upgrade: 250,
};

const LABELS: Readonly<Record<Event, readonly [string, string]>> = {
  crash: ['crash', 'primary’s postmaster killed'],
  host: ['host', 'primary’s host off the network'],
  freeze: ['freeze', 'primary’s host stands still'],
  switchover: ['switchover', 'on purpose'],
  standby: ['standby', 'a standby’s host killed'],
  leader: ['leader', 'Raft leader killed'],
  quorum: ['quorum', 'two of three sentinelds killed'],
  upgrade: ['upgrade', 'every sentineld restarted'],
};

export function rowOfSummary(summary: Summary): Row {
  return {
    event: summary.event,
    outagesMs: summary.perRun.map(({ outageMs }) => outageMs),
    controlsMs: summary.perRun.map(({ controlGapMs }) => controlGapMs),
    lost: summary.lost + summary.lostInTheEnd,
    doubles: summary.doubles,
  };
}

/** Reads the last line of what `--json` printed. Throws when that is no summary of a run. */
export function rowOfOutput(output: string, file: string): Row {
  const line = output.trimEnd().split('\n').at(-1) ?? '';
  try {
    const row = rowOfSummary(JSON.parse(line) as Summary);
    const figures = [...row.outagesMs, ...row.controlsMs, row.lost, row.doubles];
    if (!EVENTS.includes(row.event) || row.outagesMs.length === 0 || !figures.every(Number.isFinite))
      throw new Error('figures are missing');
    return row;
  } catch (error) {
    throw new Error(
      `the last line of ${file} is not the result of bench:failover --json (${(error as Error).message}); run it again`,
      { cause: error },
    );
  }
}

const WIDTH = 860;
const ROW_HEIGHT = 58;
const TOP = 74;
const LEFT = 210;
const RIGHT = 640;
const BOTTOM = 64;
/** The axis spans whole decades, and at least these milliseconds. */
const AXIS_MS = { from: 1, to: 10_000 } as const;
/** Dots lie this far around the middle of their row, so that equal ones do not hide one another. */
const SPREAD = 9;

/** Throws a {@link RangeError} where there is nothing to draw. */
export function renderChart({ rows }: Drawing): string {
  if (rows.length === 0) throw new RangeError('there is nothing to draw');
  const sorted = rows.toSorted((a, b) => EVENTS.indexOf(a.event) - EVENTS.indexOf(b.event));
  const axis = axisFor(rows);
  const height = TOP + rows.length * ROW_HEIGHT + BOTTOM;
  const description = sorted.map((row) => `${row.event}: ${figuresOf(row).join(', ')}`).join('; ');
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="title description">`,
    `<title id="title">How long clients could not write</title>`,
    `<desc id="description">${escapeText(description)}</desc>`,
    STYLE,
    `<rect class="paper" width="${WIDTH}" height="${height}"/>`,
    text({ x: 20, y: 30, className: 'heading', content: 'How long clients could not write' }),
    ...legend(),
    ...grid(axis, height - BOTTOM),
    ...sorted.flatMap((row, at) => drawRow(row, TOP + at * ROW_HEIGHT, axis)),
    text({
      x: (LEFT + RIGHT) / 2,
      y: height - BOTTOM + 42,
      className: 'small middle',
      content: 'between two acknowledged writes of one client (logarithmic)',
    }),
    '</svg>',
    '',
  ].join('\n');
}

// Colours that keep their contrast on both backgrounds; shapes differ too, for those who cannot tell the colours apart.
const STYLE = `<style>
  svg { --paper: #ffffff; --ink: #1f2328; --faint: #59636e; --line: #d1d9e0; --dot: #0969da; --quiet: #818b98; --wanted: #bc4c00; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #0d1117; --ink: #f0f6fc; --faint: #9198a1; --line: #3d444d; --dot: #4493f8; --quiet: #656c76; --wanted: #f0883e; }
  }
  text { font: 13px system-ui, sans-serif; fill: var(--ink); }
  .heading { font-size: 17px; font-weight: 600; }
  .name { font-weight: 600; }
  .small { font-size: 11px; fill: var(--faint); }
  .middle { text-anchor: middle; }
  .paper { fill: var(--paper); }
  .line { stroke: var(--line); stroke-width: 1; }
  .minor { stroke-dasharray: 1 4; }
  .dot { fill: var(--dot); fill-opacity: 0.55; }
  .quiet { fill: none; stroke: var(--quiet); stroke-width: 1; }
  .median { stroke: var(--ink); stroke-width: 2.5; }
  .wanted { stroke: var(--wanted); stroke-width: 2; stroke-dasharray: 4 3; }
</style>`;

interface Axis {
  readonly fromMs: number;
  readonly toMs: number;
  readonly x: (ms: number) => number;
}

function axisFor(rows: readonly Row[]): Axis {
  const largestMs = Math.max(AXIS_MS.to, ...rows.flatMap((row) => [...row.outagesMs, ...row.controlsMs]));
  const fromMs = AXIS_MS.from;
  const toMs = 10 ** Math.ceil(Math.log10(largestMs));
  const decades = Math.log10(toMs / fromMs);
  return {
    fromMs,
    toMs,
    // What took less than a millisecond stands at one.
    x: (ms) => LEFT + ((RIGHT - LEFT) * Math.log10(Math.max(ms, fromMs) / fromMs)) / decades,
  };
}

function legend(): string[] {
  const y = 52;
  const item = (x: number, mark: string, content: string): string[] => [
    mark,
    text({ x: x + 12, y: y + 4, className: 'small', content }),
  ];
  return [
    '<g class="legend">',
    ...item(LEFT, dot(LEFT, y), 'one run'),
    ...item(LEFT + 78, quiet(LEFT + 78, y), 'the same client before, undisturbed'),
    ...item(LEFT + 312, tick('median', LEFT + 312, y, 7), 'median'),
    ...item(LEFT + 382, tick('wanted', LEFT + 382, y, 7), 'wanted: at most'),
    '</g>',
  ];
}

function grid(axis: Axis, bottom: number): string[] {
  const parts: string[] = [];
  for (let ms = axis.fromMs; ms <= axis.toMs; ms *= 10) {
    parts.push(vertical('line', axis.x(ms), TOP - 8, bottom));
    parts.push(
      text({ x: axis.x(ms), y: bottom + 20, className: 'small middle', content: formatDuration(ms) }),
    );
    for (const step of [2, 5])
      if (ms * step < axis.toMs) parts.push(vertical('line minor', axis.x(ms * step), TOP - 8, bottom));
  }
  return parts;
}

function drawRow(row: Row, top: number, axis: Axis): string[] {
  const [name, explanation] = LABELS[row.event];
  const [outageY, quietY] = [top + 16, top + 42];
  const [figures, counts] = figuresOf(row);
  const dots = row.outagesMs.map((ms, at) => dot(axis.x(ms), outageY + offsetOf(at)));
  return [
    text({ x: 20, y: top + 20, className: 'name', content: name }),
    text({ x: 20, y: top + 36, className: 'small', content: explanation }),
    ...row.controlsMs.map((ms, at) => quiet(axis.x(ms), quietY + offsetOf(at) / 2)),
    ...dots,
    tick('median', axis.x(percentile(row.outagesMs, 50)), outageY, 14),
    tick('wanted', axis.x(WANTED_MS[row.event]), outageY, 14),
    text({ x: RIGHT + 18, y: top + 20, className: '', content: figures ?? '' }),
    text({ x: RIGHT + 18, y: top + 36, className: 'small', content: counts ?? '' }),
  ];
}

const P99_RUN_COUNT_MIN = 100;

/** `median 205 ms, worst 312 ms` (or 99 %, where there are runs enough for one) and what was lost. */
function figuresOf({ outagesMs, lost, doubles }: Row): string[] {
  const [percent, name] = outagesMs.length < P99_RUN_COUNT_MIN ? [100, 'worst'] : [99, '99 %'];
  const median = formatDuration(percentile(outagesMs, 50));
  const high = formatDuration(percentile(outagesMs, percent));
  return [`median ${median}, ${name} ${high}`, `${outagesMs.length} runs, ${lost} lost, ${doubles} double`];
}

/** Spreads the runs over the row in a fixed order that looks like none: the same figures give the same picture. */
function offsetOf(at: number): number {
  const golden = 0.618_033_988_75;
  return ((at * golden) % 1) * 2 * SPREAD - SPREAD;
}

/** `5 ms`, `250 ms`, `2.5 s`, `10 s`. */
function formatDuration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${Number((ms / 1000).toPrecision(3))} s`;
}

const round = (value: number): number => Math.round(value * 10) / 10;

const dot = (x: number, y: number): string => `<circle class="dot" cx="${round(x)}" cy="${round(y)}" r="4"/>`;
const quiet = (x: number, y: number): string =>
  `<circle class="quiet" cx="${round(x)}" cy="${round(y)}" r="2.5"/>`;
const vertical = (className: string, x: number, y1: number, y2: number): string =>
  `<line class="${className}" x1="${round(x)}" x2="${round(x)}" y1="${round(y1)}" y2="${round(y2)}"/>`;
const tick = (className: string, x: number, y: number, half: number): string =>
  vertical(className, x, y - half, y + half);

function text(options: {
  readonly x: number;
  readonly y: number;
  readonly className: string;
  readonly content: string;
}): string {
  const className = options.className === '' ? '' : ` class="${options.className}"`;
  return `<text${className} x="${round(options.x)}" y="${round(options.y)}">${escapeText(options.content)}</text>`;
}

const escapeText = (content: string): string =>
  content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
