// Transports over real gRPC on loopback for tests, with what they received and logged written down.
// Must never be used outside tests.
import { createServer, type AddressInfo } from 'node:net';
import { logIndex, nodeId, peerId, type PeerId, epoch, term } from '../../base/ids.ts';
import { lsn } from '../../base/lsn.ts';
import type { AgentReport } from '../../cluster/report.ts';
import type { RaftMessage } from '../../raft/types.ts';
import { type StartedTransport, startTransport } from '../server.ts';
import type { AdminHandlers, PeerAddress, StatusView } from '../types.ts';

export interface Received {
  readonly from: PeerId;
  readonly message: RaftMessage;
  readonly atMs: number;
}

export interface TestPeer {
  readonly transport: StartedTransport;
  readonly received: Received[];
  readonly reports: AgentReport[];
  readonly refused: string[];
  readonly logged: string[];
}

export const STATUS: StatusView = {
  cluster: 'test',
  answeredBy: 'a',
  atMs: 1_700_000_000_123,
  leader: undefined,
  term: 3,
  commitIndex: 40,
  appliedIndex: 39,
  peers: [{ peer: 'a', address: '127.0.0.1:1', role: 'leader', reachable: true, matchIndex: undefined }],
  groups: [
    {
      group: 'main',
      phase: 'running',
      epoch: 12,
      primary: 'pg1',
      durability: 'quorum',
      rule: '1 of pg2',
      ruleChange: undefined,
      nodes: [
        {
          node: 'pg1',
          address: '127.0.0.1:5432',
          peer: 'a',
          role: 'primary',
          state: 'running',
          timeline: 4,
          lsn: '0/3000060',
          lagBytes: undefined,
          sync: undefined,
          member: 'pg1_0a1b2c3d',
          heldDownBy: ['b: refused'],
          message: undefined,
        },
      ],
    },
  ],
  warnings: ['only two peers'],
};

export const QUIET_ADMIN: AdminHandlers = {
  status: () => STATUS,
  watch: (listener) => listener(STATUS),
  failover: () => Promise.resolve({ kind: 'refused', reason: 'not in this test' }),
  events: () => [],
};

/** A port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

export function at(peer: string, port: number): PeerAddress {
  return { peer: peerId(peer), host: '127.0.0.1', port };
}

export async function startTestPeer(options: {
  readonly self: string;
  readonly port?: number;
  readonly peers: readonly PeerAddress[];
  readonly clusterId?: string;
  readonly admin?: AdminHandlers;
}): Promise<TestPeer> {
  const received: Received[] = [];
  const reports: AgentReport[] = [];
  const refused: string[] = [];
  const logged: string[] = [];
  const note = (fields: object, message: string): void => {
    logged.push('reason' in fields ? `${message}: ${String(fields.reason)}` : message);
  };
  const transport = await startTransport({
    clusterId: options.clusterId ?? 'test',
    self: peerId(options.self),
    listen: { host: '127.0.0.1', port: options.port ?? 0 },
    peers: options.peers,
    handlers: {
      onMessage: (from, message) => received.push({ from, message, atMs: performance.now() }),
      onReport: (_from, report) => reports.push(report),
      onRefused: (detail) => refused.push(detail),
    },
    admin: options.admin ?? QUIET_ADMIN,
    log: { info: note, warn: note },
  });
  return { transport, received, reports, refused, logged };
}

export const heartbeat = (round: number): RaftMessage => ({
  kind: 'heartbeat-request',
  term: term(1),
  commitIndex: logIndex(0),
  round,
});

export const appendOf = (round: number, bytes: number): RaftMessage => ({
  kind: 'append-request',
  term: term(1),
  prevIndex: logIndex(round),
  prevTerm: term(1),
  entries: [
    { index: logIndex(round + 1), term: term(1), kind: 'command', data: new Uint8Array(bytes).fill(round) },
  ],
  commitIndex: logIndex(0),
  round,
});

export const reportOf = (node: string, sequence: number): AgentReport => ({
  node: nodeId(node),
  peer: peerId('a'),
  sequence,
  startedAtMs: 1_700_000_000_000,
  member: undefined,
  condition: 'standby',
  fenceEpoch: epoch(12),
  timeline: undefined,
  position: lsn(0x16_b374d848n),
  replayLsn: undefined,
  streamingFrom: { host: 'h', port: 5432 },
  walSenders: [
    { applicationName: 'pg2_0a1b2c3d', state: 'streaming', syncState: 'quorum', flushLsn: undefined },
  ],
  serverVersion: '15.18',
  message: undefined,
});
