import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { AdminError } from '../transport/admin-client.ts';
import type { PeerChangeOutcome, PeerListView } from '../transport/types.ts';
import type { Admin, Context } from './context.ts';
import { fakeAdmin, fakePeers, run } from './testing/fake-context.ts';
import { HEALTHY, PEERS } from './testing/views.ts';

const done: PeerChangeOutcome = { kind: 'done', detail: 'it is done' };
const refused: PeerChangeOutcome = { kind: 'refused', reason: 'there is no peer x; there are: a, b, c' };

/** Answers one after the other, the last one for ever; records the addresses that were connected to. */
function answering(
  answers: readonly (PeerChangeOutcome | Error)[],
  list: PeerListView = PEERS,
): { context: Partial<Context>; admin: Admin; asked: unknown[]; addresses: (readonly string[])[] } {
  const asked: unknown[] = [];
  const addresses: (readonly string[])[] = [];
  let at = 0;
  const answer = (request: object): Promise<PeerChangeOutcome> => {
    asked.push(request);
    const next = answers[Math.min(at++, answers.length - 1)] ?? done;
    return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
  };
  const peers = { list: () => Promise.resolve(list), add: answer, promote: answer, remove: answer };
  const admin: Admin = {
    ...fakeAdmin(),
    peers: { ...fakePeers([]), ...peers, move: answer, transfer: answer, recover: answer },
  };
  const connect: Context['connect'] = (options) => {
    addresses.push(options.addresses);
    return Promise.resolve(admin);
  };
  return { admin, asked, addresses, context: { connect } };
}

describe('peer list', () => {
  it('prints voters and learners', async () => {
    const { exitCode, stdout } = await run(['peer', 'list']);
    expect(exitCode).toBe(0);
    expect(`\n${stdout}`).toMatchInlineSnapshot(`
      "
      shop: leader b, 2 of 3 voters decide, incarnation 1, feature level 1
        PEER  KIND     RAFT      CONTACT         LOG  ADDRESS
        a     voter    follower  ok          current  10.0.0.1:7432
        b     voter    leader    ok          current  10.0.0.2:7432
        c     voter    ?         lost       7 behind  10.0.0.3:7432
        d     learner  follower  ok       120 behind  10.0.0.4:7432
      "
    `);
  });

  it('prints JSON and YAML with every key', async () => {
    const json: unknown = JSON.parse((await run(['peer', 'list', '-o', 'json'])).stdout);
    expect(json).toMatchObject({ leader: 'b', peers: [{ peer: 'a', kind: 'voter' }, {}, {}, {}] });
    expect(parse((await run(['peer', 'list', '-o', 'yaml'])).stdout)).toEqual(json);
  });

  it('asks the leader, who knows how far each is, and does without where it cannot be reached', async () => {
    const unknown = { ...PEERS, peers: PEERS.peers.map((each) => ({ ...each, lagEntries: undefined })) };
    const follower = answering([], unknown);
    const leader = answering([]);
    const connect: Context['connect'] = (options) =>
      (options.addresses[0] === '10.0.0.2:7432' ? leader : follower).context.connect?.(options) ??
      Promise.reject(new Error('no'));
    expect((await run(['peer', 'list'], { context: { connect } })).stdout).toContain('120 behind');
    const alone: Context['connect'] = ({ addresses }) =>
      addresses[0] === '10.0.0.2:7432' ? Promise.reject(new Error('no')) : Promise.resolve(follower.admin);
    expect((await run(['peer', 'list'], { context: { connect: alone } })).stdout).toMatch(
      / d +learner .* \? /,
    );
  });

  it('says of a peer that was not added yet that it is none', async () => {
    const { context } = answering([], { ...PEERS, incarnation: 0, leader: undefined, peers: [] });
    expect((await run(['peer', 'list'], { context })).stdout).toContain('is not a member yet');
  });
});

