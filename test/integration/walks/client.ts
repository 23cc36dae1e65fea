// A client of the service: psql on a host of its own, again and again, one row each time, by all addresses that its servers may have.
import { until } from '../../../src/base/clock.ts';
import type { Host } from './hosts.ts';

export interface Client {
  /** Waits for so many further acknowledgements. */
  moreAcks(count: number): Promise<void>;
  /** The longest time between two acknowledgements so far, in milliseconds. */
  longestPauseMs(): number;
  /** Those so far, in their order. */
  acked(): readonly string[];
  /** What is in the table now, for whoever lets it in first. */
  present(): Promise<readonly string[]>;
  /** Ends it. The ids that were acknowledged, and those that are in the table. */
  stop(): Promise<{ readonly acked: readonly string[]; readonly there: readonly string[] }>;
}

/** All that the walks of the three hosts give them. */
export const ADDRESSES = ['10.0.0', '10.0.1'].flatMap((net) => [1, 2, 3, 4].map((host) => `${net}.${host}`));
const STATEMENT_MS = 60_000;
const LIMIT_MS = 180_000;

export function startClient(host: Host, addresses: readonly string[]): Client {
  const service = `host=${addresses.join(',')} dbname=shop user=app password=secret target_session_attrs=read-write connect_timeout=2`;
  const acked: string[] = [];
  let isEnding = false;
  let last = '';
  let lastMs = performance.now();
  let longestMs = 0;
  const psql = (statement: string): ReturnType<Host['run']> =>
    host.run(`exec psql -XAtq "${service}" -c "${statement}"`, STATEMENT_MS);
  const write = async (): Promise<void> => {
    for (let count = 1; !isEnding; count += 1) {
      const id = `order ${count}`;
      const { code, output } = await psql(`insert into orders values ('${id}')`);
      last = output;
      if (code !== 0) continue;
      acked.push(id);
      const nowMs = performance.now();
      longestMs = Math.max(longestMs, nowMs - lastMs);
      lastMs = nowMs;
    }
  };
  const writing = write();
  const present = async (): Promise<readonly string[]> => {
    const { code, output } = await psql('select id from orders');
    if (code !== 0) throw new Error(output);
    return output.trim().split('\n');
  };
  return {
    longestPauseMs: () => longestMs,
    acked: () => [...acked],
    present,
    async moreAcks(count) {
      const wanted = acked.length + count;
      await until(
        { what: `${count} more acknowledged writes`, timeoutMs: LIMIT_MS, everyMs: 50 },
        () => acked.length >= wanted,
      ).catch((error: unknown) => {
        throw new Error(`${(error as Error).message}; psql said: ${last}`);
      });
    },
    async stop() {
      isEnding = true;
      await writing;
      return { acked, there: await present() };
    },
  };
}
