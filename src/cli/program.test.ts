import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { AdminError } from '../transport/admin-client.ts';
import type { Admin } from './context.ts';
import { findPeers } from './peers.ts';
import { SHOW_CURSOR } from './screen.ts';
import { fakeAdmin, fakeOutput, run } from './testing/fake-context.ts';
import { DEGRADED, FENCING, HEALTHY, PROMOTING } from './testing/views.ts';

process.env['TZ'] = 'UTC';

const root = mkdtempSync(join(tmpdir(), 'sentinelctl-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('status', () => {
  it('prints the picture and exits with 0, though the cluster is degraded', async () => {
    const { exitCode, stdout } = await run(['status'], { admin: fakeAdmin({ shown: DEGRADED }) });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^shop: degraded, leader b/);
    expect(stdout).toContain('latest phases');
    expect(stdout).not.toContain('\u001b');
  });

  it('tells the health by its exit code where asked to', async () => {
    const codes = [HEALTHY, DEGRADED, FENCING].map(
      async (shown) => (await run(['status', '--exit-code'], { admin: fakeAdmin({ shown }) })).exitCode,
    );
    expect(await Promise.all(codes)).toEqual([0, 1, 2]);
  });

  it('prints JSON and YAML with every key, null where unknown', async () => {
    const json: unknown = JSON.parse((await run(['status', '-o', 'json'])).stdout);
    expect(json).toMatchObject({
      health: 'healthy',
      cluster: 'shop',
      groups: [{ ruleChange: null, nodes: [{ lagBytes: null }, {}, {}] }],
    });
    expect(parse((await run(['status', '-o', 'yaml'])).stdout)).toEqual(json);
  });

  it.each([
    ['unreachable', 3],
    ['deadline', 3],
    ['refused', 1],
  ] as const)('exits where the peer answers with %s by %i', async (kind, exitCode) => {
    const admin = { ...fakeAdmin(), status: () => Promise.reject(new AdminError(kind, 'a:1: no')) };
    expect(await run(['status'], { admin })).toEqual({
      exitCode,
      stdout: '',
      stderr: 'sentinelctl: a:1: no\n',
    });
  });

  it('exits with 3 where no peer answers, saying why', async () => {
    expect(
      await run(['status', '--peers', 'h1:1,h2:2'], { admin: new Error('no peer answered: h1:1: refused') }),
    ).toEqual({
      exitCode: 3,
      stdout: '',
      stderr: 'sentinelctl: no peer answered: h1:1: refused\n',
    });
  });
});

describe('status --watch', () => {
  /** Sends the views, then loses the connection as often as `losses` says, then is interrupted. */
  const watching = async (
    args: string[],
    isTerminal: boolean,
    losses = 0,
  ): Promise<{ text: string; exitCode: number }> => {
    const stop = new AbortController();
    const stdout = fakeOutput({ isTerminal, rows: 50 });
    let left = losses;
    const watch: Admin['watch'] = async (onStatus) => {
      for (const status of [HEALTHY, FENCING, PROMOTING, DEGRADED]) {
        onStatus(status);
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (left-- > 0) throw new Error('gone');
      stop.abort(new Error('stopped by SIGINT'));
    };
    const { exitCode } = await run(['status', '--watch', ...args], {
      admin: fakeAdmin({ watch }),
      stdout,
      context: { signal: stop.signal },
    });
    return { text: stdout.chunks.join(''), exitCode };
  };

  it('prints frames apart from each other where it is no terminal, with the phases in order', async () => {
    const { text, exitCode } = await watching([], false);
    const frames = text.split('---\n');
    const phases = frames
      .map((frame) => /group main: (\w+)/.exec(frame)?.[1])
      .filter((phase, at, all) => phase !== all[at - 1]);
    expect(phases).toEqual(['running', 'fencing', 'promoting', 'running']);
    expect(frames.at(-1)).toMatch(/fencing[^]*promoting[^]*running/);
    expect(exitCode).toBe(0);
  });

  it('redraws in place on a terminal and shows the cursor again', async () => {
    const { text } = await watching(['--no-color'], true);
    expect(text.startsWith('\u001b[?25l')).toBe(true);
    expect(text).toContain('A\rshop: failing over');
    expect(text.endsWith(SHOW_CURSOR)).toBe(true);
  });

  it('says that contact is lost, and goes on with the next peer', async () => {
    const { text } = await watching([], false, 1);
    expect(text).toMatch(/LOST CONTACT at .*, trying again: gone\nshop: degraded/);
    expect(text.lastIndexOf('shop: healthy')).toBeGreaterThan(text.indexOf('LOST CONTACT'));
  });

  it('prints one JSON object on each line, or YAML documents', async () => {
    const lines = (await watching(['-o', 'json'], false)).text.trimEnd().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as typeof HEALTHY).groups[0]?.phase)).toEqual([
      'running',
      'fencing',
      'promoting',
      'running',
    ]);
    expect(parseAllDocuments((await watching(['-o', 'yaml'], false)).text)).toHaveLength(4);
  });

  it('cuts a picture that is higher than the terminal', async () => {
    const stdout = fakeOutput({ isTerminal: true, rows: 6 });
    const watch: Admin['watch'] = (onStatus) => {
      onStatus(HEALTHY);
      return Promise.resolve();
    };
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error('stop')), 50);
    await run(['status', '--watch'], {
      admin: fakeAdmin({ watch }),
      stdout,
      context: { signal: stop.signal },
    });
    expect(stdout.chunks[1]).toContain('more lines; enlarge the terminal\u001b[K\n\u001b[J');
    expect(stdout.chunks[1]?.split('\n')).toHaveLength(6);
  });
});

