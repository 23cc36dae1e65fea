// Where a node is registered while its configuration names another address than the PostgreSQL that runs listens at.
import { isIP } from 'node:net';
import type { NodeId } from '../base/ids.ts';
import type { PostmasterFile } from '../postgres/processes.ts';
import type { AgentContext } from './context.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/**
 * The address to register. A running PostgreSQL does not listen at a new one before it is started again: everybody would find it refused there and
 * hold the node for down, so the one that the log has stands until then.
 */
export function addressToRegister(
  configured: Address,
  registered: Address | undefined,
  postmaster: Pick<PostmasterFile, 'listenAddress' | 'port'> | undefined,
): Address {
  if (registered === undefined || postmaster === undefined) return configured;
  const { listenAddress, port } = postmaster;
  // The file is still being written, or was by a PostgreSQL that takes no connections.
  if (listenAddress === undefined || port === undefined) return registered;
  // A name is listened for at every address.
  const isThere = listenAddress === '*' || (isIP(configured.host) !== 0 && listenAddress === configured.host);
  return isThere && port === configured.port ? configured : registered;
}

/** {@link addressToRegister}, which says once what a move waits for. */
export function createAddressFor(
  configured: Address & { readonly node: NodeId },
  { announce, withdraw }: Pick<AgentContext, 'announce' | 'withdraw'>,
): (registered: Address | undefined, postmaster: PostmasterFile | undefined) => Address {
  let said = '';
  return (registered, postmaster) => {
    const address = addressToRegister(configured, registered, postmaster);
    if (address.host === configured.host && address.port === configured.port) {
      if (said !== '') withdraw(said);
      said = '';
      return address;
    }
    const { node, host, port } = configured;
    const message = `moves from ${address.host}:${address.port} to ${host}:${port} when its PostgreSQL is started again: sentinelctl node restart ${node}`;
    if (message !== said) announce(message);
    said = message;
    return address;
  };
}
