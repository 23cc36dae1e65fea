// Finds out whether there is a way to a peer, by TCP connections that carry nothing: grpc-js cannot abandon a SYN that got lost.
// While one hangs, others are tried beside it, so that the end of a partition is noticed at once even where connecting takes
// long. Must never leave a socket behind after `end`, nor have more than a handful of tries and one name look-up at once.
import { lookup } from 'node:dns';
import { connect as connectTcp, type LookupFunction, type Socket } from 'node:net';

export interface Probes {
  readonly areUnderWay: boolean;
  /**
   * Begins to look, unless that is under way or an earlier name look-up still hangs. Ends with `onFound` or `onFailed`, or goes
   * on for ever.
   */
  begin(): void;
  /** To be called about every 100 ms. `stalled`: this process did not run for a while, so the time passed proves nothing. */
  tick(nowMs: number, stalled: boolean): void;
  end(): void;
}

/** A probe that hangs gets company this often: a SYN that was lost is repeated by the kernel only after a second. */
const ANOTHER_MS = 300;
/** A probe is given up after this; five at most are under way at once. */
const GIVE_UP_MS = 1500;

interface Probe {
  readonly socket: Socket;
  startedAtMs: number;
}

export function createProbes(options: {
  readonly address: { readonly host: string; readonly port: number };
  readonly nowMs: () => number;
  /** There is a way; finding it took `tookMs`. */
  readonly onFound: (tookMs: number) => void;
  /** Nothing came back for `ms`; it is tried on. */
  readonly onNoAnswer: (ms: number) => void;
  /** Somebody or something said no; looking has ended. */
  readonly onFailed: (reason: string) => void;
}): Probes {
  const { address, nowMs } = options;
  const probes = new Set<Probe>();
  let latestAtMs = 0;
  let lookupCount = 0;

  /** Cannot be abandoned either, and takes many seconds where the name server is behind the partition. */
  const countedLookup: LookupFunction = (host, lookupOptions, callback) => {
    lookupCount += 1;
    lookup(host, lookupOptions, (...result) => {
      lookupCount -= 1;
      callback(...result);
    });
  };

  const end = (): void => {
    for (const probe of probes) probe.socket.destroy();
    probes.clear();
  };

  const add = (): void => {
    const socket = connectTcp({ ...address, lookup: countedLookup, noDelay: true });
    const probe: Probe = { socket, startedAtMs: nowMs() };
    latestAtMs = probe.startedAtMs;
    probes.add(probe);
    socket.once('connect', () => {
      socket.destroy();
      if (!probes.has(probe)) return;
      end();
      options.onFound(nowMs() - probe.startedAtMs);
    });
    socket.on('error', (error) => {
      socket.destroy();
      if (!probes.has(probe)) return;
      end();
      options.onFailed(reasonOf(error));
    });
  };

  return {
    get areUnderWay() {
      return probes.size > 0;
    },
    begin() {
      if (probes.size === 0 && lookupCount === 0) add();
    },
    tick(now, stalled) {
      if (probes.size === 0) return;
      for (const probe of probes) {
        if (stalled) probe.startedAtMs = now;
        const waitedMs = now - probe.startedAtMs;
        if (waitedMs <= GIVE_UP_MS) continue;
        probe.socket.destroy();
        probes.delete(probe);
        options.onNoAnswer(waitedMs);
      }
      if (lookupCount === 0 && (probes.size === 0 || now - latestAtMs >= ANOTHER_MS)) add();
    },
    end,
  };
}

/** A host with several addresses fails with one error for each, and no message of its own. */
function reasonOf(error: Error): string {
  if (!(error instanceof AggregateError)) return error.message;
  return error.errors.map((each) => (each instanceof Error ? each.message : String(each))).join('; ');
}
