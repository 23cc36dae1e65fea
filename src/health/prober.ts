// Asks one node, over the network, whether it lives: a probe on an open session every `probeIntervalMs`, a new connection once a second
// (a frozen postmaster serves the open session still), and quick tries to connect when the session is lost. It reports what it sees and
// judges nothing. Must never wait for standbys, hold more than one session, or leave anything behind after close().
import type { Socket } from 'node:net';
import { type Clock, settledWithin } from '../base/clock.ts';
import { type PeerId, timeline } from '../base/ids.ts';
import { parseLsn } from '../base/lsn.ts';
import { checkConnection, type CheckOutcome } from './connection-check.ts';
import { classifyLoginError, classifyReadError, classifyWriteError, type LoginFailure } from './errors.ts';
import type { ProbeEvent, ServerFacts, ServerWord, SessionEnd, Target, WriteOutcome } from './events.ts';
import { applicationName, END_GIVEN_UP, INSERT, READ, READ_SERVER, WRITE } from './heartbeat.ts';
import { Resolver, ResolvingSocket } from './resolve.ts';
import { Session, type Credentials } from './session.ts';
import { CONNECTION_CHECK_INTERVAL_MS, FAST_RETRY_DELAYS_MS, type HealthSettings } from './settings.ts';

/** Each refused login and each refused write leaves a line in the server's log: not more often than this, where only a person can help. */
const LOGIN_REFUSED_RETRY_MS = 5000;
const NO_ROOM_RETRY_MS = 1000;
const NO_ROOM: ReadonlySet<ServerWord['kind']> = new Set(['too-many-connections', 'login-failing']);
const EXCUSED_RETRY_MS = 5000;

/** What a check under way gets for its answer when the prober closes. */
const CHECK_END_MS = 1000;

const READ_ONLY_TRANSACTION = '25006';

export interface ProberOptions {
  readonly self: PeerId;
  readonly host: string;
  readonly port: number;
  readonly expect: Target['expect'];
  readonly settings: HealthSettings;
  readonly credentials: Credentials;
  readonly clock: Clock;
  /** It begins so much later: whoever watches many nodes does not ask all of them in the same moment. */
  readonly startAfterMs: number;
  /** Called at once, never after close(). */
  readonly onEvent: (event: ProbeEvent) => void;
}

type Unstamped<T> = T extends unknown ? Omit<T, 'nowMs'> : never;

export class Prober {
  readonly #options: ProberOptions;
  readonly #resolver: Resolver;
  readonly #name: string;
  readonly #startTimer: NodeJS.Timeout;
  #probeTimer: NodeJS.Timeout | undefined;
  #checkTimer: NodeJS.Timeout | undefined;
  readonly #checks = new Set<Socket>();
  #expect: Target['expect'];
  #retryTimer: NodeJS.Timeout | undefined;
  #link: 'login' | 'open' | 'waiting' = 'waiting';
  #session: Session | undefined;
  #closed = false;
  /** Refusals in a row, for the pace of the next tries. */
  #refusedCount = 0;
  #retryAtMs = 0;
  #loginStartedMs = -Infinity;
  #connectionAnsweredMs = -Infinity;
  /** The probe under way, if any. */
  #askedMs: number | undefined;
  /** Known on this session: not in recovery and not read-only on purpose, so that the next probe may begin with the write. */
  #writable = false;
  /** Why writes are not tried before `atMs`. */
  #excused: { readonly why: string; readonly untilMs: number } | undefined;
  #givenUpPid: number | undefined;

  constructor(options: ProberOptions) {
    this.#options = options;
    this.#expect = options.expect;
    this.#resolver = new Resolver(() => options.clock.monotonicMs());
    this.#name = applicationName(options.self);
    this.#startTimer = setTimeout(() => this.#start(), options.startAfterMs);
  }

