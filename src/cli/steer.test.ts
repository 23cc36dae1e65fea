// fence, unfence, ack, what settings refuses, and the options of failover that go through the log: what is asked, what is refused, what is printed.
import { describe, expect, it } from 'vitest';
import { fakeAdmin, run } from './testing/fake-context.ts';
import { parseSettings } from './settings-keys.ts';
import { parseTimeMs } from './time.ts';

const asked = (admin: ReturnType<typeof fakeAdmin>): unknown[] =>
  admin.asked.filter((request) => request !== 'closed');
const yes = { ask: () => Promise.resolve('y') };

describe('what is asked of the cluster', () => {
  it.each<[string[], unknown]>([
    [['fence', 'pg2', '-y'], { kind: 'fence', node: 'pg2' }],
    [['unfence', 'pg2'], { kind: 'unfence', node: 'pg2' }],
    [['ack'], { kind: 'acknowledge', group: undefined }],
    [['ack', 'main'], { kind: 'acknowledge', group: 'main' }],
    [['failover', '--at', 'never'], { kind: 'schedule', group: undefined, at: undefined }],
    [
      ['failover', 'main', '--to', 'pg2', '--at', '2030-01-02T03:04Z'],
      { kind: 'schedule', group: 'main', at: { atMs: Date.UTC(2030, 0, 2, 3, 4), to: 'pg2' } },
    ],
    [['fence', 'pg2', '--dry-run'], { kind: 'plan', of: { kind: 'fence', node: 'pg2' } }],
    [['unfence', 'pg2', '--dry-run'], { kind: 'plan', of: { kind: 'unfence', node: 'pg2' } }],
    [['ack', '--dry-run'], { kind: 'plan', of: { kind: 'acknowledge', group: undefined } }],
    [
      ['failover', '--at', '2030-01-02T03:04Z', '--dry-run'],
      {
        kind: 'plan',
        of: { kind: 'schedule', group: undefined, at: { atMs: Date.UTC(2030, 0, 2, 3, 4), to: undefined } },
      },
    ],
  ])('%j', async (args, request) => {
    const admin = fakeAdmin();
    const { exitCode, stdout } = await run(args, { admin });
    expect(asked(admin)).toEqual([request]);
    expect(stdout).toMatch(/^done: /);
    expect(exitCode).toBe(0);
  });

  it('prints for scripts too, and what was refused to standard error', async () => {
    expect(JSON.parse((await run(['ack', '-o', 'json'])).stdout)).toEqual({
      kind: 'done',
      detail: 'acknowledge is done',
    });
    const steer = () => Promise.resolve({ kind: 'refused', reason: 'pg1 is the primary' } as const);
    expect(await run(['fence', 'pg1', '-y'], { admin: fakeAdmin({ steer }) })).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: 'sentinelctl: refused: pg1 is the primary\n',
    });
  });
});

describe('is refused here already:', () => {
  it.each<[string[], RegExp]>([
    [['fence', 'pg2'], /pass --yes/],
    [['fence', 'PG 2', '-y'], /not the name of a node/],
    [['settings', 'set', 'durability=fast'], /durability: "fast" is given; expected quorum, strict or async/],
    [['settings', 'set', 'acks=0'], /acks: "0" is given; expected a whole number of 1 or more/],
    [['settings', 'set', 'lease=5'], /lease: "5" is given; expected a number with a unit: ms, s/],
    [['settings', 'set', 'max_lag=16M'], /max_lag: "16M" is given; expected a size with a unit/],
    [
      ['settings', 'set', 'lag=1MB'],
      /there is no setting "lag"; there are: durability, acks, lease, max_lag/,
    ],
    [['settings', 'set', 'main'], /name a setting: KEY=VALUE/],
    [['settings', 'set', 'acks=1', 'strict'], /"strict" is no setting/],
    [['settings', 'set', 'acks=1', 'acks=2'], /acks is given twice/],
    [['failover', '--at', 'soon'], /--at: "soon" is given; expected a time such as 03:00/],
    [['failover', '-y', '--wait', '0s'], /--wait: "0s" is given; expected .*more than 0/],
    [['failover', '--at', '03:00', '--accept-data-loss'], /--at cannot be combined/],
    [['failover', '--old-primary-is-off', '-y'], /only together with --accept-data-loss/],
  ])('%j', async (args, message) => {
    const admin = fakeAdmin();
    const { exitCode, stderr } = await run(args, { admin });
    expect([exitCode, asked(admin)]).toEqual([2, []]);
    expect(stderr).toMatch(message);
  });
});

