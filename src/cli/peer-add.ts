// `sentinelctl peer add`: a new peer first receives the log as a learner, and votes once it has caught up.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import { CliError, EXIT } from './exit-codes.ts';
import {
  askLeader,
  parseAddress,
  parsePeer,
  print,
  withChangeOptions,
  type PeerChangeOptions,
} from './peer-change.ts';

interface AddOptions extends PeerChangeOptions {
  readonly learner?: boolean;
}

const HELP = `
NAME is the peer's name in its own configuration, which has "join: true" and
lists the peers that are there; HOST:PORT is where the others reach it. It is
added as a learner, receives the log, and becomes a voter once it has caught up.

Examples:
  sentinelctl peer add d 10.0.0.4:7432
  sentinelctl peer add far 10.9.0.1:7432 --learner   to follow only`;

export function addPeerAddCommand(parent: Command, context: Context): void {
  const command = parent
    .command('add')
    .description('add a peer')
    .argument('<name>', 'its name')
    .argument('<host:port>', 'where the other peers reach it')
    .option('--learner', 'leave it a learner: it receives the log and does not vote')
    .addHelpText('after', HELP)
    .action(async (name: string, address: string, _options: unknown, self: Command) => {
      await addPeer(context, name, address, self.optsWithGlobals<AddOptions>());
    });
  withChangeOptions(command, '60s');
}

async function addPeer(context: Context, name: string, address: string, options: AddOptions): Promise<void> {
  const request = { peer: parsePeer(name), address: parseAddress(address) };
  const learner = await askLeader(context, options, (admin, call) =>
    admin.peers.add({ ...request, learnerOnly: true }, call),
  );
  if (options.learner === true) {
    print(context, options, learner);
    return;
  }
  context.stderr.write(`${learner.detail}; it votes once it has caught up\n`);
  try {
    const voter = await askLeader(context, options, (admin, call) =>
      admin.peers.add({ ...request, learnerOnly: false }, call),
    );
    print(context, options, voter);
  } catch (error) {
    if (!(error instanceof CliError) || context.signal.aborted) throw error;
    const hint = `it stays a learner; see that its sentineld runs at ${address} with "join: true", then run this again`;
    throw new CliError(EXIT.failed, `${name} is not a voter yet: ${error.message}; ${hint}`);
  }
}
