// The ways in which a store refuses to open or to go on. Each message says what was tried, what was found and what to do.
// Must never be caught and passed over: a peer without a sound store may neither vote nor acknowledge.
import type { PeerId } from '../base/ids.ts';

/** Which store an error is about: where it is, and the peer that was to use it. */
export interface StorePlace {
  readonly directory: string;
  readonly self: PeerId;
}

/** The store holds less than this peer has answered for, or something else than was written. */
export class StoreDamagedError extends Error {
  override readonly name = 'StoreDamagedError';

  constructor(place: StorePlace, found: string, options?: ErrorOptions) {
    super(
      `cannot use the Raft log in ${place.directory}: ${found}. This peer must neither vote nor acknowledge with it. ${howToRejoin(place)}`,
      options,
    );
  }
}

/** The store was written by a version whose format this one does not read. */
export class StoreFormatError extends Error {
  override readonly name = 'StoreFormatError';

  constructor(place: StorePlace, found: string, expected: string) {
    super(
      `cannot use the Raft log in ${place.directory}: it has the format ${found}, and this version reads ${expected} only. ` +
        `Start the version that wrote it, or begin anew. ${howToRejoin(place)}`,
    );
  }
}

/** The store belongs to another cluster or to another peer. */
export class StoreIdentityError extends Error {
  override readonly name = 'StoreIdentityError';

  constructor(directory: string, what: 'cluster' | 'peer', stored: string, configured: string) {
    super(
      `cannot use the Raft log in ${directory}: it belongs to ${what} "${stored}", but this is ${what} "${configured}". ` +
        'Correct the configuration, or point it to a directory of its own',
    );
  }
}

/** Another process, or this one, has the store open. */
export class StoreLockedError extends Error {
  override readonly name = 'StoreLockedError';

  constructor(directory: string, options?: ErrorOptions) {
    super(
      `cannot open the Raft log in ${directory}: it is already open. Two sentineld must not share a state directory: ` +
        'stop the other one, or give this one a directory of its own',
      options,
    );
  }
}

/** An earlier write failed, so what is durable is unknown: nothing may be written or answered any more. */
export class StoreFailedError extends Error {
  override readonly name = 'StoreFailedError';
}

function howToRejoin({ directory, self }: StorePlace): string {
  return (
    'The data of PostgreSQL is not touched by what follows. Stop this sentineld and keep a copy of the directory for analysis; run ' +
    `"sentinelctl peer remove ${self}" on another peer; delete ${directory}; set "join: true" in this host's configuration and ` +
    `start sentineld; then run "sentinelctl peer add ${self} HOST:PORT" on another peer, with the address of this one: it ` +
    'rejoins as a new learner'
  );
}
