// How far a copy has come, as it is drawn: on a terminal in one line that fits, elsewhere a line now and then.
import { describe, expect, it } from 'vitest';
import type { LocalProgress } from '../local/request.ts';
import { createCloneBar } from './clone-bar.ts';
import { fakeOutput } from './testing/fake-context.ts';

const CLEAR = '\r\x1b[K';
const GB = 1e9;

/** A bar on a terminal of that many columns, or on none, with a clock that the test turns. */
function barOn(columns: number | undefined) {
  const output = fakeOutput(columns === undefined ? {} : { isTerminal: true, columns });
  let nowMs = 0;
  const bar = createCloneBar(output, () => nowMs);
  return {
    bar,
    output,
    /** What is written for it, `afterMs` after the one before. */
    draw(progress: Partial<LocalProgress>, afterMs = 10_000): string {
      nowMs += afterMs;
      const before = output.chunks.length;
      bar.show({
        ...{ bytes: 0, totalBytes: undefined, bytesPerSecond: undefined, leftMs: undefined },
        ...progress,
      });
      return output.chunks.slice(before).join('');
    },
  };
}

describe('on a terminal', () => {
  it('is a bar of a fixed width with percent, size, rate and the time left', () => {
    const { draw } = barOn(120);
    const text = draw({ bytes: GB / 2, totalBytes: GB, bytesPerSecond: 50e6, leftMs: 10_000 });
    expect(text).toMatch(/^\r\x1b\[K\[={12}> {11}\] 50 %, \S+ MB of about \S+ MB, \S+ MB\/s, 10\.0s left$/);
  });

  it.each([
    [0, `[>${' '.repeat(23)}] 0 %`],
    [0.999, `[${'='.repeat(23)}>] 99 %`],
    [1, `[${'='.repeat(24)}] 99 %`],
    // The server has grown meanwhile.
    [1.3, `[${'='.repeat(24)}] 99 %`],
  ])('at %d of the whole it is drawn so', (part, start) => {
    expect(barOn(120).draw({ bytes: part * GB, totalBytes: GB })).toContain(`${CLEAR}${start}`);
  });

  it.each([undefined, 0])('has neither bar nor percent where the whole is %s', (totalBytes) => {
    const text = barOn(120).draw({ bytes: 3 * 2 ** 20, totalBytes, bytesPerSecond: 2 ** 20 });
    expect(text).toBe(`${CLEAR}3.0 MB, 1.0 MB/s`);
  });

  it('says neither rate nor time left where they are not known', () => {
    expect(barOn(120).draw({ bytes: 0, totalBytes: GB })).not.toMatch(/\/s|left/);
  });

  // A line that is broken cannot be drawn over.
  it.each([80, 40, 12, 2, 1])('stays within %d columns', (columns) => {
    const text = barOn(columns).draw({ bytes: GB, totalBytes: 3 * GB, bytesPerSecond: 1e6, leftMs: 2e6 });
    const line = text.slice(CLEAR.length);
    expect(text.startsWith(CLEAR)).toBe(true);
    expect(line.length).toBeGreaterThan(0);
    expect(line.length).toBeLessThanOrEqual(Math.max(1, columns - 1));
  });

  it('is drawn ten times a second at the most, and taken away before something else is written', () => {
    const { bar, output, draw } = barOn(120);
    expect(draw({ bytes: 1 })).not.toBe('');
    expect(draw({ bytes: 2 }, 99)).toBe('');
    expect(draw({ bytes: 3 }, 1)).not.toBe('');
    bar.clear();
    bar.clear();
    expect(output.chunks.filter((chunk) => chunk === CLEAR)).toHaveLength(1);
  });
});

describe('elsewhere', () => {
  it('is a plain line, every five seconds at the most', () => {
    const { bar, output, draw } = barOn(undefined);
    expect(draw({ bytes: 2 ** 20, totalBytes: 4 * 2 ** 20, leftMs: 61_000 })).toBe(
      '25 %, 1.0 MB of about 4.0 MB, 1min left\n',
    );
    expect(draw({ bytes: 2 * 2 ** 20 }, 4999)).toBe('');
    expect(draw({ bytes: 2 * 2 ** 20 }, 1)).toBe('2.0 MB\n');
    bar.clear();
    expect(output.chunks).toHaveLength(2);
  });
});
