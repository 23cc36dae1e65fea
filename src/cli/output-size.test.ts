// What is printed is as wide as the terminal, or as the text.
import { expect, it } from 'vitest';
import { helpWidth, outputSize } from './output-size.ts';
import { fakeOutput, run } from './testing/fake-context.ts';

it.each([
  [{ isTTY: true, columns: 120, rows: 50 }, { COLUMNS: '200' }, { columns: 120, rows: 50 }],
  [{ isTTY: true, columns: 0, rows: 0 }, {}, { columns: 80, rows: 24 }],
  [{}, { COLUMNS: '200' }, { columns: 200, rows: 24 }],
  [{}, { COLUMNS: 'wide' }, { columns: Infinity, rows: 24 }],
  [{}, {}, { columns: Infinity, rows: 24 }],
])('of %j with %j: %j', (stream, env, size) => {
  expect(outputSize(stream, env)).toEqual(size);
});

it('status is whole where nothing bounds it, and help is wrapped all the same', async () => {
  const stdout = fakeOutput({ columns: Infinity });
  expect(await run(['status'], { stdout })).toMatchObject({ exitCode: 0 });
  const [wide, narrow] = [stdout.chunks.join(''), fakeOutput({ columns: 40 })];
  await run(['status'], { stdout: narrow });
  expect(narrow.chunks.join('')).not.toContain('10.0.0.3:5432');
  expect(wide).toContain('10.0.0.3:5432');
  expect(wide).not.toContain('~');
  const help = fakeOutput({ columns: Infinity });
  await run(['failover', '--help'], { stdout: help });
  expect(
    Math.max(
      ...help.chunks
        .join('')
        .split('\n')
        .map((line) => line.length),
    ),
  ).toBeLessThanOrEqual(80);
  expect(helpWidth({ columns: 100, rows: 1 })).toBe(100);
});