  #start(): void {
    const { settings } = this.#options;
    this.#probeTimer = setInterval(() => this.#probeOrGiveUp(), settings.probeIntervalMs);
    this.#checkTimer = setInterval(() => this.#check(), CONNECTION_CHECK_INTERVAL_MS);
    this.#logInAfter(0);
  }

  /** A change keeps the session. */
  expect(expect: Target['expect']): void {
    if (expect === this.#expect) return;
    this.#expect = expect;
    this.#writable = false;
    this.#excused = undefined;
    this.#probeOrGiveUp();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#startTimer);
    clearInterval(this.#probeTimer);
    clearInterval(this.#checkTimer);
    clearTimeout(this.#retryTimer);
    await Promise.all([this.#session?.close(), this.#endChecks()]);
  }

  /** Each check under way may get its answer first: a reset leaves a line in the server's log. */
  async #endChecks(): Promise<void> {
    const sockets = [...this.#checks];
    const closed = sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    for (const socket of sockets) socket.end();
    await settledWithin(Promise.all(closed), CHECK_END_MS);
    for (const socket of sockets) socket.destroy();
  }

  // The session

  #logIn(): void {
    const { host, port, credentials, settings } = this.#options;
    if (this.#closed) return;
    this.#link = 'login';
    this.#loginStartedMs = this.#now();
    this.#emit({ kind: 'asked', what: 'connection' });
    this.#session = new Session({
      host,
      port,
      credentials,
      applicationName: this.#name,
      resolver: this.#resolver,
      loginTimeoutMs: settings.downAfterMs,
      onOpen: () => this.#opened(),
      onLoginFailed: (failure) => this.#loginFailed(failure),
      onEnd: (how) => this.#ended(how),
    });
  }

  #opened(): void {
    this.#link = 'open';
    this.#refusedCount = 0;
    this.#writable = false;
    this.#connectionAnsweredMs = this.#now();
    this.#emit({ kind: 'connected' });
    this.#probeOrGiveUp();
  }

  #loginFailed(failure: LoginFailure): void {
    this.#session = undefined;
    this.#link = 'waiting';
    this.#refusedCount = failure.kind === 'refused' ? this.#refusedCount + 1 : 0;
    this.#report(failure);
    this.#logInAfter(this.#retryDelayMs(failure));
  }

  #logInAfter(delayMs: number): void {
    clearTimeout(this.#retryTimer);
    this.#retryAtMs = this.#now() + delayMs;
    this.#retryTimer = setTimeout(() => this.#logIn(), delayMs);
  }

  #retryDelayMs(failure: LoginFailure): number {
    const { probeIntervalMs } = this.#options.settings;
    switch (failure.kind) {
      case 'refused':
        return FAST_RETRY_DELAYS_MS[this.#refusedCount] ?? probeIntervalMs;
      case 'said':
        if (failure.word.kind === 'login-refused') return LOGIN_REFUSED_RETRY_MS;
        return NO_ROOM.has(failure.word.kind) ? NO_ROOM_RETRY_MS : probeIntervalMs / 2;
      case 'own-trouble':
      case 'silent':
        return probeIntervalMs;
    }
  }

  #ended(how: SessionEnd): void {
    if (this.#closed) return;
    this.#session = undefined;
    this.#askedMs = undefined;
    this.#refusedCount = 0;
    this.#emit({ kind: 'session-ended', how });
    this.#logIn();
  }

  #report(failure: LoginFailure): void {
    switch (failure.kind) {
      case 'refused':
        return this.#emit({ kind: 'connection-refused' });
      case 'said':
        this.#connectionAnsweredMs = this.#now();
        return this.#emit({ kind: 'server-said', word: failure.word });
      case 'own-trouble':
        return this.#emit({ kind: 'own-trouble', why: failure.why });
      case 'silent':
        return; // the question stands
    }
  }

  // A new connection, once a second

  #check(): void {
    if (
      this.#closed ||
      (this.#link === 'login' && this.#now() - this.#loginStartedMs < CONNECTION_CHECK_INTERVAL_MS)
    )
      return;
    const { host, port, settings } = this.#options;
    const socket = new ResolvingSocket(this.#resolver);
    this.#checks.add(socket);
    this.#emit({ kind: 'asked', what: 'connection' });
    checkConnection(
      { socket, connect: () => socket.connect(port, host), timeoutMs: settings.downAfterMs },
      (outcome) => {
        this.#checks.delete(socket);
        if (!this.#closed) this.#checked(outcome);
      },
    );
  }

  #checked(outcome: CheckOutcome): void {
    if (outcome.kind === 'silent') return;
    if (outcome.kind === 'answered') {
      this.#connectionAnsweredMs = this.#now();
      return this.#emit({ kind: 'connection-answered' });
    }
    const failure = classifyLoginError(outcome.error);
    this.#report(failure);
    // We were waiting, perhaps for long because it would not let us in: now it may be gone.
    const leftMs = this.#retryAtMs - this.#now();
    if (failure.kind !== 'refused' || this.#link !== 'waiting' || leftMs < FAST_RETRY_DELAYS_MS[1]) return;
    this.#refusedCount += 1;
    this.#logInAfter(FAST_RETRY_DELAYS_MS[1]);
  }

  // The probe

  #probeOrGiveUp(): void {
    const session = this.#session;
    if (this.#closed || this.#link !== 'open' || session === undefined) return;
    if (this.#askedMs === undefined) {
      this.#probe(session).catch(endProcess);
      return;
    }
    // A hung write is left alone for a while, as ending its session would only hide it behind its own row lock.
    const { settings } = this.#options;
    const isHangingAlone = this.#connectionAnsweredMs > this.#askedMs;
    if (this.#now() - this.#askedMs < (isHangingAlone ? settings.writeDownAfterMs / 2 : settings.downAfterMs))
      return;
    this.#givenUpPid = session.backendPid;
    session.destroy();
    this.#ended('given-up');
  }

  async #probe(session: Session): Promise<void> {
    this.#askedMs = this.#now();
    if (this.#writable) await this.#write(session, { wasRead: false });
    else await this.#read(session);
    if (this.#givenUpPid !== undefined && this.#isCurrent(session)) {
      const pid = this.#givenUpPid;
      this.#givenUpPid = undefined;
      await session.query(END_GIVEN_UP, [pid, this.#name]);
    }
    if (this.#isCurrent(session)) this.#askedMs = undefined;
  }

  async #read(session: Session): Promise<void> {
    const askedMs = this.#now();
    this.#emit({ kind: 'asked', what: 'read' });
    const outcome = await session.query(this.#expect === 'either' ? READ_SERVER : READ, []);
    if (outcome.kind === 'over' || !this.#isCurrent(session)) return;
    if (outcome.kind === 'error') return this.#answered(askedMs, false, classifyReadError(outcome.error));
    const row = outcome.rows[0];
    const inRecovery = row?.['in_recovery'] === true;
    if (this.#expect === 'either' && row !== undefined)
      return this.#answered(askedMs, inRecovery, { kind: 'not-tried' }, serverFacts(row));
    if (this.#expect === 'standby' || inRecovery)
      return this.#answered(askedMs, inRecovery, { kind: 'not-tried' });
    if (row?.['read_only'] === true)
      return this.#answered(askedMs, false, { kind: 'excused', why: 'read-only on purpose' });
    if (this.#excused !== undefined && this.#now() < this.#excused.untilMs) {
      return this.#answered(askedMs, false, { kind: 'excused', why: this.#excused.why });
    }
    this.#answered(askedMs, false, { kind: 'not-tried' });
    this.#writable = true;
    await this.#write(session, { wasRead: true });
  }

  async #write(session: Session, { wasRead }: { wasRead: boolean }): Promise<void> {
    const askedMs = this.#now();
    this.#emit({ kind: 'asked', what: 'write' });
    let outcome = await session.query(WRITE, [this.#options.self]);
    if (outcome.kind === 'rows' && outcome.rows.length === 0)
      outcome = await session.query(INSERT, [this.#options.self]);
    if (outcome.kind === 'over' || !this.#isCurrent(session)) return;
    const write: WriteOutcome = outcome.kind === 'error' ? classifyWriteError(outcome.error) : { kind: 'ok' };
    // After an excuse read first, which tells a standby and a read-only primary apart and leaves no line in the server's log.
    if (write.kind === 'excused') this.#writable = false;
    if (outcome.kind === 'error' && outcome.error.code === READ_ONLY_TRANSACTION && !wasRead)
      return this.#read(session);
    this.#excused =
      write.kind === 'excused' ? { why: write.why, untilMs: this.#now() + EXCUSED_RETRY_MS } : undefined;
    this.#answered(askedMs, false, write);
  }

  #answered(askedMs: number, inRecovery: boolean, write: WriteOutcome, server?: ServerFacts): void {
    const latencyMs = this.#now() - askedMs;
    this.#emit({ kind: 'answered', latencyMs, inRecovery, write, ...(server && { server }) });
  }

  #isCurrent(session: Session): boolean {
    return !this.#closed && this.#session === session;
  }

  #now(): number {
    return this.#options.clock.monotonicMs();
  }

  #emit(event: Unstamped<ProbeEvent>): void {
    if (!this.#closed) this.#options.onEvent({ ...event, nowMs: this.#now() });
  }
}

const LSN = /^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/;

/** Of a row of {@link READ_SERVER}. */
function serverFacts(row: Readonly<Record<string, unknown>>): ServerFacts {
  const number = (key: string): number | undefined => {
    const value = row[key];
    return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
  };
  const [on, position] = [number('timeline'), row['position']];
  return {
    role: row['in_recovery'] === true ? 'standby' : 'primary',
    timeline: on === undefined || on < 1 || !Number.isSafeInteger(on) ? undefined : timeline(on),
    position: typeof position === 'string' && LSN.test(position) ? parseLsn(position) : undefined,
    lagBytes: number('lag_bytes'),
    lagMs: number('lag_ms'),
  };
}

/** Only a broken invariant gets here: expected outcomes are results. */
function endProcess(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}
