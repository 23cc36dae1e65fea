// The admin service of whichever peer answers, for tests that kill and freeze peers: a call that fails or hangs goes to
// another peer, and a watch goes on there. Never hides that no peer at all answers.
import { delay, withDeadline } from '../src/base/clock.ts';
import { connectAdmin, type AdminClient } from '../src/transport/admin-client.ts';
import type {
  EventView,
  FailoverOutcome,
  FailoverRequest,
  StatusView,
  SteerOutcome,
  SteerRequest,
} from '../src/transport/types.ts';

export interface ClusterAdmin {
  /** Rejects when no peer answers within {@link CALL_TIMEOUT_MS} each. */
  status(): Promise<StatusView>;
  /** The latest `limit` events of all groups, oldest first. */
  events(limit: number): Promise<readonly EventView[]>;
  /** A switchover; not repeated elsewhere when its outcome is unknown. */
  failover(request: FailoverRequest, timeoutMs: number): Promise<FailoverOutcome>;
  /** Not repeated elsewhere either. */
  steer(request: SteerRequest, timeoutMs: number): Promise<SteerOutcome>;
  /** From now on these peers are asked. */
  setAddresses(addresses: readonly string[]): void;
  /** Calls `listener` after every change that some peer sees, until the signal aborts. */
  watch(listener: (status: StatusView) => void, signal: AbortSignal): Promise<void>;
  close(): void;
}

const CALL_TIMEOUT_MS = 1000;
const CONNECT_TIMEOUT_MS = 1000;
const RETRY_MS = 50;

export function clusterAdmin(addresses: readonly string[]): ClusterAdmin {
  const closing = new AbortController();
  let order = [...addresses];
  let current: Promise<AdminClient> | undefined;

  const connected = (): Promise<AdminClient> => {
    current ??= connectAdmin({ addresses: order, timeoutMs: CONNECT_TIMEOUT_MS });
    return current;
  };
  /** The next call begins with another peer. */
  const drop = (): void => {
    const old = current;
    current = undefined;
    order = [...order.slice(1), ...order.slice(0, 1)];
    old?.then(
      (client) => client.close(),
      () => undefined,
    );
  };
  const ask = async <T>(what: string, call: (client: AdminClient) => Promise<T>): Promise<T> => {
    for (let tries = 1; ; tries++) {
      closing.signal.throwIfAborted();
      try {
        return await withDeadline(what, CALL_TIMEOUT_MS + CONNECT_TIMEOUT_MS, connected().then(call));
      } catch (error) {
        drop();
        if (tries >= order.length) throw error;
      }
    }
  };
  return {
    status: () => ask('the status', (client) => client.status()),
    events: (limit) => ask('the events', (client) => client.events({ group: undefined, limit })),
    setAddresses(next) {
      drop();
      order = [...next];
    },
    async failover(request, timeoutMs) {
      const client = await connected();
      return client.failover(request, { timeoutMs, signal: closing.signal });
    },
    async steer(request, timeoutMs) {
      const client = await connected();
      return client.steer(request, { timeoutMs, signal: closing.signal });
    },
    async watch(listener, signal) {
      const ending = AbortSignal.any([signal, closing.signal]);
      while (!ending.aborted) {
        let client: AdminClient | undefined;
        try {
          client = await connectAdmin({ addresses: order, timeoutMs: CONNECT_TIMEOUT_MS });
          await client.watch(listener, ending);
        } catch {
          order = [...order.slice(1), ...order.slice(0, 1)];
        }
        client?.close();
        if (!ending.aborted) await delay(RETRY_MS, ending);
      }
    },
    close() {
      closing.abort(new Error('the admin client is closed'));
      drop();
    },
  };
}
