// Free loopback ports. Below the range that the kernel hands out to outgoing connections (32768 and up by default), so
// that a port found free is not taken by some client before the server binds it.
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

const FIRST_PORT = 12_000;
const LAST_PORT = 31_000;
const TRY_COUNT_MAX = 500;

/** Test workers that run side by side draw from different ports: one must not take what another has found free. */
const LANE_COUNT = 4;
const LANE = Number(process.env['VITEST_POOL_ID'] ?? 0) % LANE_COUNT;

/** A port is not handed out again by this process: whoever asked for it may listen on it later than the next one asks. */
const handedOut = new Set<number>();

/** `count` different ports of 127.0.0.1 that nobody listens on now. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let tries = 0; ports.length < count; tries++) {
    if (tries >= TRY_COUNT_MAX)
      throw new Error(`found only ${ports.length} of ${count} free ports from ${FIRST_PORT} to ${LAST_PORT}`);
    const port = LANE_COUNT * randomInt(FIRST_PORT / LANE_COUNT, LAST_PORT / LANE_COUNT) + LANE;
    if (handedOut.has(port)) continue;
    handedOut.add(port);
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

/** One such port. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  if (port === undefined) throw new Error('asked for one port, got none');
  return port;
}

/** Whether 127.0.0.1:`port` can be bound now. */
function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
