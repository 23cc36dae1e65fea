// What looks like a server to whoever connects.
import { createServer, type Server } from 'node:net';

/** Takes TCP connections and never answers. */
export async function silentServer(): Promise<{ port: number; connected: Promise<void>; close: () => void }> {
  let server: Server | undefined;
  const sockets: { destroy(): void }[] = [];
  const connected = new Promise<void>((resolve) => {
    server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => undefined);
      resolve();
    });
  });
  const port = await new Promise<number>((resolve) =>
    server?.listen(0, '127.0.0.1', () => {
      const address = server?.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    }),
  );
  return {
    port,
    connected,
    close() {
      for (const socket of sockets) socket.destroy();
      server?.close();
    },
  };
}
