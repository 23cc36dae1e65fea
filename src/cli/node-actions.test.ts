// node restart, reload, reinit, rejoin and promote: what is asked, of which peer, when a person is asked back.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SteerOutcome } from '../transport/types.ts';
import type { Context } from './context.ts';
import { fakeAdmin, run } from './testing/fake-context.ts';
import { HEALTHY } from './testing/views.ts';

const asked = (admin: ReturnType<typeof fakeAdmin>): unknown[] =>
  admin.asked.filter((request) => request !== 'closed');
const NODE = { kind: 'node', node: 'pg2', inPlace: false, dryRun: false };

describe('what is asked of the cluster', () => {
  it.each<[string, unknown]>([
    ['restart pg2', { ...NODE, action: 'restart' }],
    ['restart pg2 --dry-run', { ...NODE, action: 'restart', dryRun: true }],
    ['restart pg1 --in-place -y', { ...NODE, action: 'restart', node: 'pg1', inPlace: true }],
    ['restart pg2 --in-place', { ...NODE, action: 'restart', inPlace: true }],
    ['reload pg2', { ...NODE, action: 'reload' }],
    ['reinit pg2 --yes', { ...NODE, action: 'reinit' }],
    ['reinit pg2 --dry-run', { ...NODE, action: 'reinit', dryRun: true }],
    ['replace-database pg1 --yes', { ...NODE, action: 'replace-database', node: 'pg1' }],
    ['replace-database pg1 --dry-run', { ...NODE, action: 'replace-database', node: 'pg1', dryRun: true }],
    ['rejoin pg2', { ...NODE, action: 'rejoin' }],
    ['promote pg2 -y', { group: 'main', to: 'pg2' }],
    ['promote pg2 --dry-run', { group: 'main', to: 'pg2', dryRun: true }],
  ])('%s', async (line, request) => {
    const admin = fakeAdmin();
    const { exitCode } = await run(['node', ...line.split(' ')], { admin });
    expect([asked(admin), exitCode]).toEqual([[request], 0]);
  });
});

describe('a person is asked first', () => {
  it.each([
    ['reinit pg2', /Replace the data directory of pg2 by a clone/],
    ['replace-database pg1', /go on with the database that pg1 holds, and give up what only/],
    ['restart pg1 --in-place', /pg1 is the primary: restart it in place, with/],
    [
      'restart pg1 --in-place --in 2h',
      /pg1 is the primary: restart it in place at 20.*Z, with writes waiting/,
    ],
  ])('%s', async (line, question) => {
    const questions: string[] = [];
    const ask = (answer: string): Context['ask'] => {
      return (text) => {
        questions.push(text);
        return Promise.resolve(answer);
      };
    };
    const no = fakeAdmin();
    const args = ['node', ...line.split(' ')];
    expect(await run(args, { admin: no, context: { ask: ask('n') } })).toMatchObject({ exitCode: 1 });
    expect(asked(no)).toEqual([]);
    expect(questions).toEqual([expect.stringMatching(question)]);
    const yes = fakeAdmin();
    expect(await run(args, { admin: yes, context: { ask: ask('y') } })).toMatchObject({ exitCode: 0 });
    expect(asked(yes)).toHaveLength(1);
    const nobody = fakeAdmin();
    expect(await run(args, { admin: nobody })).toMatchObject({ exitCode: 2 });
    expect(asked(nobody)).toEqual([]);
  });
});