describe('failover', () => {
  it('says what will happen, asks, and prints the outcome', async () => {
    const admin = fakeAdmin();
    const questions: string[] = [];
    const ask = (question: string): Promise<string> => {
      questions.push(question);
      return Promise.resolve('y');
    };
    const { exitCode, stdout, stderr } = await run(['failover', '--to', 'pg2'], { admin, context: { ask } });
    expect(questions).toEqual(['Fail over main from pg1 to pg2? [y/N] ']);
    expect(stderr).toMatchInlineSnapshot(`
      "group main: running, epoch 17, primary pg1
        1. pg1 makes a checkpoint and stops cleanly; its sessions end and writes wait
        2. pg2 is promoted once it has every acknowledged commit
        3. pg1 follows it as a standby
        target pg2: streaming, 0 B behind, quorum
      "
    `);
    expect(stdout).toBe('done: pg2 is the primary of main at epoch 424, after 121ms (was pg1)\n');
    expect(exitCode).toBe(0);
    expect(admin.asked).toEqual([{ group: 'main', to: 'pg2' }, 'closed']);
  });

  it.each([
    ['an answer other than yes', [], 'n', 1, 'nothing was changed'],
    ['no terminal and no --yes', [], undefined, 2, 'pass --yes'],
    [
      'an unknown node',
      ['--to', 'pg9', '-y'],
      undefined,
      1,
      'there is no node "pg9" in group main; there are: pg1, pg2, pg3',
    ],
    ['an unknown group', ['shop', '-y'], undefined, 1, 'there is no group "shop" in shop; there are: main'],
    ['no name', ['--to', 'PG 1', '-y'], undefined, 2, '--to: "PG 1" is not the name of a node'],
    [
      'a wait without a unit',
      ['--wait', '3', '-y'],
      undefined,
      2,
      '--wait: "3" is given; expected a number with a unit',
    ],
  ])('changes nothing with %s', async (_, args, answer, code, message) => {
    const admin = fakeAdmin();
    const ask = answer === undefined ? undefined : () => Promise.resolve(answer);
    const { exitCode, stderr, stdout } = await run(['failover', ...args], { admin, context: { ask } });
    expect([exitCode, stdout]).toEqual([code, '']);
    expect(stderr).toContain(message);
    expect(admin.asked.filter((request) => request !== 'closed')).toEqual([]);
  });

  const planTo = (from: string, obstacle: string | undefined): Admin['failover'] => {
    const plan = {
      kind: 'planned',
      group: 'main',
      from,
      to: 'pg1',
      steps: [],
      lossBytes: undefined,
    } as const;
    return ({ dryRun }) =>
      Promise.resolve(dryRun === true ? { ...plan, obstacle } : { kind: 'refused', reason: 'asked' });
  };

  it.each([['-y'], ['--dry-run']])('to the primary itself there is nothing to do: %s', async (option) => {
    const admin = fakeAdmin({ failover: planTo('pg1', 'pg1 is the primary already') });
    expect(await run(['failover', '--to', 'pg1', option], { admin })).toEqual({
      stdout: 'done: pg1 is the primary of main already; nothing was changed\n',
      ...{ stderr: '', exitCode: 0 },
    });
  });

  it('that it is the primary already is not believed of a peer that knows no better', async () => {
    const admin = fakeAdmin({ failover: planTo('pg2', undefined) });
    expect(await run(['failover', '--to', 'pg1', '-y'], { admin })).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('refused: asked') as unknown,
    });
  });

  it('without a leader says so first, and plans nothing to the primary itself', async () => {
    const failover: Admin['failover'] = () => Promise.resolve({ kind: 'refused', reason: 'no leader' });
    const admin = fakeAdmin({ failover, shown: { ...HEALTHY, leader: undefined } });
    const { exitCode, stderr } = await run(['failover', '--to', 'pg1', '-y'], { admin });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^peer a knows of no Raft leader: nothing can fail over/);
    expect(stderr).not.toMatch(/checkpoint|promoted|follows/);
    expect(stderr).toMatch(/refused: no leader\n$/);
  });

  it('exits with 1 where the outcome stays open', async () => {
    const failover: Admin['failover'] = () =>
      Promise.reject(new AdminError('unreachable', 'lost; see the status'));
    expect(await run(['failover', '-y'], { admin: fakeAdmin({ failover }) })).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('lost; see the status') as unknown,
    });
  });

  it('exits with 1 where the cluster refuses, saying why', async () => {
    const admin = fakeAdmin({
      failover: () => Promise.resolve({ kind: 'refused', reason: 'pg2 is 3 MB behind' }),
    });
    expect(await run(['failover', '-y'], { admin })).toMatchObject({
      exitCode: 1,
      stdout: '',
      stderr: expect.stringContaining('refused: pg2 is 3 MB behind') as unknown,
    });
    const json = await run(['failover', '-y', '-o', 'json'], { admin });
    expect(JSON.parse(json.stdout)).toEqual({ kind: 'refused', reason: 'pg2 is 3 MB behind' });
  });
});

