// As much of PostgreSQL's protocol (version 3, documentation chapter 55) as the probes of src/health speak, seen from the server: bytes
// in, bytes out, no socket. Whatever else is asked is answered with an error. Must never answer what it did not read whole.
import { END_GIVEN_UP, INSERT, READ, WRITE } from '../../src/health/heartbeat.ts';
import { begin, type Exchange, finish, type Verifier } from './scram.ts';

/** What the session asks of the server behind it. */
export interface Backend {
  readonly verifier: Verifier;
  readonly pid: number;
  isInRecovery(): boolean;
  nonce(): string;
  /** A statement of the probes is carried out; the number of the heartbeat, which counts up with each write. */
  beat(kind: 'read' | 'write'): number;
  /** Somebody looks whether a new connection is answered. */
  checked(): void;
}

export interface WireSession {
  /** Takes what arrived; returns what is to be sent. `ends`: the connection is over. */
  take(bytes: Buffer): { readonly answer: Buffer; readonly ends: boolean };
}

type Kind = 'read' | 'write' | 'insert' | 'end' | 'unknown';

const GSS_REQUEST = 80_877_104;
const SSL_REQUEST = 80_877_103;
const PROTOCOL_3 = 196_608;
/** A longer message is none of a probe's. */
const MESSAGE_BYTES_MAX = 1 << 20;

const [BOOL, INT8, INT4] = [16, 20, 23];

export function createWireSession(backend: Backend): WireSession {
  let pending: Buffer = Buffer.alloc(0);
  let phase: 'startup' | 'sasl-first' | 'sasl-final' | 'ready' | 'over' = 'startup';
  let exchange: Exchange | undefined;
  const statements = new Map<string, Kind>();
  let portal: Kind = 'unknown';
  /** After an error everything up to the next Sync is passed over. */
  let isSkipping = false;

  const refuse = (code: string, text: string): Buffer => {
    phase = 'over';
    return errorResponse('FATAL', code, text);
  };

  const startup = (body: Buffer): Buffer => {
    const code = body.readInt32BE(0);
    if (code === GSS_REQUEST || code === SSL_REQUEST) {
      if (code === GSS_REQUEST) backend.checked();
      return Buffer.from('N');
    }
    if (code !== PROTOCOL_3) return refuse('0A000', 'unsupported frontend protocol');
    phase = 'sasl-first';
    return message('R', int32(10), Buffer.from('SCRAM-SHA-256\0\0'));
  };

  const sasl = (body: Buffer): Buffer => {
    if (phase === 'sasl-first') {
      const from = body.indexOf(0) + 5;
      exchange = begin(body.toString('utf8', from), backend.nonce());
      if (exchange === undefined) return refuse('28000', 'malformed SCRAM message');
      phase = 'sasl-final';
      return message('R', int32(11), Buffer.from(exchange.serverFirst));
    }
    const last =
      exchange === undefined ? undefined : finish(backend.verifier, exchange, body.toString('utf8'));
    if (last === undefined) return refuse('28P01', 'password authentication failed');
    phase = 'ready';
    return Buffer.concat([
      message('R', int32(12), Buffer.from(last)),
      message('R', int32(0)),
      message('S', Buffer.from('server_version\x0015.0\0')),
      message('S', Buffer.from('client_encoding\0UTF8\0')),
      message('K', int32(backend.pid), int32(1)),
      READY,
    ]);
  };

  const execute = (): Buffer => {
    switch (portal) {
      case 'read': {
        backend.beat('read');
        return row([backend.isInRecovery() ? 't' : 'f', 'f'], 'SELECT 1');
      }
      case 'write':
      case 'insert':
        if (backend.isInRecovery()) {
          isSkipping = true;
          return errorResponse('ERROR', '25006', 'cannot execute UPDATE in a read-only transaction');
        }
        return portal === 'write'
          ? row([String(backend.beat('write')), '73728'], 'UPDATE 1')
          : row([String(backend.beat('write'))], 'INSERT 0 1');
      case 'end':
        return row(['f'], 'SELECT 1');
      case 'unknown':
        isSkipping = true;
        return errorResponse('ERROR', '0A000', 'a pretended PostgreSQL knows the statements of probes only');
    }
  };

  const request = (type: string, body: Buffer): Buffer => {
    if (type === 'p') return sasl(body);
    if (phase !== 'ready') return refuse('08P01', `message ${type} before the login`);
    if (type === 'S') {
      isSkipping = false;
      return READY;
    }
    if (type === 'X') {
      phase = 'over';
      return NOTHING;
    }
    if (isSkipping) return NOTHING;
    switch (type) {
      case 'P': {
        const [name, at] = text(body, 0);
        statements.set(name, kindOf(text(body, at)[0]));
        return PARSED;
      }
      case 'B': {
        const [, at] = text(body, 0);
        portal = statements.get(text(body, at)[0]) ?? 'unknown';
        return BOUND;
      }
      case 'D':
        return DESCRIPTIONS[portal];
      case 'E':
        return execute();
      default:
        return refuse('08P01', `message ${type} is not understood`);
    }
  };

  return {
    take(bytes) {
      pending = pending.length === 0 ? bytes : Buffer.concat([pending, bytes]);
      const answers: Buffer[] = [];
      while (phase !== 'over') {
        const typeBytes = phase === 'startup' ? 0 : 1;
        if (pending.length < typeBytes + 4) break;
        const length = pending.readInt32BE(typeBytes);
        if (length < 4 || length > MESSAGE_BYTES_MAX) {
          answers.push(refuse('08P01', 'invalid message length'));
          break;
        }
        if (pending.length < typeBytes + length) break;
        const type = String.fromCharCode(pending[0] ?? 0);
        const body = pending.subarray(typeBytes + 4, typeBytes + length);
        pending = pending.subarray(typeBytes + length);
        answers.push(typeBytes === 0 ? startup(body) : request(type, body));
      }
      return { answer: Buffer.concat(answers), ends: phase === 'over' };
    },
  };
}

