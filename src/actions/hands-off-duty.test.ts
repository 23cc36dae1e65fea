// A node that is left to its administrator: what its agent still does, and all that it does not.
import { expect, test } from 'vitest';
import type { Duty } from '../failover/duties.ts';
import type { AgentContext } from './context.ts';
import { carryOutHandsOff } from './hands-off-duty.ts';
import { PRIMARY, STANDBY } from './testing/context.ts';

const { group, incarnation, epoch } = PRIMARY;
const DUTY: Extract<Duty, { kind: 'hands-off' }> = {
  kind: 'hands-off',
  reason: 'in maintenance: PostgreSQL is left as it is',
  group,
  incarnation,
  epoch,
  slots: [STANDBY],
};

/** `runs` as what; undefined: not at all. `steps`: everything that was done. */
function example(options: { runs?: 'primary' | 'standby' | 'unreachable'; isConfirmed?: boolean }) {
  const steps: string[] = [];
  const context = {
    timing: { queryTimeoutMs: 1000 },
    activity: (condition: string | undefined, message: string) => steps.push(`${condition}: ${message}`),
    announce: (message: string) => steps.push(message),
    confirms: () => Promise.resolve(options.isConfirmed ?? true),
    once: (key: string) => {
      steps.push(key);
      return Promise.resolve();
    },
    instance: {
      postmaster: () => (options.runs === undefined ? undefined : { pid: 7 }),
      readRole: () =>
        options.runs === 'unreachable'
          ? Promise.reject(new Error('the database system is shutting down'))
          : Promise.resolve({ kind: options.runs }),
      stop: () => {
        steps.push('stop');
        return Promise.resolve();
      },
    },
  };
  const carriedOut = carryOutHandsOff(
    context as unknown as AgentContext,
    DUTY,
    new AbortController().signal,
  ).then(() => steps.slice(1));
  return { carriedOut, steps };
}

test('says why, and neither starts what is stopped nor minds what cannot be asked', async () => {
  const { carriedOut, steps } = example({});
  expect(await carriedOut).toEqual([]);
  expect(steps).toEqual([`undefined: ${DUTY.reason}`]);
  expect(await example({ runs: 'unreachable' }).carriedOut).toEqual([]);
});

test('keeps the slots of a standby that runs from keeping all WAL', async () => {
  expect(await example({ runs: 'standby' }).carriedOut).toEqual([`slots ${STANDBY}`, 'advance']);
});

test('stops what runs as a primary, once the log confirms that it is none', async () => {
  const stopped = [expect.stringMatching(/ran as a primary/), 'stop'];
  expect(await example({ runs: 'primary' }).carriedOut).toEqual(stopped);
  expect(await example({ runs: 'primary', isConfirmed: false }).carriedOut).toEqual([]);
});
