// A server that speaks just enough of PostgreSQL's protocol to be asked over a replication connection what it is. Never used outside tests.
import { type AddressInfo, type Socket, createServer } from 'node:net';

/** By the beginning of a command: one row, or the code of an error. */
type Answers = () => Readonly<Record<string, Readonly<Record<string, string | null>> | string>>;

export interface Walsender {
  readonly port: number;
  /** In the order in which they came. */
  readonly commands: readonly string[];
  close(): void;
}

export async function startWalsender(answers: Answers): Promise<Walsender> {
  const commands: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    let pending = Buffer.alloc(0);
    let isStarted = false;
    socket.on('data', (bytes) => {
      pending = Buffer.concat([pending, bytes]);
      for (;;) {
        const at = isStarted ? 1 : 0;
        if (pending.length < at + 4) return;
        const length = at + pending.readInt32BE(at);
        if (pending.length < length) return;
        const message = pending.subarray(0, length);
        pending = pending.subarray(length);
        if (!isStarted) {
          isStarted = true;
          socket.write(Buffer.concat([frame('R', int32(0)), READY]));
        } else if (message[0] === 'Q'.charCodeAt(0)) {
          const command = message.toString('utf8', 5, message.length - 1);
          commands.push(command);
          socket.write(reply(command, answers()));
        }
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    commands,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

function reply(command: string, answers: ReturnType<Answers>): Buffer {
  const answer = Object.entries(answers).find(([beginning]) => command.startsWith(beginning))?.[1] ?? '42601';
  if (typeof answer === 'string') {
    const fields = [`SERROR`, `C${answer}`, `Mrefused with ${answer}`].map((field) =>
      Buffer.from(`${field}\0`),
    );
    return Buffer.concat([frame('E', Buffer.concat([...fields, Buffer.from('\0')])), READY]);
  }
  const names = Object.keys(answer);
  const described = names.map((name) =>
    Buffer.concat([Buffer.from(`${name}\0`), int32(0), int16(0), int32(25), int16(-1), int32(-1), int16(0)]),
  );
  const values = Object.values(answer).map((value) =>
    value === null ? int32(-1) : Buffer.concat([int32(Buffer.byteLength(value)), Buffer.from(value)]),
  );
  return Buffer.concat([
    frame('T', Buffer.concat([int16(names.length), ...described])),
    frame('D', Buffer.concat([int16(names.length), ...values])),
    frame('C', Buffer.from('SELECT 1\0')),
    READY,
  ]);
}

const frame = (type: string, body: Buffer): Buffer =>
  Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
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
const READY = Buffer.concat([Buffer.from('Z'), int32(5), Buffer.from('I')]);
