// The links between the hosts, each way by itself, and from clients elsewhere to each host. Every link goes through toxiproxy; host
// numbers are those of docker/chaos/toxiproxy.json. What is cut hangs, as on a network that drops packets; nothing is refused.
import { Toxiproxy, type ToxicDirection, type ToxicType } from 'toxiproxy-node-client';
import { delay } from '../../../src/base/clock.ts';

export type HostNumber = 1 | 2 | 3 | 4;
/** `raft`: between the peers; `node`: to the other's PostgreSQL (WAL stream, probes, rewind, clone). */
export type LinkKind = 'raft' | 'node';

export interface Weather {
  readonly latencyMs: number;
  readonly jitterMs: number;
  /** TCP hides loss; what is left of it is data that comes in small bits, late. Undefined: whole. */
  readonly bits?: { readonly bytes: number; readonly delayUs: number };
}

export interface Links {
  /** Drops everything that `from` sends to `to`, on connections of either's making; what comes back arrives. */
  cutOneWay(from: HostNumber, to: HostNumber, kinds?: readonly LinkKind[]): Promise<void>;
  /** Both ways. */
  cut(a: HostNumber, b: HostNumber, kinds?: readonly LinkKind[]): Promise<void>;
  /** Delays and slices what goes between the two, both ways. */
  spoil(a: HostNumber, b: HostNumber, weather: Weather, kinds?: readonly LinkKind[]): Promise<void>;
  /** Closes every connection between the two at once and refuses new ones, or takes them again. */
  setRefused(a: HostNumber, b: HostNumber, isRefused: boolean): Promise<void>;
  /** Takes everything back; connections that had lost something, or were slow, are closed. */
  heal(): Promise<void>;
}

const CLOSING_MS = 200;
const KINDS: readonly LinkKind[] = ['raft', 'node'];

/** `url` of toxiproxy's API. */
export function createLinks(url: string): Links {
  const toxiproxy = new Toxiproxy(url);
  /** What is there already: toxiproxy refuses a second one of the name. */
  const present = new Set<string>();
  /** The proxies whose links are slow. */
  const spoilt = new Set<string>();
  const setEnabled = async (name: string, enabled: boolean): Promise<void> => {
    const proxy = await toxiproxy.get(name);
    await proxy.update({ enabled, listen: proxy.listen, upstream: proxy.upstream });
  };
  /**
   * toxiproxy changes what befalls an open connection only once what it has in hand was delivered. On a slow link to a host that reads
   * nothing that never is, and all its answers wait: so such connections are closed first.
   */
  const closeSpoilt = async (names: readonly string[]): Promise<void> => {
    if (names.length === 0) return;
    await Promise.all(names.map((name) => setEnabled(name, false)));
    await delay(CLOSING_MS);
  };
  const add = async <T>(
    proxy: string,
    stream: ToxicDirection,
    type: ToxicType,
    attributes: T,
  ): Promise<void> => {
    const name = `${type}-${stream}`;
    const key = `${proxy} ${name}`;
    if (present.has(key)) return;
    present.add(key);
    const isSlow = spoilt.has(proxy);
    if (type === 'latency') spoilt.add(proxy);
    if (isSlow) await closeSpoilt([proxy]);
    const target = await toxiproxy.get(proxy);
    await target.addToxic({ name, type, stream, toxicity: 1, attributes });
    if (isSlow) await setEnabled(proxy, true);
  };
  const cutOneWay: Links['cutOneWay'] = async (from, to, kinds = KINDS) => {
    const drop = { timeout: 0 };
    await Promise.all(
      kinds.flatMap((kind) => [
        add(`${kind}-${from}-${to}`, 'upstream', 'timeout', drop),
        add(`${kind}-${to}-${from}`, 'downstream', 'timeout', drop),
      ]),
    );
  };
  const proxiesBetween = (a: HostNumber, b: HostNumber, kinds: readonly LinkKind[]): string[] =>
    kinds.flatMap((kind) => [`${kind}-${a}-${b}`, `${kind}-${b}-${a}`]);
  return {
    cutOneWay,
    async cut(a, b, kinds = KINDS) {
      // One after the other: each may have to close the same link.
      await cutOneWay(a, b, kinds);
      await cutOneWay(b, a, kinds);
    },
    async spoil(a, b, { latencyMs, jitterMs, bits }, kinds = KINDS) {
      const late = { latency: latencyMs, jitter: jitterMs };
      for (const proxy of proxiesBetween(a, b, kinds))
        for (const stream of ['upstream', 'downstream'] as const) {
          await add(proxy, stream, 'latency', late);
          if (bits === undefined) continue;
          const { bytes, delayUs } = bits;
          const variation = Math.floor(bytes / 2);
          await add(proxy, stream, 'slicer', {
            average_size: bytes,
            size_variation: variation,
            delay: delayUs,
          });
        }
    },
    async setRefused(a, b, isRefused) {
      await Promise.all(proxiesBetween(a, b, KINDS).map((name) => setEnabled(name, !isRefused)));
    },
    async heal() {
      await closeSpoilt([...spoilt]);
      spoilt.clear();
      present.clear();
      await toxiproxy.reset();
    },
  };
}
