// node unregister, drop, register and follow: what is asked of the cluster, and what a person is told before.
import { describe, expect, it } from 'vitest';
import type { SteerOutcome } from '../transport/types.ts';
import { fakeAdmin, run } from './testing/fake-context.ts';

const asked = (admin: ReturnType<typeof fakeAdmin>): unknown[] =>
  admin.asked.filter((request) => request !== 'closed');
const NODE = { kind: 'node', node: 'pg2', inPlace: false, dryRun: false };

describe('what is asked of the cluster', () => {
  it.each<[string, unknown]>([
    ['unregister pg2 -y', { ...NODE, action: 'unregister' }],
    ['unregister pg2 --dry-run', { ...NODE, action: 'unregister', dryRun: true }],
    ['drop pg2 --yes', { ...NODE, action: 'drop' }],
    ['unregister pg2 --accept-data-loss -y', { ...NODE, action: 'unregister', acceptsLoss: true }],
    ['drop pg2 --accept-data-loss -y', { ...NODE, action: 'drop', acceptsLoss: true }],
    ['drop pg2 --destroy -y', { ...NODE, action: 'drop', destroy: true }],
    ['drop pg2 --destroy --dry-run', { ...NODE, action: 'drop', destroy: true, dryRun: true }],
    ['register pg2', { ...NODE, action: 'register' }],
    ['follow pg2', { ...NODE, action: 'follow' }],
  ])('%s', async (line, request) => {
    const admin = fakeAdmin();
    const { exitCode } = await run(['node', ...line.split(' ')], { admin });
    expect([asked(admin), exitCode]).toEqual([[request], 0]);
  });
});

describe('a person is told first what it would do', () => {
  const PLAN: SteerOutcome = {
    kind: 'done',
    detail: 'it could be done, nothing was changed; then: pg2 leaves group main',
  };

  it.each(['unregister', 'drop', 'drop --destroy'])('%s', async (command) => {
    const questions: string[] = [];
    const args = ['node', ...command.split(' '), 'pg2'];
    const answered = async (answer: string) => {
      const dryRuns: boolean[] = [];
      const admin = fakeAdmin({
        steer(request) {
          dryRuns.push('dryRun' in request && request.dryRun);
          return Promise.resolve(PLAN);
        },
      });
      const ask = (text: string): Promise<string> => {
        questions.push(text);
        return Promise.resolve(answer);
      };
      const { exitCode } = await run(args, { admin, context: { ask } });
      return [exitCode, dryRuns];
    };
    expect(await answered('n')).toEqual([1, [true]]);
    expect(questions).toEqual(['pg2 leaves group main. Go on? [y/N] ']);
    expect(await answered('y')).toEqual([0, [true, false]]);
  });

  it('and is not asked for what is refused', async () => {
    const refused: SteerOutcome = { kind: 'refused', reason: 'pg1 is the primary of group main' };
    const admin = fakeAdmin({ steer: () => Promise.resolve(refused) });
    const { exitCode, stderr } = await run(['node', 'drop', 'pg1'], { admin });
    expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/pg1 is the primary/)]);
  });
});

it.each(['unregister', 'drop', 'register', 'follow'])('no name of a node: %s', async (command) => {
  const admin = fakeAdmin();
  expect(await run(['node', command, 'pg_2.'], { admin })).toMatchObject({
    exitCode: 2,
    stderr: expect.stringMatching(/is not the name of a node/) as unknown,
  });
  expect(asked(admin)).toEqual([]);
});
