// A gRPC channel whose sockets can be ended at once. grpc-js closes a channel gracefully: an attempt that hangs, or a
// connection that has become half-open, would keep its socket until the operating system gives up, which takes minutes.
// Must never leave a socket behind after `destroy`.
import type { Socket } from 'node:net';
import { type ChannelCredentials, type ChannelOptions, Client, type experimental } from '@grpc/grpc-js';
import { clientCredentials } from './grpc-adapter.ts';

export interface OwnedChannel {
  readonly client: Client;
  /** Ends the channel with all its calls and sockets, now. */
  destroy(): void;
}

export function openChannel(target: string, options: ChannelOptions): OwnedChannel {
  const sockets = new Set<Socket>();
  let destroyed = false;
  const client = new Client(
    target,
    withSocketListener(clientCredentials(), (socket) => {
      if (destroyed) socket.destroy();
      else {
        sockets.add(socket);
        socket.once('close', () => sockets.delete(socket));
      }
    }),
    options,
  );
  return {
    client,
    destroy() {
      destroyed = true;
      client.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** `credentials` (which are changed), such that `onSocket` learns of each TCP connection. */
function withSocketListener(
  credentials: ChannelCredentials,
  onSocket: (socket: Socket) => void,
): ChannelCredentials {
  const createConnector = credentials._createSecureConnector.bind(credentials);
  credentials._createSecureConnector = (...parameters): experimental.SecureConnector => {
    const connector = createConnector(...parameters);
    return {
      connect(socket) {
        onSocket(socket);
        return connector.connect(socket);
      },
      waitForReady: () => connector.waitForReady(),
      getCallCredentials: () => connector.getCallCredentials(),
      destroy: () => connector.destroy(),
    };
  };
  return credentials;
}
