// How long it is waited for where a cut standby stands, when it does not answer. What it answers is tested with PostgreSQL (test/integration/postgres).
import { expect, test, vi } from 'vitest';
import { DeadlineError } from '../base/clock.ts';
import { readCutPosition } from './position.ts';
import type { Session } from './session.ts';

const LIMIT_MS = 300_000;

/** No session: whoever asks waits for as long as he says. */
async function ask(isRunning: () => boolean): Promise<{ readonly tookMs: number; readonly error: Error }> {
  vi.useFakeTimers();
  try {
    const query = ((_text, _values, { timeoutMs, signal }) =>
      new Promise((_, reject) => {
        setTimeout(() => reject(new DeadlineError('no session')), timeoutMs);
        signal?.addEventListener('abort', () => reject(signal.reason as Error));
      })) as Session['query'];
    const asked = readCutPosition({
      session: { query } as Session,
      ...{ socketDirectory: '/nowhere', port: 1, superuser: 'sentinel', isRunning, timeoutMs: LIMIT_MS },
    }).then(
      () => new Error('it was told'),
      (error: unknown) => error as Error,
    );
    const startedMs = performance.now();
    let tookMs: number | undefined;
    const onDone = (): void => void (tookMs = performance.now() - startedMs);
    asked.then(onDone, onDone);
    while (tookMs === undefined) await vi.advanceTimersByTimeAsync(1000);
    return { tookMs, error: await asked };
  } finally {
    vi.useRealTimers();
  }
}

test('one that has ended is not waited for', async () => {
  const { tookMs, error } = await ask(() => false);
  expect(error.message).toMatch(/^PostgreSQL has ended/);
  expect(tookMs).toBeLessThan(10_000);
});

test('one that runs and does not answer is waited for to the end', async () => {
  const { tookMs, error } = await ask(() => true);
  expect(error).toBeInstanceOf(DeadlineError);
  expect(tookMs).toBeGreaterThanOrEqual(LIMIT_MS - 1000);
});
