// The program of the guard: takes the node's seat, or that of a guard of another version, and watches until it is told to end.
//
//   node dist/src/guard/main.js DIRECTORY VERSION [--replace]
//
// Exit codes: 0 there is nothing (more) to do here; above 128 it failed, and is to be started again.
import { writeFileSync, writeSync } from 'node:fs';
import { setPriority } from 'node:os';
import { createServer, type Socket } from 'node:net';
import { settledWithin } from '../base/clock.ts';
import { startGuard } from './guard.ts';
import { connectSeat, highestSeat, takeSeat } from './seat.ts';
import { readInstructions } from './terms.ts';
import { type GuardAnswer, type GuardRequest, readLines, writeLine } from './wire.ts';

const EXIT_FAILED = 200;
const YIELD_TIMEOUT_MS = 5000;
/** Only root may go below 0: the last to be ended when memory runs out, and in time for its deadlines on a busy host. */
const OOM_SCORE = '-900';
const NICE = -10;

/** A full disk must neither end the guard nor silence it for good, as an error would the stream of the standard output. */
function log(message: string): void {
  try {
    writeSync(process.stdout.fd, `${new Date().toISOString()} ${process.pid} ${message}\n`);
  } catch {
    return;
  }
}

function fail(error: unknown): never {
  log(`the guard cannot go on: ${error instanceof Error ? error.stack : String(error)}`);
  process.exit(EXIT_FAILED);
}

async function main(directory: string, version: string, mayReplace: boolean): Promise<void> {
  if ((await readInstructions(directory)) === undefined) return;
  const old = mayReplace ? await askToYield(directory, version) : undefined;
  const clients = new Set<Socket>();
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const answer = (socket: Socket, id: number | undefined): void => {
    const text: GuardAnswer = { ...(id === undefined ? {} : { id }), state: guard.state() };
    writeLine(socket, text);
  };
  const leave = (why: string): void => {
    guard.close('handOver');
    log(why);
    process.exit(0);
  };
  const carryOut = (socket: Socket, request: GuardRequest & { readonly id: number }): void => {
    switch (request.kind) {
      case 'terms':
        guard.setTerms(request.terms);
        break;
      case 'lease':
        guard.setLease(request.lease);
        break;
      case 'yield':
        // The other one may go away before it says that it has the seat.
        socket.once('close', () => {
          highestSeat(directory).then((highest) => {
            if (highest > seat) leave('another guard has the seat');
          }, fail);
        });
        break;
      case 'held':
        return leave('replaced by a guard of another version');
      case 'end':
        guard.close('end');
        answer(socket, request.id);
        log('ended: there is no primary to guard');
        socket.end(() => process.exit(0));
        return;
      case 'ask':
        break;
    }
    answer(socket, request.id);
  };
  const server = createServer((socket) => {
    clients.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => clients.delete(socket));
    readLines<GuardRequest & { readonly id: number }>(socket, (request) => {
      begun.then(() => carryOut(socket, request)).catch(fail);
    });
  });
  const taken = await takeSeat(directory, server, old?.seat);
  if (taken === undefined) {
    log('another guard has the seat');
    process.exit(0);
  }
  const seat = taken.number;
  // Not before the seat was taken, which may take seconds: leases are renewed meanwhile, or there may be nothing to guard any more.
  const instructions = await readInstructions(directory);
  if (instructions === undefined) {
    log('there is nothing to guard any more');
    process.exit(0);
  }
  const guard = startGuard({
    version,
    instructions,
    onStopped: () => {
      for (const client of clients) answer(client, undefined);
    },
    onFailed: fail,
    log,
  });
  begin();
  standOut();
  log(`guards ${instructions.terms.node} (seat ${seat}, version ${version})`);
  if (old !== undefined)
    writeLine(old.socket, { id: 0, kind: 'held' } satisfies { id: number } & GuardRequest);
}

/** Asks a guard of another version to leave its seat to this one; it goes on until that is taken. */
async function askToYield(
  directory: string,
  version: string,
): Promise<{ readonly seat: number; readonly socket: Socket } | undefined> {
  const seat = await highestSeat(directory);
  const socket = seat === 0 ? undefined : await connectSeat(directory, seat);
  if (socket === undefined) return undefined;
  let found: string | undefined;
  const answered = new Promise<void>((resolve) => {
    socket.once('close', resolve);
    readLines<GuardAnswer>(socket, ({ state }) => {
      found = state.version;
      resolve();
    });
  });
  writeLine(socket, { id: 0, kind: 'yield' } satisfies { id: number } & GuardRequest);
  await settledWithin(answered, YIELD_TIMEOUT_MS);
  if (found !== undefined && found !== version) return { seat, socket };
  // It is of this version, gone, or frozen: then whoever started this one ends it.
  socket.destroy();
  return undefined;
}

function standOut(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', OOM_SCORE);
    setPriority(NICE);
  } catch {
    // An ordinary user's guard is one process among others.
    return;
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => log(`${signal} is not for the guard: it ends with the primary`));
process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);
const [directory, version, option] = process.argv.slice(2);
if (directory === undefined || version === undefined) fail(new Error('usage: main.js DIRECTORY VERSION'));
await main(directory, version, option === '--replace');
