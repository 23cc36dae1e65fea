// How often what happened: a life in which nothing happens proves nothing. Sums of whole runs are made of these.

export interface Tally {
  events: number;
  /** Of those, the ones after trouble had ended. */
  eventsInPeace: number;
  virtualMs: number;
  faults: number;
  readonly faultKinds: Record<string, number>;
  /** What people asked for and the log took, by the kind of the command. */
  readonly requestKinds: Record<string, number>;
  /** Acknowledged writes that a failover on a person's word has given up. */
  writesGivenUp: number;
  elections: number;
  crashes: number;
  messages: number;
  messagesLost: number;
  messagesRepeated: number;
  messagesLate: number;
  messagesOfAnEarlierIncarnation: number;
  messagesRefused: number;
  writes: number;
  tornWrites: number;
  committedEntries: number;
  membershipChanges: number;
  snapshotsTaken: number;
  snapshotsInstalled: number;
  recoveries: number;
  quarantines: number;
  transfers: number;
  featureRaises: number;
  logReads: number;
  logWrites: number;
  unknownOutcomes: number;
  postgresWrites: number;
  acknowledgedWrites: number;
  failovers: number;
  promotions: number;
  promotionsFailed: number;
  resumed: number;
  switchovers: number;
  ruleChanges: number;
  clones: number;
  rewinds: number;
}

export function createTally(): Tally {
  return {
    events: 0,
    eventsInPeace: 0,
    virtualMs: 0,
    faults: 0,
    faultKinds: {},
    requestKinds: {},
    writesGivenUp: 0,
    elections: 0,
    crashes: 0,
    messages: 0,
    messagesLost: 0,
    messagesRepeated: 0,
    messagesLate: 0,
    messagesOfAnEarlierIncarnation: 0,
    messagesRefused: 0,
    writes: 0,
    tornWrites: 0,
    committedEntries: 0,
    membershipChanges: 0,
    snapshotsTaken: 0,
    snapshotsInstalled: 0,
    recoveries: 0,
    quarantines: 0,
    transfers: 0,
    featureRaises: 0,
    logReads: 0,
    logWrites: 0,
    unknownOutcomes: 0,
    postgresWrites: 0,
    acknowledgedWrites: 0,
    failovers: 0,
    promotions: 0,
    promotionsFailed: 0,
    resumed: 0,
    switchovers: 0,
    ruleChanges: 0,
    clones: 0,
    rewinds: 0,
  };
}

export function noteFault(tally: Tally, kind: string): void {
  tally.faults += 1;
  tally.faultKinds[kind] = (tally.faultKinds[kind] ?? 0) + 1;
}

export function noteRequest(tally: Tally, kind: string): void {
  tally.requestKinds[kind] = (tally.requestKinds[kind] ?? 0) + 1;
}

export function addTally(sum: Tally, one: Tally): void {
  for (const key of Object.keys(one) as (keyof Tally)[]) {
    if (key === 'faultKinds' || key === 'requestKinds') {
      for (const [kind, count] of Object.entries(one[key])) sum[key][kind] = (sum[key][kind] ?? 0) + count;
    } else {
      sum[key] += one[key];
    }
  }
}

/** What a client asked for: reads and writes of the log, and writes to PostgreSQL. */
export function clientOperations(tally: Tally): number {
  return tally.logReads + tally.logWrites + tally.postgresWrites;
}
