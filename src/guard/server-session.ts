// The guard's one session: a superuser's, through the private socket, opened when it is first needed and kept, so that a server without
// a free connection slot or with another password can still be asked. Its commits do not wait for standbys.
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { DeadlineError } from '../base/clock.ts';
import { queryMessage, readMessages, startupMessage } from './protocol.ts';

export interface ServerSession {
  /**
   * Runs one statement and returns its rows, values as text; connects first where there is no connection. Throws PostgreSQL's error, a
   * {@link DeadlineError} when the time is over, and when the connection is lost: the latter two close it. One at a time.
   */
  query(text: string, timeoutMs: number): Promise<readonly (readonly (string | null)[])[]>;
  close(): void;
}

const OPTIONS = [
  'synchronous_commit=local',
  'statement_timeout=0',
  'lock_timeout=0',
  'idle_session_timeout=0',
  'idle_in_transaction_session_timeout=0',
  'default_transaction_read_only=off',
  'client_min_messages=error',
  'log_statement=none',
  'search_path=pg_catalog',
];

interface Answer {
  readonly rows: (readonly (string | null)[])[];
  error: Error | undefined;
  readonly done: (error: Error | undefined) => void;
}

export function openServerSession(options: {
  readonly socketDirectory: string;
  readonly port: number;
  readonly superuser: string;
}): ServerSession {
  let socket: Socket | undefined;
  let bytes: Buffer = Buffer.alloc(0);
  let answer: Answer | undefined;

  const lose = (lost: Socket, error: Error): void => {
    lost.destroy();
    if (socket !== lost) return;
    socket = undefined;
    answer?.done(error);
  };

  const receive = (from: Socket, chunk: Buffer): void => {
    const read = readMessages(Buffer.concat([bytes, chunk]));
    bytes = read.rest;
    for (const message of read.messages) {
      if (message.kind === 'row') answer?.rows.push(message.values);
      else if (message.kind === 'error') {
        if (answer !== undefined) answer.error = new Error(message.message);
      } else if (message.kind === 'authentication' && !message.isDone)
        throw new Error(`PostgreSQL asks for the password of ${options.superuser}`);
      else if (message.kind === 'ready') answer?.done(answer.error);
    }
    if (socket !== from) bytes = Buffer.alloc(0);
  };

  /** Resolves with the rows of what `send` asks for. */
  const ask = async (
    what: string,
    timeoutMs: number,
    send: () => Socket,
  ): Promise<readonly (readonly (string | null)[])[]> => {
    if (answer !== undefined) throw new Error('the session is in use');
    let timer: NodeJS.Timeout | undefined;
    const rows: Answer['rows'] = [];
    try {
      await new Promise<void>((resolve, reject) => {
        answer = {
          rows,
          error: undefined,
          done: (error) => (error === undefined ? resolve() : reject(error)),
        };
        const used = send();
        timer = setTimeout(
          () => lose(used, new DeadlineError(`${what}: no answer within ${Math.round(timeoutMs)} ms`)),
          timeoutMs,
        );
      });
      return rows;
    } finally {
      clearTimeout(timer);
      answer = undefined;
    }
  };

  const begin = (): Socket => {
    const opened = connect({ path: join(options.socketDirectory, `.s.PGSQL.${options.port}`) });
    socket = opened;
    bytes = Buffer.alloc(0);
    opened.on('data', (chunk) => {
      try {
        receive(opened, chunk);
      } catch (error) {
        lose(opened, error as Error);
      }
    });
    opened.on('error', (error) => lose(opened, error));
    opened.on('close', () => lose(opened, answer?.error ?? new Error('PostgreSQL closed the connection')));
    opened.write(
      startupMessage({
        user: options.superuser,
        database: 'postgres',
        application_name: 'pg_sentinel_guard',
        options: OPTIONS.map((setting) => `-c ${setting}`).join(' '),
      }),
    );
    return opened;
  };

  return {
    async query(text, timeoutMs) {
      const deadlineMs = performance.now() + timeoutMs;
      const present = socket ?? (await ask('a session with the local PostgreSQL', timeoutMs, begin), socket);
      if (present === undefined) throw new Error('PostgreSQL closed the connection');
      return ask(text.slice(0, 60), deadlineMs - performance.now(), () => {
        present.write(queryMessage(text));
        return present;
      });
    },
    close() {
      if (socket !== undefined) lose(socket, new Error('the session was closed'));
    },
  };
}
