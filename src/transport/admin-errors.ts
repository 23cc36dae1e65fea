// What can go wrong between sentinelctl and a peer, in words for a person. Must always name the address.
import { type ServiceError, status } from '@grpc/grpc-js';

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

/** What went wrong, in words; `address` comes first. `waitedMs` is how long the call was waited for. */
export function adminError(address: string, error: ServiceError, waitedMs: number): AdminError {
  const options = { cause: error };
  switch (error.code) {
    case status.UNAVAILABLE:
      return new AdminError('unreachable', `${address}: ${connectionProblem(error.details)}`, options);
    case status.DEADLINE_EXCEEDED:
      return new AdminError('deadline', `${address}: ${silence(error.details, waitedMs)}`, options);
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

/** After these, what was asked for may or may not have been done. `what`: `the failover took place`; `see`: where it shows. */
export function withUnknownOutcome(error: unknown, what: string, see: string): unknown {
  if (!(error instanceof AdminError) || (error.kind !== 'unreachable' && error.kind !== 'deadline'))
    return error;
  const message = `${error.message}; whether ${what} is not known: see ${see} before trying again`;
  return new AdminError(error.kind, message, { cause: error });
}

/** The cause within grpc-js's wording. */
function connectionProblem(details: string): string {
  if (/ECONNREFUSED/.test(details)) return 'connection refused (no sentineld listens there)';
  if (/ENOTFOUND|EAI_AGAIN|Name resolution failed/.test(details)) return 'the host name cannot be resolved';
  if (/EHOSTUNREACH|ENETUNREACH/.test(details)) return 'no route to that host';
  if (/Protocol error|NGHTTP2|http2/i.test(details)) return `what listens there is no sentineld (${details})`;
  const lost = /^No connection established\. Last error: (.*)$/s.exec(details)?.[1];
  // The connection was made, and closed without an answer, as by PostgreSQL.
  if (lost !== undefined && /Failed to connect|ECONNRESET|EPIPE/.test(lost))
    return 'something listens there that does not answer as a sentineld (whose port is 7432 by default)';
  // Behind its cause grpc-js has a time, and a note that is most often empty.
  return (lost ?? details).replace(/(?: \([-\dT:.]+Z\))?\. Resolution note: *$/, '');
}

/** grpc-js names the remote address once it has a connection. */
function silence(details: string, waitedMs: number): string {
  const ms = Math.round(waitedMs);
  return /remote_addr/.test(details)
    ? `connected, but no answer within ${ms} ms`
    : `no connection within ${ms} ms (is the host up, and is there a way to it?)`;
}
