import { expect, it } from 'vitest';
import { DURATION_PATTERN, parseDurationMs } from './duration.ts';

it.each([
  ['500ms', 500],
  ['1.5s', 1500],
  ['5m', 300_000],
  ['5min', 300_000],
  ['2h', 7_200_000],
  ['5', undefined],
  ['5M', undefined],
  ['5 m', undefined],
  ['5d', undefined],
])('%s is %s ms', (text, ms) => {
  expect(parseDurationMs(text)).toBe(ms);
  expect(new RegExp(DURATION_PATTERN).test(text)).toBe(ms !== undefined);
});
