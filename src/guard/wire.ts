// What sentineld and a guard say to each other over the guard's socket: one JSON object a line. Every request is answered, in
// order, by the guard's state; a state also comes unasked when PostgreSQL was stopped.
import type { Socket } from 'node:net';
import type { Lease } from './authority.ts';
import type { Terms } from './terms.ts';

/**
 * Belongs to the version that a guard says it has: raised with each change of what it is told or says, so that one of an earlier build is replaced though
 * its package has the same version. 2: it says which data directory it watches, and goes along to another one.
 */
export const GUARD_PROTOCOL = 2;

export type GuardRequest =
  | { readonly kind: 'ask' }
  | { readonly kind: 'terms'; readonly terms: Terms }
  | { readonly kind: 'lease'; readonly lease: Lease }
  /** PostgreSQL is not to be guarded any more: close the watchdog in order and end. */
  | { readonly kind: 'end' }
  /** From the guard that is to replace this one: let it take the seat, and go on until it has. */
  | { readonly kind: 'yield' }
  /** From that guard: it has the seat and watches. */
  | { readonly kind: 'held' };

/** How the guard stopped PostgreSQL. */
export interface GuardStop {
  readonly reason: string;
  readonly how: string;
  readonly tookMs: number;
  /** Of the lease, when everything was gone; undefined without one. */
  readonly leaseLeftMs: number | undefined;
  readonly atWallMs: number;
}

export interface GuardState {
  readonly version: string;
  readonly pid: number;
  readonly node: string;
  /** The one that is watched; a guard of protocol 1 does not say it. */
  readonly dataDirectory?: string;
  readonly role: 'primary' | 'standby' | 'stopped' | 'unknown';
  /** `synchronous_standby_names` at the last measurement. */
  readonly enforced: string | undefined;
  /** Boot time at which the last marker was written that enough members have flushed. */
  readonly provenBootMs: number | undefined;
  /** The postmaster that gave that proof. */
  readonly provenPostmaster: number | undefined;
  /** See {@link Proving}. */
  readonly unprovenMs: number;
  readonly isLeased: boolean;
  readonly leaseUntilBootMs: number | undefined;
  /** The last stop, until another PostgreSQL was seen. */
  readonly stopped: GuardStop | undefined;
  /** `off`, `open`, or what is wrong with it. */
  readonly watchdog: string;
  /** Why the last measurement came to no result. */
  readonly trouble: string | undefined;
}

export interface GuardAnswer {
  /** Of the request; absent in what comes unasked. */
  readonly id?: number;
  readonly state: GuardState;
}

const LINE_BYTES_MAX = 1 << 16;

/** Calls `onLine` for each JSON line; destroys the socket when one is too long or is no JSON. */
export function readLines<T>(socket: Socket, onLine: (line: T) => void): void {
  let text = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    text += chunk;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      let value: T;
      try {
        value = JSON.parse(line) as T;
      } catch (error) {
        socket.destroy(error as Error);
        return;
      }
      onLine(value);
    }
    if (text.length > LINE_BYTES_MAX) socket.destroy(new Error('a line is too long'));
  });
}

export const writeLine = (socket: Socket, value: unknown): boolean =>
  socket.writable && socket.write(`${JSON.stringify(value)}\n`);