describe('a plan of a failover', () => {
  const planned = {
    kind: 'planned',
    group: 'main',
    from: 'pg1',
    to: 'pg2',
    steps: ['pg1 is cut off', 'pg2 is promoted; it lacks 512 bytes'],
    obstacle: undefined,
    lossBytes: 512,
  } as const;
  const planning = (obstacle?: string) => {
    const requests: unknown[] = [];
    const admin = fakeAdmin({
      failover: (request) => {
        requests.push(request);
        if (request.dryRun === true) return Promise.resolve({ ...planned, obstacle });
        return Promise.resolve({ kind: 'done', group: 'main', from: 'pg1', to: 'pg2', epoch: 9, tookMs: 5 });
      },
    });
    return { admin, requests };
  };

  it('is all that --dry-run asks for', async () => {
    const { admin, requests } = planning();
    const { exitCode, stdout } = await run(['failover', '--to', 'pg2', '--dry-run'], { admin });
    expect(stdout).toMatchInlineSnapshot(`
      "group main: from pg1 to pg2
        1. pg1 is cut off
        2. pg2 is promoted; it lacks 512 bytes
      nothing stands against it; nothing was changed
      "
    `);
    expect([exitCode, requests]).toEqual([0, [{ group: 'main', to: 'pg2', dryRun: true }]]);
  });

  it.each([
    [['--dry-run'], 'there is no node "pg9" in group main; there are: pg1, pg2, pg3'],
    [['--accept-data-loss', '-y'], 'there is no node "pg9" in group main; there are: pg1, pg2, pg3'],
  ])('is not made for a node that is not there, %j', async (args, reason) => {
    const { admin, requests } = planning();
    const outcome = await run(['failover', '--to', 'pg9', ...args], { admin });
    expect([outcome, requests]).toEqual([
      { exitCode: 1, stdout: '', stderr: `sentinelctl: ${reason}\n` },
      [],
    ]);
  });

  it('that could not be carried out ends with 1 and the reason', async () => {
    const { admin } = planning('pg2 is not streaming');
    const { exitCode, stderr } = await run(['failover', '--dry-run'], { admin });
    expect([exitCode, stderr]).toEqual([1, 'sentinelctl: it could not be done now: pg2 is not streaming\n']);
  });

  it('comes before a loss is accepted, which takes more than a y', async () => {
    const { admin, requests } = planning();
    const refused = await run(['failover', '--accept-data-loss'], { admin, context: yes });
    expect(refused).toMatchObject({ exitCode: 1, stdout: '' });
    expect(refused.stderr).toContain('it lacks 512 bytes');
    expect(requests).toHaveLength(1);
    const context = { ask: () => Promise.resolve('main') };
    const args = ['failover', '--accept-data-loss', '--old-primary-is-off'];
    expect(await run(args, { admin, context })).toMatchObject({ exitCode: 0 });
    expect(requests.at(-1)).toEqual({
      group: 'main',
      to: undefined,
      acceptDataLoss: true,
      oldPrimaryIsOff: true,
    });
  });

  it('that stands against it ends before the question', async () => {
    const { admin, requests } = planning('nothing has to be lost');
    const { exitCode, stderr } = await run(['failover', '--accept-data-loss', '-y'], { admin });
    expect([exitCode, requests.length]).toEqual([1, 1]);
    expect(stderr).toContain('refused: nothing has to be lost');
  });
});

it('sizes and durations may have fractions', () => {
  expect(parseSettings(['max_lag=1.5kB', 'lease=1.5s']).change).toEqual({ maxLagBytes: 1536, leaseMs: 1500 });
});

it('a clock time is the next one', () => {
  const now = new Date(2026, 10, 21, 12, 0, 0).getTime();
  expect(parseTimeMs('12:01', now)).toBe(now + 60_000);
  expect(parseTimeMs('12:00', now)).toBe(new Date(2026, 10, 22, 12, 0, 0).getTime());
  expect(parseTimeMs('+90s', now)).toBe(now + 90_000);
  expect(parseTimeMs('2026-11-22 03:00', now)).toBe(new Date(2026, 10, 22, 3, 0, 0).getTime());
  for (const text of ['24:00', '3:00', '2026-13-01T00:00', '+2', ''])
    expect(parseTimeMs(text, now)).toBeUndefined();
});
