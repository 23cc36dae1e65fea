import { describe, expect, test } from 'vitest';
import { renderChart, type Row, rowOfOutput } from './chart.ts';
import { EVENTS } from './options.ts';

const row = (event: Row['event'], outagesMs: readonly number[]): Row => ({
  event,
  outagesMs,
  controlsMs: outagesMs.map(() => 9),
  lost: 0,
  doubles: 0,
});

const dotsOf = (svg: string): { x: number; y: number }[] =>
  [
    ...svg
      .replace(/<g class="legend">.*?<\/g>/s, '')
      .matchAll(/<circle class="dot" cx="([\d.]+)" cy="([\d.]+)"/g),
  ].map(([, x, y]) => ({
    x: Number(x),
    y: Number(y),
  }));

/** Where the gridline of so many milliseconds stands, found by its label. */
function gridAt(svg: string, label: string): number {
  const found = new RegExp(`<text class="small middle" x="([\\d.]+)"[^>]*>${label}</text>`).exec(svg);
  return Number(found?.[1]);
}

/** Every opened element is closed, in order: a browser shows nothing at all of an SVG that is not well-formed. */
function openElements(svg: string): string[] {
  const open: string[] = [];
  for (const [, slash, name, end] of svg.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
    if (slash === '/') expect(open.pop()).toBe(name);
    else if (end !== '/') open.push(name ?? '');
  }
  return open;
}

describe('the chart of the outages', () => {
  test('has a dot for each run, where the logarithmic axis says', () => {
    const svg = renderChart({ rows: [row('crash', [10, 100, 1000])] });
    const [ten, hundred, thousand] = dotsOf(svg);
    expect(ten?.x).toBeCloseTo(gridAt(svg, '10 ms'), 0);
    expect(hundred?.x).toBeCloseTo(gridAt(svg, '100 ms'), 0);
    expect(thousand?.x).toBeCloseTo(gridAt(svg, '1 s'), 0);
    expect((thousand?.x ?? 0) - (hundred?.x ?? 0)).toBeCloseTo((hundred?.x ?? 0) - (ten?.x ?? 0), 0);
  });

  test('keeps apart runs that took equally long, and draws the same figures the same way', () => {
    const equal = [
      row(
        'crash',
        Array.from({ length: 20 }, () => 200),
      ),
    ];
    const dots = dotsOf(renderChart({ rows: equal }));
    expect(new Set(dots.map(({ x }) => x)).size).toBe(1);
    expect(new Set(dots.map(({ y }) => y)).size).toBe(20);
    expect(renderChart({ rows: equal })).toBe(renderChart({ rows: equal }));
  });

  test('widens its axis for the longest outage instead of drawing beyond it', () => {
    const svg = renderChart({ rows: [row('host', [0, 2500, 65_000])] });
    const [shortest, , longest] = dotsOf(svg);
    expect(shortest?.x).toBeCloseTo(gridAt(svg, '1 ms'), 0);
    expect(longest?.x).toBeLessThan(gridAt(svg, '100 s'));
  });

  test('has the events in one order, each with its figures in words', () => {
    const svg = renderChart({ rows: EVENTS.toReversed().map((event) => row(event, [205, 207, 312])) });
    const names = [...svg.matchAll(/<text class="name"[^>]*>([^<]*)</g)].map(([, name]) => name);
    expect(names).toEqual(EVENTS);
    expect(svg).toContain('median 207 ms, worst 312 ms');
    expect(svg).toMatch(/<desc[^>]*>crash: median 207 ms, worst 312 ms, 3 runs, 0 lost, 0 double; host:/);
  });

  test('claims a 99th percentile only of a hundred runs', () => {
    const values = Array.from({ length: 100 }, (_, at) => at + 1);
    expect(renderChart({ rows: [row('crash', values)] })).toContain('median 50 ms, 99 % 99 ms');
    expect(renderChart({ rows: [row('crash', values.slice(1))] })).toContain('worst 100 ms');
  });

  test('is well-formed, needs nothing from elsewhere, and knows dark backgrounds', () => {
    const svg = renderChart({ rows: EVENTS.map((event) => row(event, [12])) });
    expect(openElements(svg)).toEqual([]);
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
    expect(svg.replace('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|url\(|href|<script|<image/);
    const dark = /prefers-color-scheme: dark\) \{([^}]*)\}/.exec(svg)?.[1] ?? '';
    const light = /svg \{([^}]*)\}/.exec(svg)?.[1] ?? '';
    const names = (css: string): string[] => [...css.matchAll(/--[a-z]+/g)].map(([name]) => name);
    expect(names(dark)).toEqual(names(light));
    for (const [, used] of svg.matchAll(/var\((--[a-z]+)\)/g)) expect(names(light)).toContain(used);
  });

  test('is refused where there is nothing to draw', () => {
    expect(() => renderChart({ rows: [] })).toThrow(RangeError);
  });
});

describe('the output of an earlier run', () => {
  const summary = {
    event: 'crash',
    lost: 1,
    lostInTheEnd: 2,
    doubles: 3,
    perRun: [
      { outageMs: 200, controlGapMs: 8 },
      { outageMs: 210, controlGapMs: 9 },
    ],
  };

  test('gives a row by its last line', () => {
    expect(rowOfOutput(`bench:failover\n{"ok":1}\n${JSON.stringify(summary)}\n`, 'a.json')).toEqual({
      event: 'crash',
      outagesMs: [200, 210],
      controlsMs: [8, 9],
      lost: 3,
      doubles: 3,
    });
  });

  test.each([
    ['', 'nothing'],
    ['as promised\n', 'no JSON'],
    ['{"ok":false,"error":"x"}\n', 'a failed run'],
    [JSON.stringify({ ...summary, event: 'explode' }), 'an unknown event'],
    [JSON.stringify({ ...summary, perRun: [] }), 'no run'],
    [JSON.stringify({ ...summary, perRun: [{ outageMs: 200 }] }), 'an older version'],
  ])('is refused: %s (%s)', (output) => {
    expect(() => rowOfOutput(output, 'a.json')).toThrow(
      /last line of a\.json is not the result of bench:failover/,
    );
  });
});