describe('a change of the peers', () => {
  it.each([
    [['transfer', 'c'], { to: 'c' }],
    [['promote', 'd'], { peer: 'd' }],
    [['move', 'c', '[fd00::3]:7432'], { peer: 'c', address: '[fd00::3]:7432' }],
    [['remove', 'c', '--yes'], { peer: 'c' }],
    [['add', 'd', '10.0.0.4:7432', '--learner'], { peer: 'd', address: '10.0.0.4:7432', learnerOnly: true }],
  ])('peer %j is asked and its outcome printed', async (args, request) => {
    const { asked, context } = answering([done]);
    expect(await run(['peer', ...args], { context })).toEqual({
      exitCode: 0,
      stdout: 'done: it is done\n',
      stderr: '',
    });
    expect(asked).toEqual([request]);
    expect(JSON.parse((await run(['peer', ...args, '-o', 'json'], { context })).stdout)).toEqual(done);
  });

  it('follows to the leader, and waits until there is one', async () => {
    const elsewhere = { kind: 'not-leader', leader: { peer: 'b', address: '10.0.0.2:7432' } } as const;
    const { asked, addresses, context } = answering([elsewhere, { kind: 'not-leader' }, done]);
    expect(await run(['peer', 'promote', 'd'], { context })).toMatchObject({ exitCode: 0 });
    expect(asked).toHaveLength(3);
    expect(addresses).toEqual([['10.0.0.1:7432'], ['10.0.0.2:7432', '10.0.0.1:7432'], ['10.0.0.1:7432']]);
  });

  it('asks again when the peer is lost on the way', async () => {
    const { asked, context } = answering([new AdminError('unreachable', 'a:1: gone'), done]);
    expect(await run(['peer', 'promote', 'd'], { context })).toMatchObject({ exitCode: 0 });
    expect(asked).toHaveLength(2);
  });

  it('gives up after --wait, and says what stood in the way', async () => {
    const { context } = answering([{ kind: 'not-leader' }]);
    expect(await run(['peer', 'promote', 'd', '--wait', '300ms'], { context })).toEqual({
      exitCode: 1,
      stdout: '',
      stderr:
        'sentinelctl: not done within 300ms: there is no Raft leader: a majority of the voters has to be up; see sentinelctl peer list\n',
    });
  });

  it('that is refused says why and exits with 1', async () => {
    const { asked, context } = answering([refused]);
    expect(await run(['peer', 'promote', 'x'], { context })).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: 'sentinelctl: refused: there is no peer x; there are: a, b, c\n',
    });
    expect(asked).toHaveLength(1);
  });

  it('with no peer up exits with 3', async () => {
    const down = new AdminError('unreachable', 'no peer answered: a:1: refused');
    expect(await run(['peer', 'promote', 'd'], { admin: down })).toMatchObject({
      exitCode: 3,
      stderr: 'sentinelctl: no peer answered: a:1: refused\n',
    });
  });

  it.each([
    [['promote', 'D'], '"D" is not the name of a peer: expected a lower-case letter'],
    [['add', 'd', '10.0.0.4'], '"10.0.0.4" is not an address: expected HOST:PORT'],
    [['move', 'd', 'h:70000'], '"h:70000" is not an address'],
    [['promote', 'd', '--wait', '5'], '--wait: "5" is given; expected'],
    [['recover', '--lost', ' , '], '--lost is empty; expected NAME,NAME,...'],
    [['recover', '--lost', 'a', '--yes', '--wait', 'x'], '--wait: "x" is given; expected'],
    [['recover'], "required option '--lost <names>' not specified"],
    [['remove', 'c'], 'nothing was changed: standard input is no terminal to ask on; pass --yes'],
    [['promtoe', 'c'], "unknown command 'promtoe'"],
  ])('peer %j is wrong use', async (args, message) => {
    const { asked, context } = answering([done]);
    const { exitCode, stderr } = await run(['peer', ...args], { context });
    expect(stderr).toContain(message);
    expect(exitCode).toBe(2);
    expect(asked).toEqual([]);
  });
});

describe('peer add', () => {
  it('adds a learner, says so, and makes it a voter', async () => {
    const { asked, context } = answering([{ kind: 'done', detail: 'd is a learner' }, done]);
    expect(await run(['peer', 'add', 'd', '10.0.0.4:7432'], { context })).toEqual({
      exitCode: 0,
      stdout: 'done: it is done\n',
      stderr: 'd is a learner; it votes once it has caught up\n',
    });
    expect(asked).toMatchObject([{ learnerOnly: true }, { learnerOnly: false }]);
  });

  it('of a peer that does not catch up says what to look at, and that it can be run again', async () => {
    const late = new AdminError('deadline', 'b:1: no answer');
    const { context } = answering([done, late]);
    const { exitCode, stderr } = await run(['peer', 'add', 'd', 'h:4', '--wait', '250ms'], { context });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /d is not a voter yet: not done within 250ms: .*no answer.*it stays a learner; see that its sentineld runs at h:4 with "join: true", then run this again/,
    );
  });
});

