// A TCP proxy for tests that can swallow everything, as a partition does: no reset, no refusal, only silence.
// Must never outlive its test: call `close`.
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';

export interface Proxy {
  readonly port: number;
  /** From now on nothing passes, on open connections and on new ones. */
  blackhole(): void;
  /** New connections pass again; those from before stay dead, as half-open ones do. */
  heal(): void;
  close(): Promise<void>;
}

export async function startProxy(to: { readonly host: string; readonly port: number }): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let open = true;
  const server = createServer({ noDelay: true }, (near) => {
    const hold = (socket: Socket): void => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => undefined);
    };
    hold(near);
    if (!open) return; // accepted by the kernel, never answered
    const far = connect({ ...to, noDelay: true });
    hold(far);
    near.pipe(far);
    far.pipe(near);
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    blackhole() {
      open = false;
      for (const socket of sockets) {
        socket.unpipe();
        socket.pause();
      }
    },
    heal() {
      open = true;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
