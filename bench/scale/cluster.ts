// Everything that runs: three peers without a node of their own, the program with the simulated servers, and the learner through which the
// simulated agents take part. All of it lies below one directory, and is ended with it (bench/raft/place.ts).
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { configFile, type HostPlan, raftDirectory, renderConfig } from '../../harness/cluster-config.ts';
import { compiled } from '../../harness/programs.ts';
import { until } from '../../src/base/clock.ts';
import { groupId, nodeId, peerId } from '../../src/base/ids.ts';
import { isAlive, signalProcess } from '../../src/postgres/processes.ts';
import { connectAdmin } from '../../src/transport/admin-client.ts';
import { freePorts } from '../../src/transport/testing/free-ports.ts';
import { createProgram, type Program } from '../raft/program.ts';
import { newNode, type NodeModel } from './agent-model.ts';
import { startLearner, type Learner } from './learner.ts';
import type { ServerChange, ServerCounts, ServersPlan, ServersRequest } from './servers-plan.ts';

const CLUSTER = 'scale';
const PEERS = ['a', 'b', 'c'] as const;
const LEARNER = peerId('agents');
const JOIN_TIMEOUT_MS = 60_000;
const ASK_TIMEOUT_MS = 30_000;
const END_TIMEOUT_MS = 30_000;

export interface Peer {
  readonly peer: string;
  readonly address: string;
  readonly raftDirectory: string;
  readonly program: Program;
}

export interface ScaleCluster {
  readonly peers: readonly Peer[];
  readonly learner: Learner;
  /** Every node there is to be, group by group. */
  readonly groups: readonly (readonly NodeModel[])[];
  setServers(changes: readonly ServerChange[]): Promise<bigint>;
  counts(): Promise<ServerCounts>;
  /** Throws when one of the processes ended by itself. */
  assertRunning(): void;
  /** Ends the peers in order, where they are to leave a profile behind; the rest ends with the directory. */
  close(inOrder: boolean): Promise<void>;
}

export async function startScaleCluster(options: {
  readonly directory: string;
  readonly groupCount: number;
  readonly nodesPerGroup: number;
  readonly profileDirectory: string | undefined;
  readonly signal: AbortSignal;
  readonly onFatal: (error: unknown) => void;
}): Promise<ScaleCluster> {
  const { directory, signal } = options;
  const [learnerPort = 0, nodePort = 0, ...peerPorts] = await freePorts(2 + PEERS.length);
  const probePassword = randomBytes(12).toString('hex');
  const groups = plannedGroups(options, nodePort);
  const servers = await startServers(directory, { groups, nodePort, probePassword });
  const plans = PEERS.map((peer, at) => planOf(directory, peer, peerPorts[at] ?? 0));
  const peers: Peer[] = [];
  for (const host of plans) {
    await mkdir(host.directory, { recursive: true });
    const secrets = { replication: probePassword, probe: probePassword };
    const text = renderConfig({ cluster: CLUSTER, host, hosts: plans, secrets, binDirectory: '' });
    await writeFile(configFile(host), text, { mode: 0o600 });
    peers.push(startPeer(host, options.profileDirectory));
  }
  const learner = await startLearner({
    cluster: CLUSTER,
    address: { peer: LEARNER, host: '127.0.0.1', port: learnerPort },
    peers: plans.map(({ peer, address, peerPort }) => ({
      peer: peerId(peer),
      host: address,
      port: peerPort,
    })),
    directory: join(directory, 'learner'),
    onFatal: options.onFatal,
  });
  const cluster: ScaleCluster = {
    peers,
    learner,
    groups,
    setServers: oneAtATime(servers),
    counts: async () => (await ask(servers, { kind: 'counts' })) as ServerCounts,
    assertRunning() {
      servers.assertRunning();
      for (const { program } of peers) program.assertRunning();
    },
    async close(inOrder) {
      await learner.close();
      if (inOrder) await Promise.all(peers.map(({ program }) => endInOrder(program)));
    },
  };
  try {
    await addLearner(cluster, `127.0.0.1:${learnerPort}`, signal);
  } catch (error) {
    await cluster.close(false);
    throw error;
  }
  return cluster;
}

