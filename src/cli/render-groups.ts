// Many groups at a glance, a line each, and the servers that are only watched. Pure: the same view gives the same lines.
import { formatDuration } from '../base/duration.ts';
import { diskLevel, disksOf } from '../cluster/disk-room.ts';
import type { GroupView, NodeView, WatchedView } from '../transport/types.ts';
import { formatBytes, wrap } from './format.ts';
import { groupFindings } from './health.ts';
import type { Paint, Style } from './paint.ts';
import { formationOf } from './status-scope.ts';
import { renderTable, type Cell, type Column } from './table.ts';

/** More groups than that have a line each, and only those in trouble are shown in full. */
const FULL_COUNT_MAX = 4;
/** So many in trouble at the most. */
const TROUBLED_COUNT_MAX = 3;

interface Options {
  readonly width: number;
  readonly paint: Paint;
}

/** Of more than {@link FULL_COUNT_MAX} groups: those to be shown in full below the overview, worst first; undefined where all of them are. */
export function troubled(groups: readonly GroupView[]): readonly GroupView[] | undefined {
  if (groups.length <= FULL_COUNT_MAX) return undefined;
  const isTroubled = (group: GroupView): boolean => groupFindings(group).length > 0 || isRunningFull(group);
  return groups.filter(isTroubled).slice(0, TROUBLED_COUNT_MAX);
}

/** It does all that it should, but perhaps not for long. */
const isRunningFull = ({ nodes }: GroupView): boolean =>
  nodes.some(({ upkeep }) => disksOf(upkeep).some((disk) => diskLevel(disk) === 'critical'));

const GROUP_COLUMNS: readonly Column[] = [
  { title: 'GROUP', least: 8 },
  { title: 'FORMATION', drop: 3 },
  { title: 'PHASE' },
  { title: 'PRIMARY', least: 8 },
  { title: 'TL', align: 'right', drop: 2 },
  { title: 'WELL', align: 'right' },
  { title: 'COMMITS ARE ON', drop: 1, least: 8 },
];

/** A line for each group: `WELL` counts the nodes that do what they should. */
export function renderOverview(groups: readonly GroupView[], { width, paint }: Options): string[] {
  const hasFormations = new Set(groups.map(formationOf)).size > 1;
  const columns = GROUP_COLUMNS.filter(({ title }) => hasFormations || title !== 'FORMATION');
  const rows = groups.map((group): Cell[] => {
    const trouble = groupFindings(group).length > 0;
    const well = group.nodes.filter((node) => isWell(group, node)).length;
    const primary = group.nodes.find(({ node }) => node === group.primary);
    return [
      { text: group.group, style: trouble ? 'bold' : undefined },
      ...(hasFormations ? [{ text: formationOf(group) }] : []),
      {
        text: group.phase,
        style:
          ['running', 'following'].includes(group.phase) && group.isDoubtful !== true
            ? trouble
              ? 'yellow'
              : 'green'
            : 'red',
      },
      { text: group.primary ?? '-' },
      { text: primary?.timeline === undefined ? '?' : String(primary.timeline) },
      { text: `${well}/${group.nodes.length}`, style: well === group.nodes.length ? undefined : 'yellow' },
      { text: group.rule === 'alone' ? `${group.primary ?? 'the primary'} alone` : group.rule },
    ];
  });
  const title = `${groups.length} groups; sentinelctl status --group NAME shows one in full`;
  return [...wrap('', title, width), ...renderTable({ columns, rows, width, indent: '  ', paint })];
}

function isWell(group: GroupView, node: NodeView): boolean {
  return (
    node.heldDownBy.length === 0 && node.state === (node.node === group.primary ? 'running' : 'streaming')
  );
}

const WATCHED_COLUMNS: readonly Column[] = [
  { title: 'WATCHED', least: 8 },
  { title: 'ROLE' },
  { title: 'STATE' },
  { title: 'TL', align: 'right', drop: 2 },
  { title: 'LSN', drop: 1 },
  { title: 'REPLAY LAG', align: 'right' },
  { title: 'FORMATION', drop: 3 },
  { title: 'ADDRESS', drop: 4 },
];

const STATE_STYLE: Record<WatchedView['state'], Style> = { up: 'green', down: 'red', unknown: 'yellow' };

export function renderWatched(servers: readonly WatchedView[], { width, paint }: Options): string[] {
  if (servers.length === 0) return [];
  const rows = servers.map((server): Cell[] => [
    { text: server.server },
    { text: server.role === 'none' ? '-' : server.role },
    { text: server.state, style: STATE_STYLE[server.state] },
    { text: server.timeline === undefined ? '?' : String(server.timeline) },
    { text: server.lsn ?? '?' },
    { text: lagText(server) },
    { text: server.formation },
    { text: server.address },
  ]);
  const [titles = '', ...lines] = renderTable({ columns: WATCHED_COLUMNS, rows, width, indent: '  ', paint });
  return [
    '',
    'only watched: nothing is done to them',
    titles,
    ...servers.flatMap((server, at) => [lines[at] ?? '', ...notes(server, { width, paint })]),
  ];
}

function notes(server: WatchedView, { width, paint }: Options): string[] {
  const held = server.heldDownBy.length > 0 ? [`held for down by ${server.heldDownBy.join(', ')}`] : [];
  const texts = [...held, ...(server.message === undefined ? [] : [server.message])];
  return texts.flatMap((text) => wrap('    ! ', text, width)).map((line) => paint('yellow', line));
}

function lagText({ role, lagBytes, lagMs }: WatchedView): string {
  if (role !== 'standby') return '-';
  if (lagBytes === undefined) return '?';
  return lagMs === undefined ? formatBytes(lagBytes) : `${formatBytes(lagBytes)}, ${formatDuration(lagMs)}`;
}
