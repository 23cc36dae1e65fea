// One node-postgres client, from its first byte to the closing of its socket, as three callbacks: opened, login failed, ended. Exactly one
// of "login failed" and "ended" comes, once, unless we closed it ourselves. Must never leave a socket, a timer or an unhandled
// 'error' behind, nor wait for the server in order to close.
import type { ConnectionOptions } from 'node:tls';
import pg from 'pg';
import { settledWithin } from '../base/clock.ts';
import {
  classifyLoginError,
  classifySessionEnd,
  endsSession,
  type LoginFailure,
  type SeenError,
} from './errors.ts';
import type { SessionEnd } from './events.ts';
import { SESSION_OPTIONS } from './heartbeat.ts';
import { ResolvingSocket, type Resolver } from './resolve.ts';

/** A server that is well has answered by then; one that hangs is left without a leave-taking. */
const CLOSE_TIMEOUT_MS = 1000;

export interface Credentials {
  readonly user: string;
  /** Asked for at each login. */
  readonly password: string;
  /** The server did not take it. */
  readonly onWrongPassword?: ((password: string) => void) | undefined;
  readonly database: string;
  /** TLS as `tls.connect` takes it; absent: no TLS. A certificate that cannot be verified is the observer's own trouble. */
  readonly tls?: ConnectionOptions | undefined;
}

export interface SessionOptions {
  readonly host: string;
  readonly port: number;
  readonly credentials: Credentials;
  readonly applicationName: string;
  readonly resolver: Resolver;
  /** For connecting and logging in together. */
  readonly loginTimeoutMs: number;
  readonly onOpen: () => void;
  readonly onLoginFailed: (failure: LoginFailure) => void;
  readonly onEnd: (how: SessionEnd) => void;
}

export interface Statement {
  readonly name?: string;
  readonly text: string;
}

export type QueryOutcome =
  | { readonly kind: 'rows'; readonly rows: readonly Record<string, unknown>[] }
  /** PostgreSQL's error; the session goes on. */
  | { readonly kind: 'error'; readonly error: SeenError }
  /** The session has ended, or was destroyed meanwhile. */
  | { readonly kind: 'over' };

export class Session {
  readonly #options: SessionOptions;
  readonly #socket: ResolvingSocket;
  readonly #client: pg.Client;
  readonly #loginTimer: NodeJS.Timeout;
  #phase: 'login' | 'open' | 'over' = 'login';
  /** Settles, and never fails, when no statement is under way. */
  #underWay: Promise<unknown> = Promise.resolve();
  /** The last message of the server that may explain an end. */
  #lastMessage: SeenError | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
    const socket = new ResolvingSocket(options.resolver);
    this.#socket = socket;
    // An error after node-postgres has let go of the socket must not end the process.
    socket.on('error', () => undefined);
    const { password } = options.credentials;
    this.#client = new pg.Client({
      host: options.host,
      port: options.port,
      user: options.credentials.user,
      password,
      database: options.credentials.database,
      application_name: options.applicationName,
      options: SESSION_OPTIONS,
      ssl: options.credentials.tls ?? false,
      stream: () => socket,
    });
    this.#client.on('error', (error: Error) => this.#fail(error));
    this.#client.on('notice', (notice) => {
      if (notice.code?.startsWith('57P') === true) this.#lastMessage = notice as SeenError;
    });
    this.#client.on('end', () => this.#fail(new Error('Connection terminated unexpectedly')));
    this.#loginTimer = setTimeout(() => {
      this.#loginFailed({ kind: 'silent', why: `no login within ${options.loginTimeoutMs} ms` });
    }, options.loginTimeoutMs);
    this.#client.connect().then(
      () => this.#opened(),
      (error: Error) => {
        if ((error as SeenError).code === '28P01') options.credentials.onWrongPassword?.(password);
        this.#loginFailed(classifyLoginError(error as SeenError));
      },
    );
  }

  /** The process of our backend, once open. */
  get backendPid(): number | undefined {
    return (this.#client as pg.Client & { processID?: number | null }).processID ?? undefined;
  }

  /** Runs one statement. Where that ends the session, `onEnd` is called first. Has no deadline of its own: destroy the session. */
  async query(statement: Statement, values: readonly unknown[]): Promise<QueryOutcome> {
    if (this.#phase !== 'open') return { kind: 'over' };
    let result: pg.QueryResult<Record<string, unknown>>;
    try {
      const answer = this.#client.query<Record<string, unknown>>({ ...statement, values: [...values] });
      this.#underWay = answer.catch(() => undefined);
      result = await answer;
    } catch (error) {
      if (!endsSession(error as SeenError)) return { kind: 'error', error: error as SeenError };
      this.#fail(error as SeenError);
      return { kind: 'over' };
    }
    return this.#phase === 'open' ? { kind: 'rows', rows: result.rows } : { kind: 'over' };
  }

  /** Ends it at once and silently: no callback follows. */
  destroy(): void {
    if (this.#phase === 'over') return;
    this.#phase = 'over';
    clearTimeout(this.#loginTimer);
    this.#socket.destroy();
  }

  /** Takes leave of the server, after the statement under way, so that it logs nothing; but waits only a moment for it. */
  async close(): Promise<void> {
    if (this.#phase === 'open') {
      this.#phase = 'over';
      // node-postgres would break the connection off under a statement.
      const left = this.#underWay.then(() => this.#client.end());
      await settledWithin(left, CLOSE_TIMEOUT_MS);
    }
    clearTimeout(this.#loginTimer);
    this.#phase = 'over';
    this.#socket.destroy();
  }

  #opened(): void {
    if (this.#phase !== 'login') return;
    this.#phase = 'open';
    clearTimeout(this.#loginTimer);
    this.#options.onOpen();
  }

  #loginFailed(failure: LoginFailure): void {
    if (this.#phase !== 'login') return;
    this.destroy();
    this.#options.onLoginFailed(failure);
  }

  #fail(error: SeenError): void {
    if (this.#phase === 'login') this.#loginFailed(classifyLoginError(error));
    if (this.#phase !== 'open') return;
    this.destroy();
    this.#options.onEnd(
      classifySessionEnd(error.code?.startsWith('57P') === true ? error : (this.#lastMessage ?? error)),
    );
  }
}
