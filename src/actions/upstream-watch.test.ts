import { expect, test } from 'vitest';
import { createUpstreamWatch } from './upstream-watch.ts';

test('what lasts is said once, and again where it is something else or has come back', () => {
  const said: string[] = [];
  let problem: string | undefined = 'no d';
  let nowMs = 0;
  const watch = createUpstreamWatch({
    problem: () => problem,
    say: (text) => said.push(text),
    nowMs: () => nowMs,
  });
  const lookAt = (atMs: number): void => {
    nowMs = atMs;
    watch.look();
  };
  lookAt(0);
  lookAt(29_999);
  expect(said).toEqual([]);
  lookAt(30_000);
  lookAt(90_000);
  expect(said).toEqual(['no d']);
  problem = 'no e';
  lookAt(100_000);
  lookAt(130_000);
  problem = undefined;
  lookAt(131_000);
  problem = 'no e';
  lookAt(132_000);
  lookAt(162_000);
  expect(said).toEqual(['no d', 'no e', 'no e']);
});
