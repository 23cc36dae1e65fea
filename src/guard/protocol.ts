// The few messages of PostgreSQL's protocol 3.0 ("Frontend/Backend Protocol" in its manual) that the guard needs: it logs in without
// a password through the private socket and runs simple queries. Bytes in, messages out, no socket: a client library costs a
// process as small as this one a quarter of its memory.

export type BackendMessage =
  | { readonly kind: 'authentication'; readonly isDone: boolean }
  | { readonly kind: 'row'; readonly values: readonly (string | null)[] }
  | { readonly kind: 'error'; readonly message: string }
  /** The server waits for the next query. */
  | { readonly kind: 'ready' }
  | { readonly kind: 'other' };

const PROTOCOL_VERSION = 3 << 16;
const HEADER_BYTES = 5;
const MESSAGE_BYTES_MAX = 1 << 20;

export function startupMessage(parameters: Readonly<Record<string, string>>): Buffer {
  const pairs = Object.entries(parameters).map(([name, value]) => `${name}\0${value}\0`);
  const body = Buffer.from(`${pairs.join('')}\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(head.length + body.length, 0);
  head.writeInt32BE(PROTOCOL_VERSION, 4);
  return Buffer.concat([head, body]);
}

export function queryMessage(text: string): Buffer {
  const body = Buffer.from(`${text}\0`);
  const head = Buffer.alloc(HEADER_BYTES);
  head.write('Q', 'latin1');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

/** The complete messages at the beginning of `bytes`, and what is left of it. Throws where it is not the protocol. */
export function readMessages(bytes: Buffer): { readonly messages: BackendMessage[]; readonly rest: Buffer } {
  const messages: BackendMessage[] = [];
  let at = 0;
  while (bytes.length - at >= HEADER_BYTES) {
    const length = bytes.readInt32BE(at + 1);
    if (length < 4 || length > MESSAGE_BYTES_MAX)
      throw new Error(`PostgreSQL sent a message of ${length} bytes, which is none`);
    if (bytes.length - at < length + 1) break;
    const type = String.fromCharCode(bytes[at] ?? 0);
    messages.push(readMessage(type, bytes.subarray(at + HEADER_BYTES, at + length + 1)));
    at += length + 1;
  }
  return { messages, rest: bytes.subarray(at) };
}

function readMessage(type: string, body: Buffer): BackendMessage {
  switch (type) {
    case 'R':
      return { kind: 'authentication', isDone: body.readInt32BE(0) === 0 };
    case 'D':
      return { kind: 'row', values: readRow(body) };
    case 'E':
      return { kind: 'error', message: readError(body) };
    case 'Z':
      return { kind: 'ready' };
    default:
      return { kind: 'other' };
  }
}

function readRow(body: Buffer): (string | null)[] {
  const values: (string | null)[] = [];
  let at = 2;
  for (let left = body.readInt16BE(0); left > 0; left -= 1) {
    const length = body.readInt32BE(at);
    at += 4;
    values.push(length < 0 ? null : body.toString('utf8', at, at + length));
    at += Math.max(0, length);
  }
  return values;
}

/** `M` is the message; the other fields are of use to nobody here. */
function readError(body: Buffer): string {
  const fields = body.toString('utf8').split('\0');
  return fields.find((field) => field.startsWith('M'))?.slice(1) ?? 'PostgreSQL reported an error';
}
