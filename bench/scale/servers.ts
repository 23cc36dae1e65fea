// A program of the benchmark: the PostgreSQL servers of all simulated nodes, a listener each. It does what it is told over the channel of
// its parent, and ends when that is gone. Holds no data: what a node is, its agent in the other process knows.
import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { createWireSession } from './pg-wire.ts';
import { makeVerifier, type Verifier } from './scram.ts';
import type { ServerCounts, ServersPlan, ServersRequest } from './servers-plan.ts';

interface Node {
  readonly host: string;
  isInRecovery: boolean;
  server: Server | undefined;
  readonly sockets: Set<Socket>;
}

const plan = JSON.parse(process.argv[2] ?? 'null') as ServersPlan;
const verifier: Verifier = makeVerifier(plan.probePassword);
const nodes = plan.hosts.map((host): Node => ({
  host,
  isInRecovery: true,
  server: undefined,
  sockets: new Set(),
}));
let counts: ServerCounts = { reads: 0, writes: 0, checks: 0 };
let pidCount = 1000;

const add = (kind: keyof ServerCounts): void => {
  counts = { ...counts, [kind]: counts[kind] + 1 };
};

function serve(node: Node, socket: Socket): void {
  node.sockets.add(socket);
  let beat = 0;
  pidCount += 1;
  const session = createWireSession({
    verifier,
    pid: pidCount,
    isInRecovery: () => node.isInRecovery,
    nonce: () => randomBytes(12).toString('base64'),
    beat(kind) {
      add(kind === 'read' ? 'reads' : 'writes');
      beat += 1;
      return beat;
    },
    checked: () => add('checks'),
  });
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('close', () => node.sockets.delete(socket));
  socket.on('data', (bytes) => {
    const { answer, ends } = session.take(bytes);
    if (ends) socket.end(answer);
    else if (answer.length > 0) socket.write(answer);
  });
}

function start(node: Node): Promise<void> {
  if (node.server !== undefined) return Promise.resolve();
  const server = createServer({ allowHalfOpen: false }, (socket) => serve(node, socket));
  node.server = server;
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      node.server = undefined;
      reject(error);
    });
    server.listen({ host: node.host, port: plan.port, backlog: 64 }, resolve);
  });
}

/** As SIGKILL to the postmaster and all of its children: nobody listens, and every connection is closed. */
function crash(node: Node): void {
  node.server?.close();
  node.server = undefined;
  for (const socket of node.sockets) socket.destroy();
}

async function carryOut(request: ServersRequest): Promise<unknown> {
  switch (request.kind) {
    case 'set':
      for (const { at, role } of request.changes) {
        const node = nodes[at];
        if (node === undefined) throw new RangeError(`there is no node ${at}`);
        if (role === 'down') crash(node);
        else {
          node.isInRecovery = role === 'standby';
          await start(node);
        }
      }
      return { atNs: String(process.hrtime.bigint()) };
    case 'counts':
      return counts;
  }
}

process.on('message', (message) => {
  const request = message as ServersRequest & { readonly id: number };
  carryOut(request).then(
    (value) => process.send?.({ id: request.id, value }),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => process.exit(0));
