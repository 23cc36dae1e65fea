// One host of the chaos cluster: a container with sentineld and PostgreSQL in it, and what may befall them.
import { until } from '../../../src/base/clock.ts';
import type { Target } from '../../../harness/session.ts';
import { COMPOSE_PROJECT, compose, docker } from './docker.ts';
import type { HostNumber } from './links.ts';

export interface ChaosHost {
  readonly number: HostNumber;
  readonly peer: string;
  readonly node: string;
  /** For clients beside the host, whatever becomes of its link to the others. Known once it has been started. */
  readonly besideTarget: () => Target;
  /** Of the admin service, reached in the same way. */
  readonly adminAddress: () => string;
  /** Starts the container, made where it is missing, and finds its address. */
  start(): Promise<void>;
  /** The host loses its power: every process is gone at once. */
  kill(): Promise<void>;
  /** Ends everything in order, as a reboot does. */
  stop(): Promise<void>;
  /** All processes stand still, and so do their connections. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** Off the network that leads to the others and to clients elsewhere; with `clients`, also off that of the clients beside it. */
  isolate(which?: { readonly clients: boolean }): Promise<void>;
  reconnect(): Promise<void>;
  signalPostmaster(signal: 'KILL' | 'STOP' | 'CONT'): Promise<void>;
  /** To every process of PostgreSQL. */
  signalPostgres(signal: 'KILL' | 'STOP' | 'CONT'): Promise<void>;
  /** A standby's startup process stands still: it replays nothing, and takes no other upstream. */
  freezeReplay(): Promise<void>;
  /** `KILL` is followed by a restart after a second, unless it is held. */
  signalSentineld(signal: 'KILL' | 'TERM' | 'STOP' | 'CONT'): Promise<void>;
  /** While held, a sentineld that ended is not started again. */
  setHeld(isHeld: boolean): Promise<void>;
  /** sentineld, started anew, from now on lives with a wall clock of its own: see {@link setClock}. Counts until it ends. */
  startWithOwnClock(): Promise<void>;
  /** Shifts that clock by so many seconds against the true one. */
  setClock(offsetS: number): Promise<void>;
  /** Fills PostgreSQL's disk up to the last block. */
  fillDisk(): Promise<void>;
  freeDisk(): Promise<void>;
  /** Runs SQL as superuser through the private socket; returns rows as lines. */
  sql(text: string): Promise<string>;
  /** What sentineld has written so far, newest last. */
  log(lines: number): Promise<string>;
  /** Takes back whatever was done to it, and starts it where it is down. */
  restore(): Promise<void>;
}

const SENTINELD = '^node .*/sentineld';
const FILLER = '/var/lib/pg-sentinel/data/filler';
const CLOCK = '/tmp/clock';
const PEERS: Record<HostNumber, string> = { 1: 'a', 2: 'b', 3: 'c', 4: 'd' };

export function createChaosHost(number: HostNumber): ChaosHost {
  const node = `pg${number}`;
  let container = '';
  let address = '';
  const cutOff = new Set<'link' | 'clients'>();
  const inside = (script: string): Promise<string> => docker(['exec', container, 'bash', '-c', script]);
  const network = (kind: 'link' | 'clients'): string => `${COMPOSE_PROJECT}_${kind}${number}`;
  const inspect = (format: string): Promise<string> => docker(['inspect', '--format', format, container]);

  const disconnect = async (kind: 'link' | 'clients'): Promise<void> => {
    if (cutOff.has(kind)) return;
    cutOff.add(kind);
    await docker(['network', 'disconnect', '--force', network(kind), container]);
  };
  const reconnect = async (): Promise<void> => {
    for (const kind of [...cutOff]) {
      await docker(['network', 'connect', '--alias', node, network(kind), container]);
      cutOff.delete(kind);
    }
  };
  const start = async (): Promise<void> => {
    await compose(['up', '--detach', '--no-deps', '--no-build', '--no-recreate', node]);
    container = await compose(['ps', '--quiet', node]);
    const found = await inspect(`{{(index .NetworkSettings.Networks "${network('clients')}").IPAddress}}`);
    if (found === '') throw new Error(`${node} has no address in ${network('clients')}`);
    if (address !== '' && found !== address)
      throw new Error(`${node} came back at ${found} instead of ${address}: its clients would not find it`);
    address = found;
  };
  const setHeld: ChaosHost['setHeld'] = async (isHeld) => {
    await inside(isHeld ? 'touch /run/pg-sentinel/hold' : 'rm -f /run/pg-sentinel/hold');
  };
  const signalSentineld: ChaosHost['signalSentineld'] = async (signal) => {
    await inside(`pkill -${signal} -f '${SENTINELD}'`);
  };
  return {
    number,
    peer: PEERS[number],
    node,
    besideTarget: () => ({ node, host: address, port: 5432 }),
    adminAddress: () => `${address}:7432`,
    start,
    kill: async () => void (await docker(['kill', container])),
    stop: async () => void (await docker(['stop', '--time', '60', container], 90_000)),
    freeze: async () => void (await docker(['pause', container])),
    thaw: async () => void (await docker(['unpause', container])),
    async isolate(which = { clients: true }) {
      await disconnect('link');
      if (which.clients) await disconnect('clients');
    },
    reconnect,
    async signalPostmaster(signal) {
      await inside(`kill -${signal} "$(head -n 1 /var/lib/pg-sentinel/data/main/postmaster.pid)"`);
    },
    signalPostgres: async (signal) => void (await inside(`pkill -${signal} -x postgres`)),
    freezeReplay: async () => void (await inside("pkill -STOP -f '^postgres: .*startup '")),
    signalSentineld,
    setHeld,
    async startWithOwnClock() {
      await setHeld(true);
      await signalSentineld('TERM');
      await until({ what: `sentineld of ${node} to end`, timeoutMs: 15_000, everyMs: 50 }, () =>
        inside(`! pgrep -f '${SENTINELD}'`).then(
          () => true,
          () => false,
        ),
      );
      const library = '$(find /usr/lib -name libfaketime.so.1)';
      const variables = `FAKETIME_TIMESTAMP_FILE=${CLOCK} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1`;
      await inside(
        `echo +0s >${CLOCK}; LD_PRELOAD=${library} ${variables} setsid sentineld >/proc/1/fd/1 2>&1 </dev/null & sleep 0.2`,
      );
    },
    async setClock(offsetS) {
      await inside(`echo ${offsetS < 0 ? '' : '+'}${offsetS}s >${CLOCK}.new && mv ${CLOCK}.new ${CLOCK}`);
    },
    fillDisk: async () => void (await inside(`dd if=/dev/zero of=${FILLER} bs=64k 2>/dev/null; true`)),
    freeDisk: async () => void (await inside(`rm -f ${FILLER}`)),
    sql: (text) => docker(['exec', container, 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', text]),
    log: async (lines) => docker(['logs', '--tail', String(lines), container]),
    async restore() {
      const state = await inspect('{{.State.Status}}');
      if (state === 'paused') await docker(['unpause', container]);
      await reconnect();
      if (state === 'exited') await start();
      await inside(`pkill -CONT -x postgres; pkill -CONT -f '${SENTINELD}'; rm -f ${FILLER}`);
      if ((await inside('ls /run/pg-sentinel')).split('\n').includes('hold')) {
        // One that was started beside the supervisor ends first: there must not be two.
        await inside(`pkill -KILL -f '${SENTINELD}'; true`);
        await setHeld(false);
      }
    },
  };
}
