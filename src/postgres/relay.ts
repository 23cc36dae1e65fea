// A connection to a Unix socket as another user of the operating system: a server that we have not started may let in nobody but that user
// ("peer"). A small process of that user connects, and hands the bytes on.
import { spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { cleanEnvironment, spawnIds, type OsUser } from './os-user.ts';

const PROGRAM = `
const { connect, Socket } = require('node:net');
const here = new Socket({ fd: 3 });
const there = connect(process.argv[1]);
const end = () => process.exit(0);
for (const each of [here, there]) each.on('error', end).on('close', end);
here.pipe(there);
there.pipe(here);`;

/** What node-postgres asks of its stream. */
interface Dialled extends Duplex {
  connect?: () => unknown;
  setNoDelay?: () => unknown;
  setKeepAlive?: () => unknown;
}

/** For the `stream` of a client of node-postgres. What goes wrong later closes it; throws where no process can be started. */
export function relayedSocket(user: OsUser, path: string, start: typeof spawn = spawn): Duplex {
  const child = start(process.execPath, ['-e', PROGRAM, path], {
    ...spawnIds(user),
    cwd: '/',
    env: cleanEnvironment(),
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  // There are no pipes where it could not be started for want of descriptors.
  const stream = (child.stdio as typeof child.stdio | undefined)?.[3] as unknown as Dialled | undefined;
  // Before anything that can throw: an error that nobody hears ends the whole process.
  child.once('error', (error) => stream?.destroy(error));
  if (stream === undefined || stream === null)
    throw new Error(`cannot start a process as ${user.name} that connects to ${path}`);
  stream.on('error', () => undefined);
  child.once('exit', () => stream.destroy());
  stream.once('close', () => child.kill('SIGKILL'));
  stream.connect = () => setImmediate(() => stream.emit('connect'));
  stream.setNoDelay = () => stream;
  stream.setKeepAlive = () => stream;
  child.unref();
  return stream;
}
