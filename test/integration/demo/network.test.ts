// The network of the benchmark's `host` event: a host whose cable is pulled is silent, as a lost host is, and comes back. Needs
// root and network namespaces; says so where it is skipped.
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { compiled } from '../../../harness/programs.ts';
import { processesBelow, signalAll } from '../../../harness/processes.ts';

const call = promisify(execFile);

/** Why this machine cannot run it, or undefined. */
async function obstacle(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'needs root for network namespaces';
  const program = 'ip link add probe type bridge && ip link add one type veth peer name two';
  const probe = await call('unshare', ['--net', 'sh', '-c', program]).catch((error: unknown) => error);
  return probe instanceof Error ? `needs bridges in network namespaces: ${probe.message}` : undefined;
}

/**
 * Runs in a network of its own: an echo server on one host, a client on the bridge. Prints what the client meets. Any refusal or
 * reset after the cut ends it at once: `silent` is said only by a connection about which nothing at all was heard.
 */
const CLIENT = `
  import { spawn } from 'node:child_process';
  import { connect } from 'node:net';
  const [module, directory, silentMs] = process.argv.slice(1);
  const { layCables } = await import(module);
  const [cable] = await layCables(directory, 2);
  const server = 'require("net").createServer((s) => s.pipe(s)).listen(5555, () => console.log("up"))';
  const [program, ...args] = [...cable.enter, process.execPath, '-e', server];
  const child = spawn(program, args, { cwd: directory, stdio: ['ignore', 'pipe', 'ignore'] });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const say = (text) => console.log(text);
  const open = (port) => {
    const socket = connect(port, cable.address);
    const met = new Promise((resolve) => {
      socket.once('connect', () => resolve('connected'));
      socket.once('error', (error) => resolve(error.code));
    });
    return { socket, met };
  };
  const within = (promise) =>
    Promise.race([promise, new Promise((resolve) => setTimeout(resolve, Number(silentMs), 'silent'))]);
  const echo = (socket) => new Promise((resolve) => socket.once('data', (data) => resolve(String(data))));

  const early = open(5555);
  say('open: ' + (await early.met));
  const ended = new Promise((resolve) => early.socket.once('close', () => resolve('closed')));
  say('other port: ' + (await open(5556).met));
  await cable.cut();
  const late = open(5555);
  early.socket.write('written while cut off');
  const answer = echo(early.socket);
  say('cut off, new: ' + (await within(late.met)));
  say('cut off, open: ' + (await within(Promise.race([answer, ended]))));
  await cable.heal();
  say('back, new: ' + (await late.met));
  say('back, open: ' + (await Promise.race([answer, ended])));
  process.exit(0);
`;
const SILENT_MS = 700;

const reason = await obstacle();
let directory = '';

beforeAll(async () => {
  if (reason === undefined) directory = await mkdtemp(join(tmpdir(), 'pgs-network-'));
});

afterAll(async () => {
  if (directory === '') return;
  const what = 'everything in the network to end';
  await until({ what, timeoutMs: 10_000, everyMs: 10 }, () => {
    const pids = processesBelow(directory).map(({ pid }) => pid);
    signalAll(pids, 'SIGKILL');
    return pids.length === 0;
  });
  await rm(directory, { recursive: true });
});

describe.skipIf(reason !== undefined)(
  `a cluster's own network${reason === undefined ? '' : ` (${reason})`}`,
  () => {
    test('a host whose cable is pulled neither answers nor refuses, and open connections outlive it', async () => {
      const module = compiled('harness/network.js');
      const program = ['--input-type=module', '-e', CLIENT, module, directory, String(SILENT_MS)];
      const client = spawn('unshare', ['--net', '--', process.execPath, ...program], {
        env: { ...process.env, PG_SENTINEL_OWN_NETWORK: 'yes' },
        cwd: directory,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let output = '';
      for (const stream of [client.stdout, client.stderr])
        stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
      const code = await new Promise((resolve) => client.once('close', resolve));
      expect(output.trim().split('\n')).toEqual([
        'open: connected',
        'other port: ECONNREFUSED',
        'cut off, new: silent',
        'cut off, open: silent',
        'back, new: connected',
        'back, open: written while cut off',
      ]);
      expect(code).toBe(0);
    });

    test('is not to be had by accident: no cable is laid in the network of the machine', async () => {
      const module = compiled('harness/network.js');
      const program = `await (await import(${JSON.stringify(module)})).layCables('/', 1)`;
      const running = call(process.execPath, ['--input-type=module', '-e', program]);
      await expect(running).rejects.toThrow(/only in a network of our own/);
    });
  },
);
