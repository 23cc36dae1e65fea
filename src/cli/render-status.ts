// The picture of `sentinelctl status`: for a person who was paged at night. Worst news first, no line wider than the
// terminal. Pure: the same view gives the same lines.
import type { EventView, GroupView, NodeView, PeerView, StatusView } from '../transport/types.ts';
import { formatDuration } from '../base/duration.ts';
import { diskLevel, diskText, disksOf } from '../cluster/disk-room.ts';
import { formatBytes, formatClock, formatClockMs, shorten, wrap } from './format.ts';
import { HEALTH_STYLE, healthOf } from './health.ts';
import type { Paint, Style } from './paint.ts';
import { phaseTrail } from './phase-trail.ts';
import { probeRefusalTexts } from './probe-refusals.ts';
import { renderOverview, renderWatched, troubled } from './render-groups.ts';
import { formationOf } from './status-scope.ts';
import { renderTable, type Cell, type Column } from './table.ts';

export interface RenderOptions {
  readonly width: number;
  readonly paint: Paint;
  /** The latest events, for the trail of phases; may be empty. */
  readonly events: readonly EventView[];
}

const TRAIL_LINE_COUNT = 6;

/** Lines without line ends: headline, reasons, groups with their nodes, peers, phases, warnings. */
export function renderStatus(status: StatusView, options: RenderOptions): string[] {
  return [
    ...headline(status, options),
    ...renderGroups(status, options),
    ...renderWatched(status.watched ?? [], options),
    '',
    ...renderPeers(status, options),
    ...renderTrail(options),
    ...renderWarnings(status.warnings, options),
  ];
}

/** All of them in full; of many a line each, and in full those in trouble. */
function renderGroups({ groups }: StatusView, options: RenderOptions): string[] {
  const inTrouble = troubled(groups);
  return [
    ...(inTrouble === undefined ? [] : ['', ...renderOverview(groups, options)]),
    ...(inTrouble ?? groups).flatMap((group) => ['', ...renderGroup(group, options)]),
  ];
}

/** `shop: healthy, leader b (term 4), answered by a at 04:12:31`, then why it is not healthy. */
function headline(status: StatusView, options: RenderOptions): string[] {
  const { word, reasons } = healthOf(status);
  const incarnation = status.incarnation ?? 1;
  const term = `term ${status.term}${incarnation > 1 ? `, incarnation ${incarnation}` : ''}`;
  const leader = status.leader === undefined ? term : `leader ${status.leader} (${term})`;
  const rest = `, ${leader}, answered by ${status.answeredBy} at ${formatClock(status.atMs)}`;
  const [first = '', ...more] = wrap('', `${status.cluster}: ${word}${rest}`, options.width);
  const start = `${status.cluster}: `;
  const painted = first.startsWith(`${start}${word}`)
    ? options.paint('bold', start) +
      options.paint(HEALTH_STYLE[word], word) +
      first.slice(start.length + word.length)
    : first;
  const why = reasons.flatMap((reason) => wrap('  - ', reason, options.width));
  return [
    painted,
    ...more.map((line) => `  ${line}`),
    ...why.map((line) => options.paint(HEALTH_STYLE[word], line)),
  ];
}

const PHASE_STYLE: Readonly<Record<string, Style>> = {
  running: 'green',
  following: 'green',
  creating: 'yellow',
  fencing: 'yellow',
  promoting: 'yellow',
};

/** Well is a primary that runs and a standby that streams; on the way to that is yellow. */
function stateStyle(node: NodeView): Style {
  if (node.state === (node.role === 'primary' ? 'running' : 'streaming')) return 'green';
  return ['stopped', 'failed', 'unknown'].includes(node.state) ? 'red' : 'yellow';
}

const NODE_COLUMNS: readonly Column[] = [
  { title: 'NODE', least: 8 },
  { title: 'ROLE' },
  { title: 'STATE', least: 9 },
  { title: 'TL', align: 'right', drop: 2 },
  { title: 'LSN', drop: 1 },
  { title: 'LAG', align: 'right' },
  { title: 'SYNC', drop: 3 },
  { title: 'PEER', drop: 5 },
  { title: 'ADDRESS', drop: 4 },
];