function kindOf(statement: string): Kind {
  switch (statement) {
    case READ.text:
      return 'read';
    case WRITE.text:
      return 'write';
    case INSERT.text:
      return 'insert';
    case END_GIVEN_UP.text:
      return 'end';
    default:
      return 'unknown';
  }
}

/** The zero-terminated text at `at`, and where it ends. */
function text(body: Buffer, at: number): readonly [string, number] {
  const end = body.indexOf(0, at);
  return end === -1 ? ['', body.length] : [body.toString('utf8', at, end), end + 1];
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function message(type: string, ...parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 4);
  return Buffer.concat([Buffer.from(type), int32(length), ...parts]);
}

function row(values: readonly string[], tag: string): Buffer {
  const fields = values.flatMap((value) => [int32(Buffer.byteLength(value)), Buffer.from(value)]);
  return Buffer.concat([
    message('D', int16(values.length), ...fields),
    message('C', Buffer.from(`${tag}\0`)),
  ]);
}

function describe(...columns: readonly (readonly [string, number])[]): Buffer {
  const fields = columns.flatMap(([name, type]) => [
    Buffer.from(`${name}\0`),
    int32(0),
    int16(0),
    int32(type),
    int16(-1),
    int32(-1),
    int16(0),
  ]);
  return message('T', int16(columns.length), ...fields);
}

function errorResponse(severity: string, code: string, said: string): Buffer {
  return message('E', Buffer.from(`S${severity}\0V${severity}\0C${code}\0M${said}\0\0`));
}

const NOTHING = Buffer.alloc(0);
const PARSED = message('1');
const BOUND = message('2');
const READY = message('Z', Buffer.from('I'));
const DESCRIPTIONS: Readonly<Record<Kind, Buffer>> = {
  read: describe(['in_recovery', BOOL], ['read_only', BOOL]),
  write: describe(['beat', INT8], ['room', INT4]),
  insert: describe(['beat', INT8]),
  end: describe(['pg_terminate_backend', BOOL]),
  unknown: message('n'),
};
