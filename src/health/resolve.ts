// Sockets that connect to a name through an address that was found before: when a host vanishes its name often does too, and the search
// for it must neither delay nor prevent the judgement.
import { lookup, type LookupAddress, type LookupOptions } from 'node:dns';
import { Socket } from 'node:net';

const REFRESH_MS = 5000;

/** The addresses of one name. The first search must succeed; after that the last answer serves while a new one is fetched. */
export class Resolver {
  #known: readonly LookupAddress[] = [];
  #searchedMs = -Infinity;
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** In the form of `dns.lookup`, as `net.connect` takes it. */
  readonly lookup = (
    host: string,
    options: LookupOptions,
    callback: (
      error: NodeJS.ErrnoException | null,
      address: string | LookupAddress[],
      family?: number,
    ) => void,
  ): void => {
    const answer = (found: readonly LookupAddress[]): void => {
      const first = found[0];
      if (options.all === true) callback(null, [...found]);
      else if (first === undefined)
        callback(Object.assign(new Error(`no address for ${host}`), { code: 'ENOTFOUND' }), '');
      else callback(null, first.address, first.family);
    };
    if (this.#known.length > 0) {
      this.#refresh(host);
      process.nextTick(() => answer(this.#known));
      return;
    }
    lookup(host, { all: true }, (error, found) => {
      if (error === null) {
        this.#known = found;
        answer(found);
      } else callback(error, '');
    });
    this.#searchedMs = this.#nowMs();
  };

  #refresh(host: string): void {
    if (this.#nowMs() - this.#searchedMs < REFRESH_MS) return;
    this.#searchedMs = this.#nowMs();
    lookup(host, { all: true }, (error, found) => {
      if (error === null && found.length > 0) this.#known = found;
    });
  }
}

/** A socket that is told only port and host, by node-postgres or by us, and finds the address through `resolver`. */
export class ResolvingSocket extends Socket {
  readonly #resolver: Resolver;

  constructor(resolver: Resolver) {
    super();
    this.#resolver = resolver;
  }

  override connect(port: number, host: string): this;
  override connect(...options: unknown[]): this;
  override connect(port: unknown, host?: unknown): this {
    return super.connect({
      port: port as number,
      host: host as string,
      lookup: this.#resolver.lookup as never,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 1000,
    });
  }
}