function renderGroup(group: GroupView, options: RenderOptions): string[] {
  const { paint, width } = options;
  const primary = group.nodes.find((node) => node.node === group.primary);
  const timeline = primary?.timeline ?? Math.max(0, ...group.nodes.map((node) => node.timeline ?? 0));
  const facts = [
    `epoch ${group.epoch}`,
    ...(timeline > 0 ? [`timeline ${timeline}`] : []),
    `durability ${group.durability}`,
    ...(formationOf(group) === 'default' ? [] : [`formation ${formationOf(group)}`]),
  ];
  const header = wrap('', `group ${group.group}: ${group.phase}, ${facts.join(', ')}`, width);
  const style = PHASE_STYLE[group.phase] ?? 'red';
  const [first = '', ...more] = header;
  const lines = [
    first.replace(`: ${group.phase}`, `: ${paint(style, group.phase)}`),
    ...more.map((line) => `  ${line}`),
    ...wrap('  ', explain(group), width),
  ];
  const rows = group.nodes.map(nodeRow);
  const table = renderTable({ columns: NODE_COLUMNS, rows, width, indent: '  ', paint });
  const [titles = '', ...nodeLines] = table;
  lines.push(titles);
  for (const [at, node] of group.nodes.entries()) {
    lines.push(nodeLines[at] ?? '');
    if (node.heldDownBy.length > 0)
      lines.push(...note(`held for down by ${node.heldDownBy.join(', ')}`, 'red', options));
    if (node.message !== undefined) lines.push(...note(node.message, 'yellow', options));
    for (const text of probeRefusalTexts(node)) lines.push(...note(text, 'yellow', options));
    lines.push(...diskLines(node, options));
    for (const bar of new Set([node.notPromoted, node.notCounted]))
      if (bar !== undefined) lines.push(...remark(bar, options));
    if (node.upstream !== undefined)
      lines.push(...upstreamLines(node, node.upstream, { ...options, primary: group.primary }));
    const pending = node.pendingRestart ?? [];
    if (pending.length > 0) lines.push(...note(`pending restart: ${pending.join(', ')}`, 'yellow', options));
  }
  return lines;
}

/** Of disks that run full. */
function diskLines({ upkeep }: NodeView, options: RenderOptions): string[] {
  return disksOf(upkeep).flatMap((disk) => {
    const level = diskLevel(disk);
    return level === 'ok' ? [] : note(diskText(disk), level === 'low' ? 'yellow' : 'red', options);
  });
}

function upstreamLines(
  { upstreamUsed }: NodeView,
  upstream: string,
  { primary, ...options }: RenderOptions & Pick<GroupView, 'primary'>,
): string[] {
  if (upstreamUsed !== true && upstream === primary)
    return remark(`streams from ${upstream}, its upstream, which is the primary now`, options);
  return upstreamUsed === true
    ? remark(`streams from ${upstream}`, options)
    : note(
        `follows the primary until ${upstream}, its upstream, has been well for a while`,
        'yellow',
        options,
      );
}

/** What the phase and the rule mean for whoever writes to the group now. */
function explain(group: GroupView): string {
  const primary = group.primary ?? 'the primary';
  switch (group.phase) {
    case 'creating':
      if (group.isReplacingDatabase === true)
        return `${primary} alone has the database that the group goes on with; writes wait until that runs there`;
      return `making the first primary, ${primary}; no writes yet`;
    case 'following':
      if (group.isDoubtful === true)
        return `a standby of another site before the log was recovered, and perhaps promoted since: its nodes are left as they are until sentinelctl site lead NODE or sentinelctl site promote ${group.group} says how it goes on`;
      return `a standby of another site: ${primary} streams from ${group.source ?? 'there'}, the others from it; no writes here before sentinelctl site promote ${group.group}`;
    case 'fencing':
      if (group.source !== undefined)
        return 'a standby of another site no longer: every node ends its WAL streams and says where it stands; no writes before the one that holds the most is the primary';
      return `cutting ${primary} off; writes wait until a node that has every acknowledged commit is chosen`;
    case 'promoting':
      return `promoting ${primary}; writes wait until it is open`;
  }
  const rule = explainRule(group.rule, primary);
  return group.ruleChange === undefined ? rule : `${rule}; changing to ${group.ruleChange}`;
}

function explainRule(rule: string, primary: string): string {
  if (rule === 'alone') return `every commit is on ${primary} alone`;
  return rule.startsWith('none')
    ? `commits wait for no standby; the last ones may be lost: ${rule.replace(/^none \((.*)\)$/, '$1')}`
    : `every commit is on ${rule}`;
}

function nodeRow(node: NodeView): Cell[] {
  const primary = node.role === 'primary';
  const lagging = (node.lagBytes ?? 0) > 16 * 1024 * 1024;
  return [
    { text: node.node, style: primary ? 'bold' : undefined },
    { text: node.role === 'none' ? '-' : node.role, style: primary ? 'bold' : undefined },
    { text: node.state, style: stateStyle(node) },
    { text: node.timeline === undefined ? '?' : String(node.timeline) },
    { text: node.lsn ?? '?' },
    {
      text: primary ? '-' : node.lagBytes === undefined ? '?' : formatBytes(node.lagBytes),
      style: lagging ? 'yellow' : undefined,
    },
    { text: node.sync ?? '-' },
    { text: node.peer },
    { text: node.address },
  ];
}

