// pause, resume and maintenance: what is asked, when a person is asked back, what is refused here already.
import { describe, expect, it } from 'vitest';
import { fakeAdmin, run } from './testing/fake-context.ts';

const asked = (admin: ReturnType<typeof fakeAdmin>): unknown[] =>
  admin.asked.filter((request) => request !== 'closed');
const PAUSE = { kind: 'pause', group: undefined, node: undefined, forMs: undefined, dryRun: false };
const RESUME = { kind: 'resume', group: undefined, node: undefined, dryRun: false };
const ON = { kind: 'maintenance', node: 'pg2', to: undefined, forMs: undefined, dryRun: false };

describe('what is asked of the cluster', () => {
  it.each<[string, unknown]>([
    ['pause', PAUSE],
    ['pause main --for 30m', { ...PAUSE, group: 'main', forMs: 1_800_000 }],
    ['pause --for 1.5h --dry-run', { ...PAUSE, forMs: 5_400_000, dryRun: true }],
    ['pause --node pg2 --for 90s', { ...PAUSE, node: 'pg2', forMs: 90_000 }],
    ['resume', RESUME],
    ['resume main --dry-run', { ...RESUME, group: 'main', dryRun: true }],
    ['resume --node pg2', { ...RESUME, node: 'pg2' }],
    ['maintenance on pg2', ON],
    ['maintenance on pg2 --for 2h', { ...ON, forMs: 7_200_000 }],
    ['maintenance on pg1 --to pg2 --yes', { ...ON, node: 'pg1', to: 'pg2' }],
    ['maintenance on pg1 --dry-run', { ...ON, node: 'pg1', dryRun: true }],
    ['maintenance off pg2', { ...RESUME, node: 'pg2' }],
    ['maintenance off pg2 --dry-run', { ...RESUME, node: 'pg2', dryRun: true }],
  ])('%s', async (line, request) => {
    const admin = fakeAdmin();
    const { exitCode, stdout, stderr } = await run(line.split(' '), { admin });
    expect([asked(admin), exitCode, stderr]).toEqual([[request], 0, '']);
    expect(stdout).toMatch(/^done: /);
  });
});

describe('a switchover that maintenance would begin with', () => {
  it('is asked about on a terminal', async () => {
    const questions: string[] = [];
    const ask = (answer: string) => (question: string) => {
      questions.push(question);
      return Promise.resolve(answer);
    };
    const admin = fakeAdmin();
    const no = await run(['maintenance', 'on', 'pg1'], { admin, context: { ask: ask('n') } });
    expect(no).toMatchObject({ exitCode: 1, stderr: 'sentinelctl: nothing was changed\n' });
    expect(asked(admin)).toEqual([]);
    await run(['maintenance', 'on', 'pg1', '--to', 'pg2'], { admin, context: { ask: ask('y') } });
    expect(asked(admin)).toEqual([{ ...ON, node: 'pg1', to: 'pg2' }]);
    expect(questions).toEqual([
      'pg1 is the primary: switch over to a standby first? [y/N] ',
      'pg1 is the primary: switch over to pg2 first? [y/N] ',
    ]);
  });

  it('wants --yes elsewhere', async () => {
    const admin = fakeAdmin();
    const outcome = await run(['maintenance', 'on', 'pg1'], { admin });
    expect(outcome).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/pass --yes/) as unknown });
    expect(asked(admin)).toEqual([]);
  });
});

it.each<[string, RegExp]>([
  ['pause --for soon', /Expected a duration/],
  ['pause --for 0s', /Expected a duration/],
  ['pause --for 30', /Expected a duration/],
  ['pause --for 9000h', /at most a year/],
  ['maintenance on PG-2!', /not the name of a node/],
  ['resume --node PG-2!', /not the name of a node/],
  ['maintenance on', /missing required argument/],
])('%s is wrong use', async (line, reason) => {
  const { exitCode, stderr } = await run(line.split(' '));
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(reason);
});
