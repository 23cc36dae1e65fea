// The ways in which a store refuses to open or to go on. Each message says what was tried, what was found and what to do.
// Must never be caught and passed over: a peer without a sound store may neither vote nor acknowledge.

/** The store holds less than this peer has answered for, or something else than was written. */
export class StoreDamagedError extends Error {
  override readonly name = 'StoreDamagedError';

  constructor(directory: string, found: string, options?: ErrorOptions) {
    super(
      `cannot use the Raft log in ${directory}: ${found}. This peer must not vote or acknowledge with it. Keep a copy of the ` +
        'directory for analysis, remove the peer from the cluster, empty the directory, and let the peer rejoin as a new learner',
      options,
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
