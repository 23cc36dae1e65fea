// The admin service as sentinelctl sees it: finds a peer that answers, asks it, and says in plain words why not.
// Must never ask twice for a failover: a call that may have begun is not repeated with another peer.
import { create, type MessageShape } from '@bufbuild/protobuf';
import { type Client, logVerbosity, Metadata, type ServiceError, setLogVerbosity } from '@grpc/grpc-js';
import { settledWithin } from '../base/clock.ts';
import { AdminService, type StatusView as WireStatus } from '../gen/pg_sentinel/v1/admin_pb.ts';
import { decodeEvent, decodeOutcome, decodeStatus } from './admin-codec.ts';
import { AdminError, adminError, type AdminErrorKind, withUnknownOutcome } from './admin-errors.ts';
import { type Ask, type AskedPeer, createPeerClient, type PeerClient } from './admin-peer-client.ts';
import { openChannel } from './channel.ts';
import { BASE_CHANNEL_OPTIONS, methodDefinition } from './grpc-adapter.ts';
import { decodeSettingsOutcome } from './settings-view-codec.ts';
import { decodeSteerOutcome, encodeSteerRequest } from './steer-codec.ts';
import type {
  EventView,
  FailoverOutcome,
  FailoverRequest,
  SettingsOutcome,
  StatusView,
  SteerOutcome,
  SteerRequest,
} from './types.ts';

export { AdminError };

