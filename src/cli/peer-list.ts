// `sentinelctl peer list`: voters and learners, who leads, and how far each is. The leader knows most, so it is asked where it
// can be reached.
import { Option, type Command } from 'commander';
import type { PeerListEntry, PeerListView } from '../transport/types.ts';
import { paintFor, withAdmin, type Admin, type CommonOptions, type Context } from './context.ts';
import { FORMATS, renderDocument, type Format } from './document.ts';
import { wrap } from './format.ts';
import { plain, type Paint } from './paint.ts';
import { renderTable, type Cell, type Column } from './table.ts';

interface ListOptions extends CommonOptions {
  readonly output: Format;
}

export function addPeerListCommand(parent: Command, context: Context): void {
  parent
    .command('list')
    .description('show voters and learners')
    .addOption(new Option('-o, --output <format>', 'how to print them').choices(FORMATS).default('table'))
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<ListOptions>();
      const list = await withAdmin(context, options, (admin) => listOfLeader(context, options, admin));
      if (options.output !== 'table') {
        context.stdout.write(renderDocument(options.output, list, { stream: false }));
        return;
      }
      const { columns } = context.stdout.size();
      const paint = paintFor(context, options, context.stdout);
      context.stdout.write(`${formatPeerList(list, { width: columns, paint }).join('\n')}\n`);
    });
}

/** The leader's list, or that of the peer at hand. */
async function listOfLeader(context: Context, options: ListOptions, admin: Admin): Promise<PeerListView> {
  const list = await admin.peers.list();
  const leader = list.peers.find((each) => each.peer === list.leader);
  if (leader === undefined || leader.lagEntries !== undefined) return list;
  try {
    const other = await context.connect({ addresses: [leader.address], timeoutMs: options.timeout });
    try {
      return await other.peers.list();
    } finally {
      other.close();
    }
  } catch {
    return list;
  }
}

const COLUMNS: readonly Column[] = [
  { title: 'PEER', least: 8 },
  { title: 'KIND' },
  { title: 'RAFT' },
  { title: 'CONTACT' },
  { title: 'LOG', align: 'right', drop: 2 },
  { title: 'ADDRESS', drop: 1 },
];

/** Lines without line ends. */
export function formatPeerList(
  list: PeerListView,
  options: { readonly width: number; readonly paint?: Paint },
): string[] {
  const { width, paint = plain } = options;
  if (list.incarnation === 0)
    return wrap(
      '',
      `${list.cluster}: the peer that answered is not a member yet; see sentinelctl peer add`,
      width,
    );
  const voters = list.peers.filter((each) => each.kind === 'voter').length;
  const facts = [
    list.leader === undefined ? 'no leader' : `leader ${list.leader}`,
    `${Math.floor(voters / 2) + 1} of ${voters} voters decide`,
    `incarnation ${list.incarnation}`,
    `feature level ${list.featureLevel}`,
  ];
  const rows = list.peers.toSorted((a, b) => (a.peer < b.peer ? -1 : 1)).map(rowOf);
  return [
    ...wrap('', `${list.cluster}: ${facts.join(', ')}`, width),
    ...renderTable({ columns: COLUMNS, rows, width, indent: '  ', paint }),
  ];
}

function rowOf(entry: PeerListEntry): Cell[] {
  const leads = entry.role === 'leader';
  const lag = entry.lagEntries;
  return [
    { text: entry.peer, style: leads ? 'bold' : undefined },
    { text: entry.kind },
    { text: entry.role === 'unknown' ? '?' : entry.role, style: leads ? 'bold' : undefined },
    entry.reachable ? { text: 'ok', style: 'green' } : { text: 'lost', style: 'red' },
    { text: lag === undefined ? '?' : lag <= 0 ? 'current' : `${lag} behind` },
    { text: entry.address },
  ];
}
