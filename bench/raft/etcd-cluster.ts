// Three members of etcd on loopback with its default settings, fsync included. Called as `etcdctl put` would call it.
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePorts } from '../../src/transport/testing/free-ports.ts';
import { callUnary, openLoopback } from './calls.ts';
import type { Client, Contestant } from './contestant.ts';
import { createProgram, type Program, programOf } from './program.ts';
import { decodePutResponse, decodeStatusResponse, encodePutRequest } from './wire.ts';

const NAMES = ['e1', 'e2', 'e3'] as const;
const PUT_PATH = '/etcdserverpb.KV/Put';
const STATUS_PATH = '/etcdserverpb.Maintenance/Status';
const NOTHING = Buffer.alloc(0);
/** So many different keys, written again and again, as a table of that many rows would be. */
const KEY_COUNT = 10_000;
const VERSION_TIMEOUT_MS = 10_000;

export class EtcdMissingError extends Error {
  override readonly name = 'EtcdMissingError';
}

/** What `etcd --version` says first; throws {@link EtcdMissingError} where there is none. */
export async function findEtcd(): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('etcd', ['--version'], {
      env: environmentWithoutEtcd(),
      timeout: VERSION_TIMEOUT_MS,
    });
    return stdout.split('\n')[0]?.replace('etcd Version: ', '') ?? 'unknown';
  } catch (error) {
    throw new EtcdMissingError(
      'etcd was not found, and the ratios need it beside us: install it with "apt-get install etcd-server" (its service need not run), or measure ours alone with --without-etcd',
      { cause: error },
    );
  }
}

/** Starts the members in directories below `directory`; does not wait for a leader. */
export async function startEtcdCluster(directory: string): Promise<Contestant> {
  const ports = await freePorts(2 * NAMES.length);
  const urlOf = (port: number): string => `http://127.0.0.1:${port}`;
  const members = NAMES.map((name, at) => ({
    name: name as string,
    peerPort: ports[2 * at] ?? 0,
    clientPort: ports[2 * at + 1] ?? 0,
  }));
  const programs = new Map<string, Program>();
  for (const { name, peerPort, clientPort } of members) {
    const own = join(directory, `etcd-${name}`);
    await mkdir(own, { recursive: true });
    const program = createProgram({
      name: `etcd ${name}`,
      command: 'etcd',
      commandArguments: [
        ...['--name', name, '--data-dir', join(own, 'data')],
        ...['--listen-peer-urls', urlOf(peerPort), '--initial-advertise-peer-urls', urlOf(peerPort)],
        ...['--listen-client-urls', urlOf(clientPort), '--advertise-client-urls', urlOf(clientPort)],
        ...['--initial-cluster', members.map((each) => `${each.name}=${urlOf(each.peerPort)}`).join(',')],
        ...['--initial-cluster-token', 'bench', '--initial-cluster-state', 'new'],
        ...['--logger', 'zap', '--log-level', 'error', '--log-outputs', 'stderr'],
      ],
      directory: own,
      environment: environmentWithoutEtcd(),
      takesMessages: false,
    });
    program.start();
    programs.set(name, program);
  }
  return {
    name: 'etcd',
    members: NAMES,
    open: (member) => openClient(members.find(({ name }) => name === member)?.clientPort ?? 0),
    kill: (member) => programOf(programs, member).kill(),
    start: (member) => programOf(programs, member).start(),
    assertRunning() {
      for (const program of programs.values()) program.assertRunning();
    },
  };
}

function openClient(port: number): Client {
  const channel = openLoopback(port);
  let count = 0;
  return {
    async propose(value) {
      count += 1;
      const key = Buffer.from(`key-${String(count % KEY_COUNT).padStart(8, '0')}`);
      await callUnary(channel, PUT_PATH, encodePutRequest(key, value), decodePutResponse);
    },
    proposeBatched: undefined,
    view: () => callUnary(channel, STATUS_PATH, NOTHING, decodeStatusResponse),
    close: () => channel.destroy(),
  };
}

/** Settings of an etcd of this host are not for ours. */
function environmentWithoutEtcd(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('ETCD_')));
}