/** Each node has an address of its own on the loopback network, so that all of them listen on one port. */
function plannedGroups(
  { groupCount, nodesPerGroup }: { readonly groupCount: number; readonly nodesPerGroup: number },
  port: number,
): NodeModel[][] {
  return Array.from({ length: groupCount }, (_, group) =>
    Array.from({ length: nodesPerGroup }, (__, at) => {
      const name = `g${String(group + 1).padStart(4, '0')}`;
      const host = `127.${90 + (group >> 8)}.${group & 255}.${at + 1}`;
      return newNode({ node: nodeId(`${name}-n${at + 1}`), group: groupId(name), peer: LEARNER, host, port });
    }),
  );
}

function planOf(directory: string, peer: string, peerPort: number): HostPlan {
  return {
    peer,
    node: peer,
    group: 'main',
    directory: join(directory, peer),
    address: '127.0.0.1',
    peerPort,
    nodePort: 0,
    isWitness: true,
    cable: undefined,
  };
}

function startPeer(host: HostPlan, profileDirectory: string | undefined): Peer {
  const program = createProgram({
    name: `sentineld of peer ${host.peer}`,
    command: process.execPath,
    commandArguments: [
      ...(profileDirectory === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDirectory}`]),
      ...[compiled('src/daemon/sentineld.js'), '--config', configFile(host)],
    ],
    directory: host.directory,
    environment: process.env,
    takesMessages: false,
  });
  program.start();
  const address = `${host.address}:${host.peerPort}`;
  return { peer: host.peer, address, raftDirectory: raftDirectory(host), program };
}

/** By SIGTERM, so that it leaves its profile behind. */
async function endInOrder({ pid }: Program): Promise<void> {
  if (pid === undefined || !signalProcess(pid, 'SIGTERM')) return;
  await until(
    { what: `pid ${pid} to end on SIGTERM`, timeoutMs: END_TIMEOUT_MS, everyMs: 20 },
    () => !isAlive(pid),
  );
}

async function startServers(
  directory: string,
  options: {
    readonly groups: readonly (readonly NodeModel[])[];
    readonly nodePort: number;
    readonly probePassword: string;
  },
): Promise<Program> {
  const own = join(directory, 'servers');
  await mkdir(own, { recursive: true });
  const plan: ServersPlan = {
    hosts: options.groups.flat().map(({ host }) => host),
    port: options.nodePort,
    probePassword: options.probePassword,
  };
  const program = createProgram({
    name: 'the simulated servers',
    command: process.execPath,
    commandArguments: [compiled('bench/scale/servers.js'), JSON.stringify(plan)],
    directory: own,
    environment: process.env,
    takesMessages: true,
  });
  program.start();
  return program;
}

const ask = (servers: Program, request: ServersRequest): Promise<unknown> =>
  servers.ask(request, ASK_TIMEOUT_MS);

/** What is asked while an answer is awaited goes out together with the next question. */
function oneAtATime(servers: Program): ScaleCluster['setServers'] {
  let waiting: ServerChange[] = [];
  let next: Promise<bigint> | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const send = async (): Promise<bigint> => {
    const changes = waiting;
    waiting = [];
    next = undefined;
    const { atNs } = (await ask(servers, { kind: 'set', changes })) as { readonly atNs: string };
    return BigInt(atNs);
  };
  return (changes) => {
    waiting.push(...changes);
    next ??= last.then(send, send);
    last = next;
    return next;
  };
}

/** By the admin service, as `sentinelctl peer add agents ADDRESS --learner` does it. */
async function addLearner(cluster: ScaleCluster, address: string, signal: AbortSignal): Promise<void> {
  const addresses = cluster.peers.map((peer) => peer.address);
  const what = 'a leader that adds the learner';
  await until({ what, timeoutMs: JOIN_TIMEOUT_MS, everyMs: 200, signal }, async () => {
    cluster.assertRunning();
    try {
      const client = await connectAdmin({ addresses, timeoutMs: 1000 });
      try {
        const outcome = await client.peers.add({ peer: LEARNER, address, learnerOnly: true }, { signal });
        return outcome.kind === 'done';
      } finally {
        client.close();
      }
    } catch (error) {
      if (signal.aborted) throw error;
      return false;
    }
  });
  const told = 'the learner to be told of the log';
  const { replica } = cluster.learner;
  await until({ what: told, timeoutMs: JOIN_TIMEOUT_MS, everyMs: 20, signal }, () => {
    cluster.assertRunning();
    return replica.state.peers.has(LEARNER) && replica.obstacle() === undefined;
  });
}
