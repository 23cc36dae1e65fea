// The links between the hosts, each way by itself, and from clients elsewhere to each host. Every link goes through toxiproxy; host
// numbers are those of docker/chaos/toxiproxy.json. What is cut hangs, as on a network that drops packets; nothing is refused.
import { Toxiproxy, type ToxicDirection, type ToxicType } from 'toxiproxy-node-client';

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
  /** Delays and slices what goes between the two, both ways; connections that are open are closed. */
  spoil(a: HostNumber, b: HostNumber, weather: Weather, kinds?: readonly LinkKind[]): Promise<void>;
  /** Closes every connection between the two at once and refuses new ones, or takes them again. */
  setRefused(a: HostNumber, b: HostNumber, isRefused: boolean): Promise<void>;
  /** Takes everything back; connections that had lost something, or were slow, are closed. */
  heal(): Promise<void>;
}

const KINDS: readonly LinkKind[] = ['raft', 'node'];

interface Toxic {
  readonly name: string;
  readonly stream: ToxicDirection;
  readonly type: ToxicType;
  readonly attributes: object;
}

/** These hold data back. */
const SLOW: readonly ToxicType[] = ['latency', 'slicer'];

/** `url` of toxiproxy's API. */
export function createLinks(url: string): Links {
  const toxiproxy = new Toxiproxy(url);
  /** What was added to each proxy. */
  const present = new Map<string, readonly Toxic[]>();
  const setEnabled = async (name: string, enabled: boolean): Promise<void> => {
    const proxy = await toxiproxy.get(name);
    await proxy.update({ enabled, listen: proxy.listen, upstream: proxy.upstream });
  };
  /**
   * Closes its connections. What slows an open connection is changed by toxiproxy only once what it holds was delivered; to a host that
   * reads nothing that never is, and from then on toxiproxy answers nobody. So the proxy of a slow link is made anew.
   */
  const rebuild = async (name: string, toxics: readonly Toxic[]): Promise<void> => {
    const old = await toxiproxy.get(name);
    const { listen, upstream } = old;
    await old.remove();
    const proxy = await toxiproxy.createProxy({ name, listen, upstream, enabled: false });
    for (const toxic of toxics) await proxy.addToxic({ ...toxic, toxicity: 1 });
    await setEnabled(name, true);
  };
  const isSlow = (name: string): boolean =>
    present.get(name)?.some(({ type }) => SLOW.includes(type)) ?? false;
  const add = async (
    name: string,
    stream: ToxicDirection,
    wanted: readonly Pick<Toxic, 'type' | 'attributes'>[],
  ): Promise<void> => {
    const before = present.get(name) ?? [];
    const added = wanted
      .map((toxic) => ({ ...toxic, stream, name: `${toxic.type}-${stream}` }))
      .filter((toxic) => before.every((other) => other.name !== toxic.name));
    if (added.length === 0) return;
    present.set(name, [...before, ...added]);
    if (isSlow(name)) return rebuild(name, [...before, ...added]);
    const proxy = await toxiproxy.get(name);
    for (const toxic of added) await proxy.addToxic({ ...toxic, toxicity: 1 });
  };
  const cutOneWay: Links['cutOneWay'] = async (from, to, kinds = KINDS) => {
    const drop = [{ type: 'timeout', attributes: { timeout: 0 } }] as const;
    await Promise.all(
      kinds.flatMap((kind) => [
        add(`${kind}-${from}-${to}`, 'upstream', drop),
        add(`${kind}-${to}-${from}`, 'downstream', drop),
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
      const toxics: Pick<Toxic, 'type' | 'attributes'>[] = [
        { type: 'latency', attributes: { latency: latencyMs, jitter: jitterMs } },
      ];
      if (bits !== undefined) {
        const sizes = { average_size: bits.bytes, size_variation: Math.floor(bits.bytes / 2) };
        toxics.push({ type: 'slicer', attributes: { ...sizes, delay: bits.delayUs } });
      }
      for (const proxy of proxiesBetween(a, b, kinds))
        for (const stream of ['upstream', 'downstream'] as const) await add(proxy, stream, toxics);
    },
    async setRefused(a, b, isRefused) {
      await Promise.all(proxiesBetween(a, b, KINDS).map((name) => setEnabled(name, !isRefused)));
    },
    async heal() {
      for (const name of [...present.keys()].filter(isSlow)) await rebuild(name, []);
      present.clear();
      await toxiproxy.reset();
    },
  };
}