function note(text: string, style: Style, { width, paint }: RenderOptions): string[] {
  return wrap('    ! ', text, width).map((line) => paint(style, line));
}

/** What its owner has said of it: no trouble. */
function remark(text: string, { width, paint }: RenderOptions): string[] {
  return wrap('    - ', text, width).map((line) => paint('dim', line));
}

const PEER_COLUMNS: readonly Column[] = [
  { title: 'PEER', least: 8 },
  { title: 'RAFT' },
  { title: 'CONTACT' },
  { title: 'LOG', align: 'right', drop: 2 },
  { title: 'NODES', drop: 3, least: 8 },
  { title: 'ADDRESS', drop: 1 },
];

function renderPeers(status: StatusView, { width, paint }: RenderOptions): string[] {
  const nodes = status.groups.flatMap((group) => group.nodes);
  // Only the leader knows how far the others are; a column of question marks would look like trouble.
  const known = status.peers.some((peer) => peer.peer !== status.answeredBy && peer.matchIndex !== undefined);
  const isSetUp = status.groups.some((group) => group.phase !== 'creating' || group.isReplacingDatabase);
  const rows = status.peers.map((peer): Cell[] => {
    const own = nodes.filter((node) => node.peer === peer.peer).map((node) => node.node);
    const behind = peer.matchIndex === undefined ? undefined : status.commitIndex - peer.matchIndex;
    return [
      { text: peer.peer, style: peer.role === 'leader' ? 'bold' : undefined },
      { text: raftText(peer), style: peer.role === 'leader' ? 'bold' : undefined },
      peer.peer === status.answeredBy
        ? { text: 'answered', style: 'green' }
        : peer.reachable
          ? { text: 'ok', style: 'green' }
          : { text: 'lost', style: 'red' },
      ...(known ? [{ text: behind === undefined ? '?' : behind <= 0 ? 'current' : `${behind} behind` }] : []),
      // A peer that was never heard may yet bring a node.
      { text: own.length > 0 ? own.join(', ') : isWitness(peer, isSetUp) ? 'witness' : '-' },
      { text: peer.address },
    ];
  });
  const columns = PEER_COLUMNS.filter((column) => known || column.title !== 'LOG');
  const reachable = status.peers.filter((peer) => peer.reachable || peer.peer === status.answeredBy).length;
  const voters = status.peers.filter(isVoter).length;
  const title = `peers: ${reachable} of ${status.peers.length} in contact, ${Math.floor(voters / 2) + 1} decide, log at ${status.commitIndex}`;
  return [...wrap('', title, width), ...renderTable({ columns, rows, width, indent: '  ', paint })];
}

/** By its own word; one of an older version is taken for one where there are groups and it brings no node. */
function isWitness({ runs, reachable }: PeerView, isSetUp: boolean): boolean {
  return runs === undefined ? isSetUp && reachable : runs === '';
}

/** The role in the log; of peers that do not vote, that they do not. */
function raftText(peer: PeerView): string {
  if (!isVoter(peer)) return peer.kind ?? '?';
  return peer.role === 'unknown' ? '?' : peer.role;
}

function isVoter(peer: PeerView): boolean {
  return peer.kind === undefined || peer.kind === 'voter';
}

function renderTrail({ events, width, paint }: RenderOptions): string[] {
  const trail = phaseTrail(events, TRAIL_LINE_COUNT);
  if (trail.length === 0) return [];
  const several = new Set(trail.map((change) => change.group)).size > 1;
  const lines = trail.map((change) => {
    const since = change.sinceMs === undefined ? '' : `+${formatDuration(change.sinceMs)}`;
    const group = several ? `${change.group} ` : '';
    const start = `  ${formatClockMs(change.atMs)} ${since.padStart(7)}  ${group}`;
    const line = shorten(`${start}${change.phase.padEnd(9)}  ${change.text}`, width);
    const style = PHASE_STYLE[change.phase] ?? 'dim';
    return line.startsWith(start + change.phase)
      ? start + paint(style, change.phase) + line.slice(start.length + change.phase.length)
      : line;
  });
  return ['', 'latest phases', ...lines];
}

function renderWarnings(warnings: readonly string[], { width, paint }: RenderOptions): string[] {
  if (warnings.length === 0) return [];
  const lines = warnings.flatMap((warning) => wrap('  ! ', warning, width));
  return ['', 'warnings', ...lines.map((line) => paint('yellow', line))];
}
