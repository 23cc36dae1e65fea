// `sentinelctl node replace-database`: refused with the reason before the agent is asked, proposed with what it found, and waited for.
import { expect, test } from 'vitest';
import type { ReplacementRequest } from '../actions/other-database.ts';
import type { Command } from '../cluster/commands.ts';
import { REPLACEMENT_FEATURE_LEVEL } from '../cluster/features.ts';
import { A, GROUP, type Log, P1, at, newLog, running } from '../cluster/testing/example.ts';
import { ALL_WELL, viewOf } from '../failover/testing/view.ts';
import { steerNode } from './node-commands.ts';
import type { ProposalOutcome } from './replica.ts';

const FOUND = { from: '77', to: '88', text: '/new, PostgreSQL 17' };

function world(featureLevel = REPLACEMENT_FEATURE_LEVEL, isAnswered = true) {
  const log: Log = newLog({ ...running().state, featureLevel });
  const proposed: Command[] = [];
  const asked: string[] = [];
  const propose = (command: Command): Promise<ProposalOutcome> => {
    proposed.push(command);
    const reason = log.commit(command);
    if (reason !== undefined) return Promise.resolve({ kind: 'refused', reason });
    // Its agent starts it.
    setTimeout(() => log.must({ ...at(log).ready(), systemIdentifier: '88' } as Command), 20);
    return Promise.resolve(
      isAnswered ? { kind: 'applied', index: log.state.appliedIndex } : { kind: 'unknown' },
    );
  };
  const ask = (dryRun = false, offer: typeof FOUND | Error = FOUND) =>
    steerNode(
      {
        ...{ state: () => log.state, view: () => viewOf(log, 0, ALL_WELL), propose, self: P1 },
        signal: new AbortController().signal,
        agent: () => ({
          ask(given) {
            asked.push(given.kind);
            if (offer instanceof Error) return Promise.reject(offer);
            return (given as ReplacementRequest).propose(offer);
          },
          retry: () => undefined,
        }),
      },
      { kind: 'node', inPlace: false, dryRun, node: A, action: 'replace-database' },
    );
  const pause = (): void =>
    log.must({ kind: 'pause', group: GROUP, node: undefined, isMaintenance: false, untilMs: undefined });
  return { log, proposed, asked, ask, pause };
}

test('what stands against it is said before the agent is asked', async () => {
  const { ask, asked } = world();
  expect(await ask()).toMatchObject({
    kind: 'refused',
    reason: expect.stringMatching(/is not replaced: .*pause main/) as string,
  });
  expect(await world(REPLACEMENT_FEATURE_LEVEL - 1).ask()).toMatchObject({ kind: 'refused' });
  expect(asked).toEqual([]);
});

test('a dry run says what was found and who joins, and changes nothing', async () => {
  const { ask, pause, proposed } = world();
  pause();
  const detail = expect.stringMatching(
    /nothing was changed; .*\/new, PostgreSQL 17; b, c hold the database before/,
  ) as string;
  expect(await ask(true)).toMatchObject({ kind: 'done', detail });
  expect(proposed).toEqual([]);
});

test('what the agent found is proposed, and the answer comes once the group runs with it', async () => {
  const { ask, pause, proposed, log } = world();
  pause();
  const { epoch } = log;
  expect(await ask()).toMatchObject({
    kind: 'done',
    detail: expect.stringMatching(/goes on with the database of a/) as string,
  });
  expect(proposed).toEqual([
    { kind: 'replace-database', group: GROUP, epoch, primary: A, from: '77', to: '88' },
  ]);
  expect(log.group).toMatchObject({ phase: { kind: 'running', primary: A }, systemIdentifier: '88' });
});

test('where nobody answers but it was done, it is done', async () => {
  const { ask, pause } = world(REPLACEMENT_FEATURE_LEVEL, false);
  pause();
  expect(await ask()).toMatchObject({
    kind: 'done',
    detail: expect.stringMatching(/goes on with the database of a .*is on a alone/) as string,
  });
});

test('a refusal of the agent, and one of the log, is the answer', async () => {
  const { ask, pause, log } = world();
  pause();
  expect(await ask(false, new Error('PostgreSQL runs in /new'))).toMatchObject({
    reason: 'the database of group main is not replaced: PostgreSQL runs in /new',
  });
  expect(await ask(false, { ...FOUND, to: '77' })).toMatchObject({
    reason: expect.stringMatching(/has that database already/) as string,
  });
  expect(log.group.phase.kind).toBe('running');
});