describe('events', () => {
  it('prints the latest, oldest first', async () => {
    const { stdout } = await run(['events', '-n', '3']);
    expect(`\n${stdout}`).toMatchInlineSnapshot(`
      "
      2026-11-21 04:12:31.050  #426   main    cut-report         pg2 cut its WAL streams at timeline 3, 16/B374D848
      2026-11-21 04:12:31.062  #427   main    promote            pg2 chosen for promotion to timeline 4; commits: 1 of pg1, pg3
      2026-11-21 04:12:31.121  #428   main    promoted           pg2 is primary on timeline 4 from 16/B374D848
      "
    `);
  });

  it('that were refused say so before what was asked', async () => {
    const [event] = await fakeAdmin().events({ group: undefined, limit: 1 });
    if (event === undefined) throw new Error('there is no event');
    const log = [{ ...event, text: 'pg9 is fenced', refused: 'there is no node pg9' }];
    const { stdout } = await run(['events'], { admin: fakeAdmin({ log }) });
    expect(stdout).toMatch(/  refused \(there is no node pg9\): pg9 is fenced\n$/);
  });

  it('of a group that is not there is refused, of one without events is not', async () => {
    const admin = fakeAdmin({ log: [] });
    expect(await run(['events', '--group', 'mian'], { admin })).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: 'sentinelctl: shop has no group "mian"; there are: main\n',
    });
    expect(await run(['events', '--group', 'main'], { admin })).toEqual({
      exitCode: 0,
      stdout: '',
      stderr: 'no events\n',
    });
  });

  it('wraps on a terminal only', async () => {
    const stdout = fakeOutput({ isTerminal: true, columns: 80 });
    await run(['events', '--no-color'], { stdout });
    for (const line of stdout.chunks.join('').split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  it('follows: each event once, over the loss of a peer', async () => {
    const stop = new AbortController();
    let calls = 0;
    const log = (await fakeAdmin().events({ group: undefined, limit: 9 })).slice();
    const events: Admin['events'] = () => {
      calls += 1;
      if (calls === 2) return Promise.reject(new Error('gone'));
      if (calls === 4) stop.abort(new Error('stop'));
      return Promise.resolve(log.slice(0, 3 + calls));
    };
    const { stdout, stderr, exitCode } = await run(['events', '-f', '-o', 'json'], {
      admin: fakeAdmin({ events }),
      context: { signal: stop.signal },
    });
    const indexes = stdout
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { index: number }).index);
    expect(indexes).toEqual(log.slice(0, 7).map((event) => event.index));
    expect(stderr).toContain('gone; trying again');
    expect(exitCode).toBe(0);
  });
});

