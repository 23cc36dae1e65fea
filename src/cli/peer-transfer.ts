// `sentinelctl peer transfer`: hands the leadership of the log to another voter. PostgreSQL is not concerned.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import { changePeers, parsePeer, withChangeOptions, type PeerChangeOptions } from './peer-change.ts';

export function addPeerTransferCommand(parent: Command, context: Context): void {
  const command = parent
    .command('transfer')
    .description('make another voter the leader of the log (not of PostgreSQL: see failover)')
    .argument('<name>', 'the voter that is to lead')
    .action(async (name: string, _options: unknown, self: Command) => {
      const to = parsePeer(name);
      await changePeers(context, self.optsWithGlobals<PeerChangeOptions>(), (admin, call) =>
        admin.peers.transfer({ to }, call),
      );
    });
  withChangeOptions(command, '15s');
}
