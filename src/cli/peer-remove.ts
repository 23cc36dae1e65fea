// `sentinelctl peer remove`: a peer takes no further part. Refused where the rest could not decide; a leader hands over first.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import {
  askLeader,
  confirm,
  parsePeer,
  print,
  withChangeOptions,
  type PeerChangeOptions,
} from './peer-change.ts';

interface RemoveOptions extends PeerChangeOptions {
  readonly yes?: boolean;
}

const HELP = `
The peer is not asked, so one that is lost for good can be removed. It does not
come back under the same name unless its folder "raft" is deleted and it is
added again. A PostgreSQL on its host goes on running.

Examples:
  sentinelctl peer remove c
  sentinelctl peer remove c --yes         without asking, for scripts`;

export function addPeerRemoveCommand(parent: Command, context: Context): void {
  const command = parent
    .command('remove')
    .description('remove a peer')
    .argument('<name>', 'the voter or learner')
    .option('-y, --yes', 'do not ask')
    .addHelpText('after', HELP)
    .action(async (name: string, _options: unknown, self: Command) => {
      await removePeer(context, name, self.optsWithGlobals<RemoveOptions>());
    });
  withChangeOptions(command, '30s');
}

async function removePeer(context: Context, name: string, options: RemoveOptions): Promise<void> {
  const peer = parsePeer(name);
  await confirm(context, options, `Remove peer ${peer} from the cluster? [y/N] `, (answer) =>
    /^y(es)?$/i.test(answer),
  );
  let isRepeated = false;
  const outcome = await askLeader(context, options, async (admin, call) => {
    if (isRepeated) {
      // An attempt whose answer was lost may have worked.
      const { peers } = await admin.peers.list();
      if (peers.length > 0 && !peers.some((each) => each.peer === peer))
        return { kind: 'done', detail: `${peer} is no member any more` };
    }
    isRepeated = true;
    return admin.peers.remove({ peer }, call);
  });
  print(context, options, outcome);
}