/** One peer's admin service. Every method rejects with {@link AdminError}. */
export interface AdminClient {
  /** The peer that answered: `host:port`. */
  readonly address: string;
  status(): Promise<StatusView>;
  /** Resolves when the signal aborts; rejects when the peer is lost. */
  watch(onStatus: (status: StatusView) => void, signal: AbortSignal): Promise<void>;
  /** Waits for the outcome, by default for {@link FAILOVER_TIMEOUT_MS}; the signal gives up waiting. */
  failover(
    request: FailoverRequest,
    options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<FailoverOutcome>;
  /** As long to wait as `failover`: fencing a primary begins with one. */
  steer(
    request: SteerRequest,
    options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<SteerOutcome>;
  /** Another kind of error than `unreachable` or `deadline` from a peer of an older version. */
  settings(request: { readonly group: string | undefined }): Promise<SettingsOutcome>;
  events(request: {
    readonly group: string | undefined;
    readonly limit: number;
  }): Promise<readonly EventView[]>;
  /** Who takes part; changes go to the leader, wherever it is. */
  readonly peers: PeerClient;
  close(): void;
}

const FAILOVER_TIMEOUT_MS = 60_000;

/** The next address is tried beside one that has not answered within this, so that a dead host costs little. */
const PATIENCE_MS = 300;

/**
 * Connects to the first of `addresses` (`host:port`) that answers, those before it preferred; rejects with {@link AdminError},
 * which says of each address what became of it, when none does. `timeoutMs` bounds the search as a whole and each later call
 * but `failover`, `watch` and the changes of `peers`.
 */
export async function connectAdmin(options: {
  readonly addresses: readonly string[];
  readonly timeoutMs: number;
}): Promise<AdminClient> {
  const { addresses, timeoutMs } = options;
  if (process.env['GRPC_VERBOSITY'] === undefined) setLogVerbosity(logVerbosity.NONE);
  const startedAtMs = performance.now();
  const opened: OpenPeer[] = [];
  const failures = new Map<string, AdminError>();
  const found = new AbortController();
  let answered: OpenPeer | undefined;

  const tryOne = async (address: string): Promise<void> => {
    const leftMs = timeoutMs - (performance.now() - startedAtMs);
    const peer = openPeer(address);
    opened.push(peer);
    try {
      await peer.ask(AdminService.method.status, {}, { timeoutMs: Math.max(1, leftMs) });
      answered ??= peer;
      found.abort();
    } catch (error) {
      failures.set(address, error instanceof AdminError ? error : new AdminError('failed', String(error)));
    }
  };
  const tries: Promise<void>[] = [];
  for (const address of addresses) {
    const attempt = tryOne(address);
    tries.push(attempt);
    await settledWithin(attempt, PATIENCE_MS, found.signal);
    if (answered !== undefined) break;
  }
  await settledWithin(Promise.all(tries), timeoutMs + CLOSE_MS, found.signal);
  for (const peer of opened) if (peer !== answered) peer.close();
  if (answered !== undefined) return createClient(answered, addresses, timeoutMs);

  const details = addresses.map(
    (address) => failures.get(address)?.message ?? `${address}: not tried any more`,
  );
  const kinds = [...failures.values()].map((failure) => failure.kind);
  const kind: AdminErrorKind =
    kinds.find((each) => each !== 'unreachable' && each !== 'deadline') ?? 'unreachable';
  const tookMs = Math.round(performance.now() - startedAtMs);
  const detail = details.length === 0 ? 'no address was given' : `after ${tookMs} ms: ${details.join('; ')}`;
  throw new AdminError(kind, `no peer answered, ${detail}`);
}

/** A deadline of gRPC's is waited for a little longer than it lasts. */
const CLOSE_MS = 100;

type OpenPeer = AskedPeer & { readonly client: Client };

function openPeer(address: string): OpenPeer {
  const { client, destroy } = openChannel(address, {
    ...BASE_CHANNEL_OPTIONS,
    // A watch notices a peer that vanished.
    'grpc.keepalive_time_ms': 2000,
    'grpc.keepalive_timeout_ms': 1500,
  });
  const ask: Ask = (method, request, { timeoutMs, signal }) => {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    return new Promise((resolve, reject) => {
      const message = create(method.input, request);
      const deadline = Date.now() + timeoutMs;
      const cancel = (): void => call.cancel();
      const call = client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        message,
        new Metadata(),
        { deadline },
        (error, value) => {
          signal?.removeEventListener('abort', cancel);
          if (error !== null) reject(adminError(address, error, timeoutMs));
          else if (value === undefined) reject(new AdminError('failed', `${address}: empty answer`));
          else resolve(value);
        },
      );
      if (signal?.aborted) cancel();
      else signal?.addEventListener('abort', cancel, { once: true });
    });
  };
  return { address, client, ask, close: destroy };
}

function createClient(peer: OpenPeer, addresses: readonly string[], timeoutMs: number): AdminClient {
  const { address, ask } = peer;
  return {
    address,
    async status() {
      const answer = await ask(AdminService.method.status, {}, { timeoutMs });
      return readStatus(address, answer.status);
    },
    watch: (onStatus, signal) => watch(peer.client, address, onStatus, signal),
    async failover(request, { timeoutMs: callMs = FAILOVER_TIMEOUT_MS, signal } = {}) {
      const wire = { ...request };
      const answer = await ask(AdminService.method.failover, wire, { timeoutMs: callMs, signal }).catch(
        (error: unknown) => {
          throw withUnknownOutcome(error, 'the failover took place', 'the status');
        },
      );
      const outcome = decodeOutcome(answer);
      if (outcome === undefined)
        throw new AdminError('failed', `${address}: outcome unknown to this version`);
      return outcome;
    },
    async steer(request, { timeoutMs: callMs = FAILOVER_TIMEOUT_MS, signal } = {}) {
      const wire = encodeSteerRequest(request);
      const answer = await ask(AdminService.method.steer, wire, { timeoutMs: callMs, signal }).catch(
        (error: unknown) => {
          throw withUnknownOutcome(error, 'it was done', 'the status and the events');
        },
      );
      const outcome = decodeSteerOutcome(answer);
      if (outcome === undefined)
        throw new AdminError('failed', `${address}: outcome unknown to this version`);
      return outcome;
    },
    async settings(request) {
      const outcome = decodeSettingsOutcome(
        await ask(AdminService.method.settings, { ...request }, { timeoutMs }),
      );
      if (outcome === undefined)
        throw new AdminError('failed', `${address}: outcome unknown to this version`);
      return outcome;
    },
    async events(request) {
      const answer = await ask(AdminService.method.events, { ...request }, { timeoutMs });
      return answer.events.map(decodeEvent);
    },
    peers: createPeerClient({ here: peer, addresses, open: openPeer, timeoutMs }),
    close: () => peer.close(),
  };
}

function watch(
  client: Client,
  address: string,
  onStatus: (status: StatusView) => void,
  signal: AbortSignal,
): Promise<void> {
  const { method } = AdminService;
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method.watch);
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const request = create(method.watch.input);
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    const cancel = (): void => call.cancel();
    const settle = (error: AdminError | undefined): void => {
      signal.removeEventListener('abort', cancel);
      if (signal.aborted || error === undefined) resolve();
      else reject(error);
    };
    signal.addEventListener('abort', cancel, { once: true });
    call.on('data', (response: MessageShape<typeof method.watch.output>) => {
      if (signal.aborted) return;
      try {
        onStatus(readStatus(address, response.status));
      } catch (error) {
        reject(error as Error);
        call.cancel();
      }
    });
    call.on('error', (error: ServiceError) => settle(adminError(address, error, 0)));
    call.on('end', () =>
      settle(new AdminError('unreachable', `${address}: the peer ended the watch (it is stopping)`)),
    );
  });
}

function readStatus(address: string, view: WireStatus | undefined): StatusView {
  if (view === undefined) throw new AdminError('failed', `${address}: the answer holds no status`);
  return decodeStatus(view);
}
