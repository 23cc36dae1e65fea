// A failover among servers that somebody else has started: what is stopped, what is left behind, what is reported.
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeMemberId, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { Command } from '../cluster/commands.ts';
import type { AgentContext } from './context.ts';
import { carryOutCut, carryOutHandOver, carryOutPromote } from './failover-duties.ts';
import { PRIMARY, fakeContext } from './testing/context.ts';
import { IN_PRODUCTION, writeControl } from '../postgres/testing/control-file.ts';

const SELF = nodeId('a');
const MEMBER = makeMemberId(SELF, '00000001');
const SHUT_DOWN = 1;
let dataDirectory: string;
beforeEach(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-adopted-'));
});
afterEach(() => rm(dataDirectory, { recursive: true }));

function scene(options: {
  readonly isForeign: boolean;
  readonly isRunning?: boolean;
  readonly toAdopt?: readonly (typeof SELF)[];
  readonly reports?: readonly object[];
  readonly member?: typeof MEMBER;
}) {
  const context = fakeContext({ dataDirectory });
  const steps: string[] = [];
  const proposed: Command[] = [];
  context.isRunning = options.isRunning ?? true;
  const { member } = options;
  const { stop } = context.instance;
  Object.assign(context.instance, {
    isForeign: () => options.isForeign && context.isRunning,
    stop: (given: Parameters<typeof stop>[0]) => {
      steps.push('stop');
      return stop(given);
    },
  });
  Object.assign(context, {
    fence: { raise: () => Promise.resolve() },
    guarding: { prepare: () => Promise.resolve(true) },
    group: () => ({
      phase: { kind: 'fencing', primary: SELF, reports: options.reports ?? [] },
      toAdopt: options.toAdopt ?? [],
    }),
    registration: () => ({ node: SELF, member }),
    localMember: () => member,
    registerAgain: () => {
      steps.push('member');
      return Promise.resolve(true);
    },
    propose: (command: Command) => {
      steps.push(
        existsSync(join(dataDirectory, 'standby.signal')) ? `${command.kind} as standby` : command.kind,
      );
      proposed.push(command);
      return Promise.resolve(true);
    },
  });
  return { context: context as AgentContext & typeof context, steps, proposed };
}

const { signal } = new AbortController();
const CUT = { ...PRIMARY, kind: 'cut', wasPrimary: false } as const;
const HAND_OVER = { ...PRIMARY, kind: 'hand-over', rule: { members: [], acks: 0 } } as const;

test('a foreign server is left alone by a cut that the log does not confirm', async () => {
  const { context, steps } = scene({ isForeign: true });
  context.isConfirmed = false;
  await carryOutCut(context, CUT, signal);
  expect(steps).toEqual([]);
  expect(context.isRunning).toBe(true);
});

test('a server whose turn has not come has a member id before it is stopped for a cut, so that it can report', async () => {
  const { context, steps } = scene({ isForeign: true, toAdopt: [SELF] });
  await carryOutCut(context, CUT, signal);
  expect(steps).toEqual(['member', 'stop']);
});

test('one that has its member id is stopped at once', async () => {
  const { context, steps } = scene({ isForeign: true, toAdopt: [SELF], member: MEMBER });
  Object.assign(context, {
    dataDirectory: () => Promise.resolve({ kind: 'ready', member: { memberId: MEMBER } }),
  });
  await carryOutCut(context, CUT, signal);
  expect(steps).toEqual(['stop']);
});

test('a foreign server is not promoted: it is stopped, and somebody else is chosen', async () => {
  const { context, steps, proposed } = scene({ isForeign: true });
  const from = { timeline: timeline(1), position: lsn(1n) };
  await carryOutPromote(context, { ...PRIMARY, kind: 'promote', from }, signal);
  expect(steps).toEqual(['stop', 'promotion-failed']);
  expect(proposed).toMatchObject([{ reason: expect.stringMatching(/started by somebody else/) }]);
});

test('an adopted primary that was handed over starts as a standby from then on, whoever starts it', async () => {
  await writeControl(dataDirectory, SHUT_DOWN);
  const handed = scene({ isForeign: true, isRunning: false, toAdopt: [SELF], member: MEMBER });
  await carryOutHandOver(handed.context, HAND_OVER, signal);
  expect(handed.steps).toEqual(['cut-report as standby']);
});

test('it is not reported where it runs again by then', async () => {
  await writeControl(dataDirectory, SHUT_DOWN);
  const { context, steps } = scene({ isForeign: true, isRunning: false, toAdopt: [SELF], member: MEMBER });
  let lookCount = 0;
  Object.assign(context.instance, {
    postmaster: () => {
      lookCount += 1;
      return lookCount === 1 ? undefined : { pid: 1 };
    },
  });
  await carryOutHandOver(context, HAND_OVER, signal);
  expect(steps).toEqual([]);
});

test('one of ours is reported without that: nobody else starts it', async () => {
  await writeControl(dataDirectory, SHUT_DOWN);
  const { context, steps } = scene({ isForeign: false, isRunning: false, member: MEMBER });
  await carryOutHandOver(context, HAND_OVER, signal);
  expect(steps).toEqual(['cut-report']);
});

test.each([
  ['somebody else’s', true, SHUT_DOWN],
  ['as a primary', false, IN_PRODUCTION],
])(
  'what runs again after it was handed over, %s, is stopped, whatever the log says by now',
  async (_, isForeign, state) => {
    await writeControl(dataDirectory, state);
    const { context, steps } = scene({
      isForeign,
      member: MEMBER,
      reports: [{ node: SELF, member: MEMBER }],
    });
    context.isConfirmed = false;
    await carryOutHandOver(context, HAND_OVER, signal);
    expect(steps).toEqual(['stop']);
  },
);

test('what was started to report, cut off, goes on', async () => {
  const IN_RECOVERY = 5;
  await writeControl(dataDirectory, IN_RECOVERY);
  const { context, steps } = scene({
    isForeign: false,
    member: MEMBER,
    reports: [{ node: SELF, member: MEMBER }],
  });
  await carryOutHandOver(context, HAND_OVER, signal);
  expect(steps).toEqual([]);
});