describe('the peer whose agent looks after the node', () => {
  const ELSEWHERE: SteerOutcome = { kind: 'elsewhere', peer: 'b', address: '10.0.0.2:7432' };
  const peers = (answers: Record<string, SteerOutcome | Error>) => {
    const tried: string[] = [];
    const connect: Context['connect'] = ({ addresses }) => {
      const [address = ''] = addresses;
      tried.push(address);
      const answer = answers[address];
      if (answer === undefined || answer instanceof Error)
        return Promise.reject(answer ?? new Error(`unexpected ${address}`));
      return Promise.resolve(fakeAdmin({ steer: () => Promise.resolve(answer) }));
    };
    return { tried, context: { connect } };
  };

  it('is asked instead', async () => {
    const { tried, context } = peers({
      '10.0.0.1:7432': ELSEWHERE,
      '10.0.0.2:7432': { kind: 'done', detail: 'pg2 was restarted' },
    });
    const { exitCode, stdout } = await run(['node', 'restart', 'pg2'], { context });
    expect([exitCode, stdout]).toEqual([0, 'done: pg2 was restarted\n']);
    expect(tried).toEqual(['10.0.0.1:7432', '10.0.0.2:7432']);
  });

  it('is asked instead, whether the peers were given or are those of a configuration', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pg-sentinel-elsewhere-'));
    const config = join(folder, 'sentineld.yaml');
    writeFileSync(config, 'peer: a\npeers: { a: 10.0.0.1:7432 }\n');
    const { tried, context } = peers({
      '10.0.0.1:7432': ELSEWHERE,
      '10.0.0.2:7432': { kind: 'done', detail: 'pg2 was restarted' },
    });
    const line = ['node', 'restart', 'pg2', '--config', config];
    const { exitCode, stdout } = await run(line, { context });
    rmSync(folder, { recursive: true });
    expect([exitCode, stdout]).toEqual([0, 'done: pg2 was restarted\n']);
    expect(tried).toEqual(['10.0.0.1:7432', '10.0.0.2:7432']);
  });

  it('is named where it cannot be reached', async () => {
    const { context } = peers({ '10.0.0.1:7432': ELSEWHERE, '10.0.0.2:7432': new Error('no answer') });
    const { exitCode, stderr } = await run(['node', 'restart', 'pg2'], { context });
    expect([exitCode, stderr]).toEqual([3, expect.stringMatching(/peer b has to be asked.*: no answer/)]);
  });

  it('is not looked for again and again', async () => {
    const { tried, context } = peers({ '10.0.0.1:7432': ELSEWHERE, '10.0.0.2:7432': ELSEWHERE });
    const { exitCode, stderr } = await run(['node', 'restart', 'pg2'], { context });
    expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/do not agree/)]);
    expect(tried).toHaveLength(2);
  });
});

it.each(['restart PG', 'reinit pg_2. -y', 'promote x/y -y'])('no name of a node: %s', async (line) => {
  const admin = fakeAdmin();
  expect(await run(['node', ...line.split(' ')], { admin })).toMatchObject({
    exitCode: 2,
    stderr: expect.stringMatching(/is not the name of a node/) as unknown,
  });
  expect(asked(admin)).toEqual([]);
});

describe('reinit --wait', () => {
  const seen = (state: string, member: string, message?: string) => {
    const [group] = HEALTHY.groups;
    if (group === undefined) throw new Error('no group');
    const nodes = group.nodes.map((node) =>
      node.node === 'pg2' ? { ...node, state, member, message } : node,
    );
    return { ...HEALTHY, groups: [{ ...group, nodes }] };
  };
  const waiting = (...views: readonly ReturnType<typeof seen>[]) => {
    let at = 0;
    const admin = fakeAdmin();
    const status = () => Promise.resolve(views[Math.min(at++, views.length - 1)] ?? HEALTHY);
    return { ...admin, status };
  };

  it('says what its agent says until it streams as another member', async () => {
    const cloning = (text: string) => seen('cloning', 'pg2_00000001', `cloning from pg1: ${text}`);
    const admin = waiting(
      seen('streaming', 'pg2_00000001'),
      seen('streaming', 'pg2_00000001'),
      cloning('10 MB'),
      cloning('10 MB'),
      cloning('30 MB of 90 MB (33 %), 20.0 MB/s, 3.0s left'),
      seen('streaming', 'pg2_00000002'),
    );
    const { exitCode, stderr } = await run(['node', 'reinit', 'pg2', '-y', '--wait', '1min'], { admin });
    expect(stderr.split('\n')).toEqual([
      'pg2: cloning from pg1: 10 MB',
      'pg2: cloning from pg1: 30 MB of 90 MB (33 %), 20.0 MB/s, 3.0s left',
      expect.stringMatching(/^pg2 streams, after /),
      '',
    ]);
    expect([exitCode, asked(admin)]).toEqual([0, [{ ...NODE, action: 'reinit' }]]);
  });

  it('gives up after the time, and the clone goes on', async () => {
    const admin = waiting(seen('cloning', 'pg2_00000001'));
    const { exitCode, stderr } = await run(['node', 'reinit', 'pg2', '-y', '--wait', '1ms'], { admin });
    expect([exitCode, stderr]).toEqual([
      1,
      expect.stringMatching(/does not stream yet after 1ms; its agent goes on/),
    ]);
  });

  it('refuses what is no duration', async () => {
    const admin = fakeAdmin();
    const { exitCode, stderr } = await run(['node', 'reinit', 'pg2', '-y', '--wait', 'long'], { admin });
    expect([exitCode, stderr]).toEqual([2, expect.stringMatching(/--wait.*'long' is invalid/)]);
    expect(asked(admin)).toEqual([]);
  });
});