describe('uri', () => {
  it('names all nodes, the primary first for writes and last for reads', async () => {
    expect((await run(['uri'])).stdout).toBe(
      'postgres://10.0.0.1:5432,10.0.0.2:5432,10.0.0.3:5432/postgres?target_session_attrs=read-write\n',
    );
    expect((await run(['uri', '--read-only', '--group', 'main', '-d', 'my shop', '-U', 'a@b'])).stdout).toBe(
      'postgres://a%40b@10.0.0.2:5432,10.0.0.3:5432,10.0.0.1:5432/my%20shop?target_session_attrs=read-only\n',
    );
  });

  it('exits with 1 for a group that is not there', async () => {
    expect(await run(['uri', '--group', 'x'])).toMatchObject({
      exitCode: 1,
      stderr: 'sentinelctl: there is no group "x" in shop; there are: main\n',
    });
  });
});

describe('a cluster without a group', () => {
  it.each([
    [['failover', '-y'], 'nothing was changed: shop has no group yet'],
    [['uri'], 'shop has no group yet'],
    [['events', '--group', 'main'], 'shop has no group yet'],
  ])('is said to be one by %j', async (args, message) => {
    const { exitCode, stderr } = await run(args, {
      admin: fakeAdmin({ shown: { ...HEALTHY, groups: [] }, log: [] }),
    });
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining(`sentinelctl: ${message}`)]);
  });
});

describe('the command line', () => {
  it.each([
    [['--version'], 0, '0.1.0\n'],
    [['--help'], 0, 'Exit codes:'],
    [['status', '--help'], 0, 'Examples:'],
    [['help'], 0, 'Exit codes:'],
    [['help', 'failover'], 0, '--dry-run'],
  ])('%j succeeds', async (args, code, text) => {
    const { exitCode, stdout } = await run(args);
    expect([exitCode, stdout.includes(text)]).toEqual([code, true]);
  });

  it.each([
    [[], 'Usage: sentinelctl'],
    [['stauts'], 'Did you mean status?'],
    [['help', 'stauts'], 'Usage: sentinelctl'],
    [['settings'], 'Usage: sentinelctl settings'],
    [['status', '-o', 'xml'], 'Allowed choices are table, json, yaml'],
    [['status', '--timeout', '5'], 'Expected a number with a unit'],
    [['status', '--timeout', '0s'], 'Expected more than 0.'],
    [['events', '-n', '0'], 'Expected a whole number from 1 to 1000'],
    [['status', 'extra'], 'too many arguments'],
    [['status', '--peers', 'nonsense'], '--peers: "nonsense" is not HOST:PORT'],
    [['status', '--peers', 'a:1', '--config', 'x'], 'either --peers or --config'],
  ])('%j is wrong use', async (args, message) => {
    const { exitCode, stderr } = await run(args);
    expect(stderr).toContain(message);
    expect(exitCode).toBe(2);
  });

  it('ends with 130 when it is interrupted', async () => {
    const stop = new AbortController();
    const hanging = {
      ...fakeAdmin(),
      status: () => new Promise<never>(() => setImmediate(() => stop.abort(new Error('stopped by SIGINT')))),
    };
    expect((await run(['status'], { admin: hanging, context: { signal: stop.signal } })).exitCode).toBe(130);
  });
});

describe('peers are looked for', () => {
  const config = join(root, 'sentineld.yaml');
  writeFileSync(
    config,
    'cluster: shop\npeer: b\npeers: { a: 10.0.0.1:7432, b: 10.0.0.2:7432, c: "[fd00::3]:7432" }\n',
  );
  const variable = { PG_SENTINEL_PEERS: 'v:1' };

  it('in options, then the environment, then the file of this host', () => {
    expect(findPeers({ peers: ' a:1, [::1]:2,' }, variable, config)).toEqual(['a:1', '[::1]:2']);
    expect(findPeers({ config }, variable)).toEqual(['10.0.0.2:7432', '10.0.0.1:7432', '[fd00::3]:7432']);
    expect(findPeers({}, variable, config)).toEqual(['v:1']);
    expect(findPeers({}, {}, config)[0]).toBe('10.0.0.2:7432');
  });

  it('and it is said how to name them where there are none', () => {
    expect(() => findPeers({}, {}, '/no/such')).toThrow(
      'give --peers HOST:PORT,..., set PG_SENTINEL_PEERS, or give --config FILE',
    );
    expect(() => findPeers({ config: '/no/such' }, {})).toThrow(
      'cannot read the peers from /no/such: no such file or directory; expected the configuration of a sentineld',
    );
    writeFileSync(join(root, 'empty.yaml'), '# nothing\n');
    expect(() => findPeers({ config: join(root, 'empty.yaml') }, {})).toThrow('names no peers');
  });
});
