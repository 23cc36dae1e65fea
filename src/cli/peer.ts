// `sentinelctl peer ...`: who takes part in the cluster. Only gathers the subcommands; each has a file of its own.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import { addPeerAddCommand } from './peer-add.ts';
import { addPeerListCommand } from './peer-list.ts';
import { addPeerMoveCommand } from './peer-move.ts';
import { addPeerPromoteCommand } from './peer-promote.ts';
import { addPeerRecoverCommand } from './peer-recover.ts';
import { addPeerRemoveCommand } from './peer-remove.ts';
import { addPeerTransferCommand } from './peer-transfer.ts';

const HELP = `
Voters elect the leader and decide by majority; learners receive the log only.
One change is made at a time. Every command may be run again after it was
interrupted: it carries on, or says that it is done.

Replacing a host that is lost for good:
  sentinelctl peer remove c
  sentinelctl peer add c 10.0.0.9:7432    its sentineld has "join: true"`;

export function addPeerCommand(program: Command, context: Context): void {
  const peer = program
    .command('peer')
    .description('show and change who takes part: add, remove, replace a peer')
    .addHelpText('after', HELP);
  addPeerListCommand(peer, context);
  addPeerAddCommand(peer, context);
  addPeerRemoveCommand(peer, context);
  addPeerPromoteCommand(peer, context);
  addPeerMoveCommand(peer, context);
  addPeerTransferCommand(peer, context);
  addPeerRecoverCommand(peer, context);
}