describe('peer remove', () => {
  it('asks first', async () => {
    for (const [answer, exitCode, count] of [
      ['n', 1, 0],
      ['', 1, 0],
      ['Yes', 0, 1],
    ] as const) {
      const { asked, context } = answering([done]);
      const ask = (): Promise<string> => Promise.resolve(answer);
      expect(await run(['peer', 'remove', 'c'], { context: { ...context, ask } })).toMatchObject({
        exitCode,
      });
      expect(asked).toHaveLength(count);
    }
  });

  it('of the leader goes on with the next one', async () => {
    const next = { kind: 'not-leader', leader: { peer: 'a', address: '10.0.0.1:7432' } } as const;
    const { asked, context } = answering([next, done]);
    expect(await run(['peer', 'remove', 'b', '--yes'], { context })).toMatchObject({ exitCode: 0 });
    expect(asked).toHaveLength(2);
  });

  it('whose answer was lost looks whether it worked before it asks again', async () => {
    const gone = new AdminError('unreachable', 'b:1: gone');
    const without = { ...PEERS, peers: PEERS.peers.filter(({ peer }) => peer !== 'c') };
    const { asked, context } = answering([gone, refused], without);
    expect(await run(['peer', 'remove', 'c', '--yes'], { context })).toMatchObject({
      exitCode: 0,
      stdout: 'done: c is no member any more\n',
    });
    expect(asked).toHaveLength(1);
  });
});

describe('peer recover', () => {
  const args = ['peer', 'recover', '--lost', 'a,b'];

  it('shows the peers and what it means, and has the lost ones named', async () => {
    const { asked, context } = answering([done]);
    const questions: string[] = [];
    const ask = (question: string): Promise<string> => {
      questions.push(question);
      return Promise.resolve('b, a');
    };
    const { exitCode, stdout, stderr } = await run(args, { context: { ...context, ask } });
    expect([exitCode, stdout]).toEqual([0, 'done: it is done\n']);
    expect(asked).toEqual([{ lost: ['a', 'b'] }]);
    expect(stderr).toMatch(/ c +voter +\? +lost +7 behind/);
    expect(stderr.replaceAll(/\s+/g, ' ')).toContain(
      '1. a goes on as the only voter, at incarnation 2; what it does not hold of the log is lost',
    );
    expect(stderr.replaceAll(/\s+/g, ' ')).toContain('until all of its nodes have reported');
    expect(questions).toEqual(['Type the names of the peers that are gone for good (a,b) to go on: ']);
  });

  it.each(['', 'y', 'a', 'a,b,c'])('changes nothing when %j is typed', async (answer) => {
    const { asked, context } = answering([done]);
    const ask = (): Promise<string> => Promise.resolve(answer);
    expect(await run(args, { context: { ...context, ask } })).toMatchObject({ exitCode: 1 });
    expect(asked).toEqual([]);
  });

  it('is not repeated, nor taken elsewhere', async () => {
    const gone = new AdminError('deadline', 'a:1: no answer');
    for (const [answer, exitCode] of [
      [refused, 1],
      [gone, 3],
      [{ kind: 'not-leader' } as const, 1],
    ] as const) {
      const { asked, context } = answering([answer]);
      expect(await run([...args, '--yes'], { context })).toMatchObject({ exitCode });
      expect(asked).toHaveLength(1);
    }
  });
});

describe('status', () => {
  it('shows learners, who decides, and a later incarnation', async () => {
    const peers = HEALTHY.peers.map(
      (peer) => ({ ...peer, kind: peer.peer === 'c' ? 'learner' : 'voter' }) as const,
    );
    const shown = { ...HEALTHY, incarnation: 2, peers };
    const { stdout } = await run(['status'], { admin: fakeAdmin({ shown }) });
    expect(stdout).toContain('leader b (term 4, incarnation 2)');
    expect(stdout).toMatch(/ c +learner +ok/);
    expect(stdout).toContain('3 of 3 in contact, 2 decide');
    expect((await run(['status'])).stdout).not.toContain('incarnation');
  });

  it('of a peer that waits to be added is starting', async () => {
    const [own] = HEALTHY.peers;
    const peers = own === undefined ? [] : [{ ...own, kind: 'joining' as const, role: 'follower' as const }];
    const shown = { ...HEALTHY, incarnation: 0, leader: undefined, groups: [], peers };
    const { stdout } = await run(['status'], { admin: fakeAdmin({ shown }) });
    expect(stdout).toContain('shop: starting');
    expect(stdout).toMatch(/ a +joining +answered/);
    expect(stdout).toContain('peer a is not a member of the cluster yet');
  });
});
