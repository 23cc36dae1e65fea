// `sentinelctl peer move`: the same peer at another address. From then on the others reach it there.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import {
  changePeers,
  parseAddress,
  parsePeer,
  withChangeOptions,
  type PeerChangeOptions,
} from './peer-change.ts';

const HELP = `
Where the peers are is kept in the log; the "peers" of the configuration count
at the first start only. Let the peer listen at the new address first, then:

  sentinelctl peer move c 10.0.1.3:7432`;

export function addPeerMoveCommand(parent: Command, context: Context): void {
  const command = parent
    .command('move')
    .description('change the address at which the others reach a peer')
    .argument('<name>', 'the peer')
    .argument('<host:port>', 'its new address')
    .addHelpText('after', HELP)
    .action(async (name: string, text: string, _options: unknown, self: Command) => {
      const request = { peer: parsePeer(name), address: parseAddress(text) };
      await changePeers(context, self.optsWithGlobals<PeerChangeOptions>(), (admin, call) =>
        admin.peers.move(request, call),
      );
    });
  withChangeOptions(command, '30s');
}
