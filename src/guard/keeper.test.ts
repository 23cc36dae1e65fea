// sentineld's side of the guard: which guards it goes on with.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type Server, type Socket, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { until } from '../base/clock.ts';
import { isAlive } from '../postgres/processes.ts';
import { type GuardKeeper, openGuardKeeper } from './keeper.ts';
import { takeSeat } from './seat.ts';
import { type Instructions, type Terms, readInstructions, writeInstructions } from './terms.ts';
import { GUARD_PROTOCOL, type GuardRequest, type GuardState, readLines, writeLine } from './wire.ts';

/** A volume that hangs below that. */
vi.mock('../postgres/answering.ts', () => ({ answers: (path: string) => Promise.resolve(path !== '/hung') }));

const LIMIT_MS = 30_000;
let root: string;
let server: Server;
let keeper: GuardKeeper;
const sockets = new Set<Socket>();
beforeEach(async () => {
  [requests, said] = [[], []];
  onRequest = () => undefined;
  root = await mkdtemp(join(tmpdir(), 'keeper-'));
  // In the place of a guard's program: says as which version it was started.
  await writeFile(
    join(root, 'guard.mjs'),
    "import { writeFileSync } from 'node:fs';\nwriteFileSync(`${process.argv[2]}/started`, process.argv[3]);\n",
  );
  keeper = openGuardKeeper({
    ...{ directory: root, program: join(root, 'guard.mjs'), version: '0.1.0' },
    log: (level, message) => void said.push(`${level} ${message}`),
    onChange: () => undefined,
  });
});
afterEach(async () => {
  keeper.close();
  for (const socket of sockets) socket.destroy();
  server.close();
  await rm(root, { recursive: true });
});

/** One that runs already, and answers whatever it is told with that. */
let requests: string[] = [];
let said: string[] = [];
let onRequest: (asked: GuardRequest, state: { dataDirectory?: string }) => void = () => undefined;
async function guardSays(state: Pick<GuardState, 'version'> & { dataDirectory?: string }): Promise<void> {
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    readLines<GuardRequest & { id: number }>(socket, (asked) => {
      requests.push(asked.kind);
      onRequest(asked, state);
      writeLine(socket, { id: asked.id, state } as object);
    });
  });
  await takeSeat(root, server, undefined);
}

const TERMS: Terms = {
  ...{ node: 'pg1', dataDirectory: '/data', socketDirectory: '/socket', port: 5432, superuser: 'sentinel' },
  ...{ proofTimeoutMs: 1000, watchdog: undefined, isLeased: false },
  rules: [{ members: [], acks: 0 }],
} as unknown as Terms;
const started = (): Promise<string | undefined> =>
  readFile(join(root, 'started'), 'utf8').then(
    (text) => text || undefined,
    () => undefined,
  );

test('one of an earlier build is replaced, though its package has the same version: it does not say where it looks', async () => {
  await guardSays({ version: '0.1.0' });
  const abandon = new AbortController();
  const kept = keeper.keep(TERMS, { until: 'watching', timeoutMs: LIMIT_MS, signal: abandon.signal });
  const version = await until({ what: 'another guard', timeoutMs: LIMIT_MS, everyMs: 20 }, started);
  expect(version).toBe(`0.1.0/${GUARD_PROTOCOL}`);
  abandon.abort(new Error('seen'));
  await expect(kept).rejects.toThrow('seen');
});

test('one of this build that looks where it is told is gone on with', async () => {
  await guardSays({ version: `0.1.0/${GUARD_PROTOCOL}`, dataDirectory: '/data' });
  const { signal } = new AbortController();
  await keeper.keep(TERMS, { until: 'watching', timeoutMs: LIMIT_MS, signal });
  expect(await started()).toBeUndefined();
});

test('one that watches over a data directory left behind hears of leases, and is told nothing else', async () => {
  await guardSays({ version: `0.1.0/${GUARD_PROTOCOL}`, dataDirectory: '/left' });
  await keeper.attach();
  await keeper.renew({ sent: { bootMs: 1, offsetMs: 1 }, untilBootMs: 2 } as never);
  expect(requests).toEqual(['ask', 'lease']);
});

test('one that is told of another data directory is what its instructions name until it watches there: another may have to go on from those', async () => {
  await writeInstructions(root, { terms: { ...TERMS, dataDirectory: '/left' }, lease: undefined });
  const named: (string | undefined)[] = [];
  onRequest = ({ kind }, state) => {
    if (kind !== 'terms') return;
    named.push(
      (JSON.parse(readFileSync(join(root, 'instructions.json'), 'utf8')) as Instructions).terms.dataDirectory,
    );
    // Its stop takes a while.
    if (named.length === 3) state.dataDirectory = '/data';
  };
  await guardSays({ version: `0.1.0/${GUARD_PROTOCOL}`, dataDirectory: '/left' });
  const { signal } = new AbortController();
  await keeper.keep(TERMS, { until: 'watching', timeoutMs: LIMIT_MS, signal });
  expect(named.slice(0, 3)).toEqual(['/left', '/left', '/left']);
  expect((await readInstructions(root))?.terms.dataDirectory).toBe('/data');
});

test.each([
  ['this node', 'pg1', true],
  ['another node, whose place it is by now', 'pg2', false],
])('a primary of %s in a data directory left behind, without a guard: stopped?', async (_, node, isEnded) => {
  server = createServer();
  const [place, program] = [join(root, 'left'), join(root, 'postgres')];
  await mkdir(place);
  await copyFile('/bin/sleep', program);
  const member = { node, memberId: `${node}_00000001`, systemIdentifier: '1' };
  await writeFile(join(place, 'pg_sentinel_member.json'), JSON.stringify(member));
  const child = spawn(program, ['600'], { cwd: place });
  try {
    await once(child, 'spawn');
    await writeFile(join(place, 'postmaster.pid'), `${child.pid}\n${place}\n`);
    await writeInstructions(root, { terms: { ...TERMS, dataDirectory: place }, lease: undefined });
    await keeper.dismiss('/data');
    expect(isAlive(child.pid as number)).toBe(!isEnded);
  } finally {
    child.kill('SIGKILL');
  }
});

test('no primary is guarded here while a data directory left behind does not answer, which holds nothing else up', async () => {
  await writeInstructions(root, { terms: { ...TERMS, dataDirectory: '/hung' }, lease: undefined });
  server = createServer();
  const { signal } = new AbortController();
  const kept = keeper.keep(TERMS, { until: 'watching', timeoutMs: LIMIT_MS, signal });
  await expect(kept).rejects.toThrow(
    /^\/hung, the data directory of an earlier configuration, does not answer/,
  );
  expect((await readInstructions(root))?.terms.dataDirectory).toBe('/hung');
  expect(await started()).toBeUndefined();
  // By the log there is no primary here: a standby does not wait for that volume.
  await keeper.dismiss('/data');
  expect(said).toContainEqual(expect.stringMatching(/^warn \/hung, .* a primary may run in it; see that/));
  expect(await readInstructions(root)).toBeUndefined();
});
