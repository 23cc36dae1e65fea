// Tries a new connection without logging in: a request for GSS encryption is answered with one byte by a backend that the postmaster
// forks for it, so an answer shows that the postmaster runs. It costs no connection slot and leaves no line in the server's log
// (an SSLRequest does on servers with ssl = on: "could not accept SSL connection"; seen on 15). Protocol chapter 55.2.11.
import type { Socket } from 'node:net';

const GSS_ENCRYPTION_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30]);

export type CheckOutcome =
  | { readonly kind: 'answered' }
  | { readonly kind: 'failed'; readonly error: NodeJS.ErrnoException }
  | { readonly kind: 'silent' };

/** Uses up `socket`, which is not connected yet: `connect` starts it. Ends by itself after `timeoutMs`, or when the socket is destroyed. */
export function checkConnection(
  options: { readonly socket: Socket; readonly connect: () => void; readonly timeoutMs: number },
  done: (outcome: CheckOutcome) => void,
): void {
  const { socket } = options;
  let outcome: CheckOutcome | undefined;
  const end = (ended: CheckOutcome): void => {
    if (outcome !== undefined) return;
    outcome = ended;
    clearTimeout(timer);
    socket.destroy();
    done(ended);
  };
  const timer = setTimeout(() => end({ kind: 'silent' }), options.timeoutMs);
  socket.on('error', (error) => end({ kind: 'failed', error }));
  socket.once('connect', () => socket.write(GSS_ENCRYPTION_REQUEST));
  // Any byte will do: 'G', 'N', or the 'E' of an error message that an overloaded postmaster sends.
  socket.once('data', () => end({ kind: 'answered' }));
  socket.once('end', () =>
    end({
      kind: 'failed',
      error: Object.assign(new Error('closed without an answer'), { code: 'ECONNRESET' }),
    }),
  );
  socket.once('close', () => end({ kind: 'silent' }));
  options.connect();
}
