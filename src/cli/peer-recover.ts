// `sentinelctl peer recover`: the majority of the voters is gone for good, and one of the rest goes on alone. Says what that
// means and has the lost peers named before it asks for it. The only command that can undo what was agreed on.
import type { Command } from 'commander';
import { withAdmin, type Context } from './context.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { wrap } from './format.ts';
import {
  confirm,
  parsePeer,
  print,
  waitMs,
  withChangeOptions,
  type PeerChangeOptions,
} from './peer-change.ts';
import { formatPeerList } from './peer-list.ts';

interface RecoverOptions extends PeerChangeOptions {
  readonly lost: string;
  readonly yes?: boolean;
}

const HELP = `
Only where a majority of the voters will never come back: their disks are gone.
Ask the peer that is to go on (--peers HOST:PORT), of several the one whose log
reaches furthest. It is refused while a majority still answers.

Example, with a and b lost and c left:
  sentinelctl --peers 10.0.0.3:7432 peer recover --lost a,b
  sentinelctl --peers 10.0.0.3:7432 peer add a 10.0.0.1:7432   its "raft" folder is
  sentinelctl --peers 10.0.0.3:7432 peer add b 10.0.0.2:7432   empty, "join: true"`;

export function addPeerRecoverCommand(parent: Command, context: Context): void {
  const command = parent
    .command('recover')
    .description('go on with one voter after the majority is gone for good')
    .requiredOption('--lost <names>', 'the voters that are gone for good: NAME,NAME,...')
    .option('-y, --yes', 'do not ask')
    .addHelpText('after', HELP)
    .action(async (_options: unknown, self: Command) => {
      await recover(context, self.optsWithGlobals<RecoverOptions>());
    });
  withChangeOptions(command, '30s');
}

async function recover(context: Context, options: RecoverOptions): Promise<void> {
  const lost = parseNames(options.lost);
  const timeoutMs = waitMs(options);
  await withAdmin(context, options, async (admin) => {
    const { answeredBy } = await admin.status();
    const list = await admin.peers.list();
    const { columns } = context.stderr.size();
    context.stderr.write(`${formatPeerList(list, { width: columns }).join('\n')}\n`);
    const plan = [
      `${answeredBy} goes on as the only voter, at incarnation ${list.incarnation + 1}; what it does not hold of the log is lost`,
      'every group is held until all of its nodes have reported how far they are; no node is promoted before',
      `a peer of incarnation ${list.incarnation} that turns up stops its PostgreSQL and takes no part until it is added again`,
    ];
    const lines = plan.flatMap((text, at) => wrap(`  ${at + 1}. `, text, columns));
    context.stderr.write(`${lines.join('\n')}\n`);
    await confirm(
      context,
      options,
      `Type the names of the peers that are gone for good (${lost.join(',')}) to go on: `,
      (answer) => isSameList(answer, lost),
    );
    const outcome = await admin.peers.recover({ lost }, { timeoutMs, signal: context.signal });
    if (outcome.kind === 'done') return print(context, options, outcome);
    throw new CliError(
      EXIT.failed,
      outcome.kind === 'refused' ? `refused: ${outcome.reason}` : `refused: ${answeredBy} cannot do that`,
    );
  });
}

function parseNames(text: string): ReturnType<typeof parsePeer>[] {
  const names = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  if (names.length === 0) throw new CliError(EXIT.usage, '--lost is empty; expected NAME,NAME,...');
  return [...new Set(names)].map(parsePeer);
}

function isSameList(answer: string, lost: readonly string[]): boolean {
  const given = answer.split(/[\s,]+/).filter((part) => part !== '');
  return given.toSorted().join(',') === [...lost].toSorted().join(',');
}
