// settings set, unset and edit with --dry-run: only a plan is asked for, and printed with what it says.
import { describe, expect, it } from 'vitest';
import { logIndex } from '../base/ids.ts';
import { DEFAULT_GROUP_SETTINGS } from '../cluster/apply-settings.ts';
import type { SteerOutcome } from '../transport/types.ts';
import type { Context } from './context.ts';
import { fakeAdmin, run } from './testing/fake-context.ts';

const PLAN: SteerOutcome = {
  kind: 'done',
  detail: 'it could be done, nothing was changed; then: the settings of group main change',
  settings: {
    changes: [
      { key: 'leaseMs', from: '5000', to: '7500' },
      { key: 'postgresql.max_connections', from: undefined, to: '200' },
      { key: 'hba', from: undefined, to: 'local all all peer' },
    ],
    lateParameters: ['max_connections'],
    restartNodes: ['pg1', 'pg2'],
  },
};

const planning = (outcome: SteerOutcome = PLAN) => {
  const requests: unknown[] = [];
  const admin = fakeAdmin({
    steer: (request) => {
      requests.push(request);
      return Promise.resolve(outcome);
    },
    settings: () => {
      const view = {
        ...{ group: 'main', revision: logIndex(42), settings: DEFAULT_GROUP_SETTINGS },
        ...{ parameters: [], hba: [], hbaPending: [], logicalSlots: [], history: [] },
      };
      return Promise.resolve({ kind: 'view', view });
    },
  });
  return { admin, requests };
};
const WHO = expect.any(String) as unknown;

describe('--dry-run', () => {
  it('prints the differences, and who would have to be restarted', async () => {
    const { admin, requests } = planning();
    const args = ['settings', 'set', 'lease=7.5s', 'postgresql.max_connections=200', '--dry-run'];
    const { exitCode, stdout } = await run(args, { admin });
    expect(stdout).toMatchInlineSnapshot(`
      "done: it could be done, nothing was changed; then: the settings of group main change
        lease: 5s -> 7500ms
        postgresql.max_connections: (not set) -> 200
        hba: (not set) -> local all all peer
        restart needed: pg1, pg2 (for max_connections)
      "
    `);
    const parameters = [{ name: 'max_connections', value: '200' }];
    const of = { kind: 'settings', group: undefined, change: { leaseMs: 7500 }, by: WHO, parameters };
    expect([exitCode, requests]).toEqual([0, [{ kind: 'plan', of }]]);
  });

  it('prints it for scripts, with the keys that people use', async () => {
    const args = ['settings', 'unset', 'postgresql.jit', '--dry-run', '--json'];
    expect(JSON.parse((await run(args, { admin: planning().admin })).stdout)).toMatchObject({
      kind: 'done',
      changes: [
        { key: 'lease', from: '5000', to: '7500' },
        { key: 'postgresql.max_connections', to: '200' },
        { key: 'hba', to: 'local all all peer' },
      ],
      lateParameters: ['max_connections'],
      restartNodes: ['pg1', 'pg2'],
    });
  });

  it('ends with 1 and the reason where it could not be done, or the answer has no plan', async () => {
    const args = ['settings', 'set', 'acks=2', '--dry-run'];
    const refused = await run(args, { admin: planning({ kind: 'refused', reason: 'no' }).admin });
    expect(refused).toEqual({ exitCode: 1, stdout: '', stderr: 'sentinelctl: refused: no\n' });
    const { exitCode, stderr } = await run(args, { admin: planning({ kind: 'done', detail: 'x' }).admin });
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining('another version')]);
  });

  it('of an edited text goes by the revision that was shown, and keeps the text', async () => {
    const { admin, requests } = planning();
    let discarded = 0;
    const context: Partial<Context> = {
      edit: (text) =>
        Promise.resolve({
          text: text.replace('acks: 1\n', 'acks: 2\n'),
          kept: '/tmp/x/settings.yaml',
          discard: () => (discarded += 1),
        }),
    };
    const { stderr } = await run(['settings', 'edit', '--dry-run'], { admin, context });
    expect(requests).toMatchObject([
      { kind: 'plan', of: { kind: 'settings', change: { acks: 2 }, onlyRevision: 42 } },
    ]);
    expect([stderr, discarded]).toEqual(['your text is kept in /tmp/x/settings.yaml\n', 0]);
  });
});
