// The admin service as sentinelctl sees it: finds a peer that answers, asks it, and says in plain words why not.
// Must never ask twice for a failover: a call that may have begun is not repeated with another peer.
import { create, type DescMessage, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import {
  type Client,
  logVerbosity,
  Metadata,
  type ServiceError,
  setLogVerbosity,
  status,
} from '@grpc/grpc-js';
import type { NodeId } from '../base/ids.ts';
import { AdminService, type StatusView as WireStatus } from '../gen/pg_sentinel/v1/admin_pb.ts';
import { decodeEvent, decodeOutcome, decodeStatus } from './admin-codec.ts';
import { openChannel } from './channel.ts';
import { BASE_CHANNEL_OPTIONS, methodDefinition, type TypedMethod } from './grpc-adapter.ts';
import type { EventView, FailoverOutcome, StatusView } from './types.ts';

export type AdminErrorKind =
  /** No peer could be reached, or the connection was lost. */
  | 'unreachable'
  /** The peer answered that it will not. */
  | 'refused'
  /** No answer in time. */
  | 'deadline'
  /** The caller's signal aborted. */
  | 'cancelled'
  /** The peer failed, or answered something that is not understood here. */
  | 'failed';

/** Its message is meant for a person and names the addresses tried. */
export class AdminError extends Error {
  override readonly name = 'AdminError';
  readonly kind: AdminErrorKind;

  constructor(kind: AdminErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** One peer's admin service. Every method rejects with {@link AdminError}. */
export interface AdminClient {
  /** The peer that answered: `host:port`. */
  readonly address: string;
  status(): Promise<StatusView>;
  /** Resolves when the signal aborts; rejects when the peer is lost. */
  watch(onStatus: (status: StatusView) => void, signal: AbortSignal): Promise<void>;
  /** Waits for the outcome, by default for {@link FAILOVER_TIMEOUT_MS}; the signal gives up waiting. */
  failover(
    request: { readonly group: string | undefined; readonly to: NodeId | undefined },
    options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<FailoverOutcome>;
  events(request: {
    readonly group: string | undefined;
    readonly limit: number;
  }): Promise<readonly EventView[]>;
  close(): void;
}

const FAILOVER_TIMEOUT_MS = 60_000;

/** An address that does not answer within this is passed over, so that a dead host costs little. */
const ATTEMPT_MS_MAX = 1000;
const ATTEMPT_MS_MIN = 200;

/**
 * Connects to the first of `addresses` (`host:port`) that answers; rejects with {@link AdminError} when none does.
 * `timeoutMs` bounds the search as a whole and each later call but `failover` and `watch`.
 */
export async function connectAdmin(options: {
  readonly addresses: readonly string[];
  readonly timeoutMs: number;
}): Promise<AdminClient> {
  const { addresses, timeoutMs } = options;
  if (process.env['GRPC_VERBOSITY'] === undefined) setLogVerbosity(logVerbosity.NONE);
  const share = timeoutMs / Math.max(1, addresses.length);
  const attemptMs = Math.min(timeoutMs, Math.max(ATTEMPT_MS_MIN, Math.min(ATTEMPT_MS_MAX, share)));
  const deadlineMs = performance.now() + timeoutMs;
  const failures: string[] = [];
  let kind: AdminErrorKind = 'unreachable';
  for (const address of addresses) {
    const leftMs = Math.min(attemptMs, deadlineMs - performance.now());
    if (leftMs <= 0) {
      failures.push(`${address}: not tried any more`);
      continue;
    }
    const client = openClient(address, timeoutMs);
    try {
      await client.ask(AdminService.method.status, {}, { timeoutMs: leftMs });
      return client.admin;
    } catch (error) {
      client.admin.close();
      const failure = error instanceof AdminError ? error : new AdminError('failed', String(error));
      if (failure.kind !== 'unreachable' && failure.kind !== 'deadline') kind = failure.kind;
      failures.push(failure.message);
    }
  }
  const detail = failures.length === 0 ? 'no address was given' : failures.join('; ');
  throw new AdminError(kind, `no peer answered within ${Math.round(timeoutMs)} ms: ${detail}`);
}

interface CallOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

function openClient(address: string, timeoutMs: number) {
  const { client, destroy } = openChannel(address, {
    ...BASE_CHANNEL_OPTIONS,
    // A watch notices a peer that vanished.
    'grpc.keepalive_time_ms': 2000,
    'grpc.keepalive_timeout_ms': 1500,
  });

  function ask<I extends DescMessage, O extends DescMessage>(
    method: TypedMethod<I, O>,
    request: MessageInitShape<I>,
    { timeoutMs: callMs, signal }: CallOptions,
  ): Promise<MessageShape<O>> {
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    return new Promise((resolve, reject) => {
      const message = create(method.input, request);
      const deadline = Date.now() + callMs;
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
          if (error !== null) reject(adminError(address, error, callMs));
          else if (value === undefined) reject(new AdminError('failed', `${address}: empty answer`));
          else resolve(value);
        },
      );
      if (signal?.aborted) cancel();
      else signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  const admin: AdminClient = {
    address,
    async status() {
      const answer = await ask(AdminService.method.status, {}, { timeoutMs });
      return readStatus(address, answer.status);
    },
    watch: (onStatus, signal) => watch(client, address, onStatus, signal),
    async failover(request, { timeoutMs: callMs = FAILOVER_TIMEOUT_MS, signal } = {}) {
      const wire = { group: request.group, to: request.to };
      const answer = await ask(AdminService.method.failover, wire, { timeoutMs: callMs, signal }).catch(
        (error: unknown) => {
          throw withUnknownOutcome(error);
        },
      );
      const outcome = decodeOutcome(answer);
      if (outcome === undefined)
        throw new AdminError('failed', `${address}: outcome unknown to this version`);
      return outcome;
    },
    async events(request) {
      const answer = await ask(AdminService.method.events, { ...request }, { timeoutMs });
      return answer.events.map(decodeEvent);
    },
    close: destroy,
  };
  return { admin, ask };
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

/** What went wrong, in words; `address` comes first. */
function adminError(address: string, error: ServiceError, timeoutMs: number): AdminError {
  const options = { cause: error };
  switch (error.code) {
    case status.UNAVAILABLE:
      return new AdminError('unreachable', `${address}: ${connectionProblem(error.details)}`, options);
    case status.DEADLINE_EXCEEDED:
      return new AdminError('deadline', `${address}: no answer within ${Math.round(timeoutMs)} ms`, options);
    case status.CANCELLED:
      return new AdminError('cancelled', `${address}: cancelled`, options);
    case status.UNIMPLEMENTED:
      return new AdminError(
        'refused',
        `${address}: it does not know this request; is it a sentineld of this version?`,
        options,
      );
    case status.INVALID_ARGUMENT:
    case status.FAILED_PRECONDITION:
    case status.RESOURCE_EXHAUSTED:
    case status.PERMISSION_DENIED:
    case status.UNAUTHENTICATED:
      return new AdminError('refused', `${address}: ${error.details}`, options);
    default:
      return new AdminError('failed', `${address}: ${error.details}`, options);
  }
}

/** The cause within grpc-js's wording. */
function connectionProblem(details: string): string {
  if (/ECONNREFUSED/.test(details)) return 'connection refused (no sentineld listens there)';
  if (/ENOTFOUND|EAI_AGAIN|Name resolution failed/.test(details)) return 'the host name cannot be resolved';
  if (/EHOSTUNREACH|ENETUNREACH/.test(details)) return 'no route to that host';
  return details.replace(/^No connection established\. Last error: /, '');
}

/** After these, the failover may or may not have begun. */
function withUnknownOutcome(error: unknown): unknown {
  if (!(error instanceof AdminError) || (error.kind !== 'unreachable' && error.kind !== 'deadline'))
    return error;
  const message = `${error.message}; whether the failover took place is not known: see the status before trying again`;
  return new AdminError(error.kind, message, { cause: error });
}
