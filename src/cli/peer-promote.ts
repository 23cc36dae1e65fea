// `sentinelctl peer promote`: a learner that has caught up becomes a voter.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import { changePeers, parsePeer, withChangeOptions, type PeerChangeOptions } from './peer-change.ts';

export function addPeerPromoteCommand(parent: Command, context: Context): void {
  const command = parent
    .command('promote')
    .description('make a learner a voter')
    .argument('<name>', 'the learner; it must have caught up')
    .action(async (name: string, _options: unknown, self: Command) => {
      const peer = parsePeer(name);
      await changePeers(context, self.optsWithGlobals<PeerChangeOptions>(), (admin, call) =>
        admin.peers.promote({ peer }, call),
      );
    });
  withChangeOptions(command, '30s');
}
