// What `sentinelctl node check` finds of one node: judged from the status alone, as Nagios words it. Pure.
// What is not known never passes for well.
import type { GroupView, NodeView, StatusView, WatchedView } from '../transport/types.ts';
import { FREE_PERCENT_LIMIT, disksOf } from '../cluster/disk-room.ts';
import { slotWarnings } from '../cluster/slot-warnings.ts';
import { formatDuration } from '../base/duration.ts';
import { formatBytes } from './format.ts';
import { WAITS_FOR_DATABASE } from './health.ts';
import { probeRefusalTexts } from './probe-refusals.ts';

/** From best to worst: whoever is told only the worst must not be told `unknown` where something is known to be wrong. */
export const LEVELS = ['OK', 'UNKNOWN', 'WARNING', 'CRITICAL'] as const;
export type Level = (typeof LEVELS)[number];

/** Above `warning` (or below it, of what is free) is a warning. */
export interface Limit {
  readonly warning: number;
  readonly critical: number;
}

export interface Limits {
  readonly lagBytes: Limit;
  /** WAL that replication slots keep. */
  readonly keptBytes: Limit;
  /** Of the disks of the data directory and of `pg_wal`. */
  readonly freePercent: Limit;
  /** Files that wait to be archived. */
  readonly readyCount: Limit;
}

export const DEFAULT_LIMITS: Limits = {
  lagBytes: { warning: 64 * 2 ** 20, critical: 2 ** 30 },
  keptBytes: { warning: 2 ** 30, critical: 10 * 2 ** 30 },
  freePercent: FREE_PERCENT_LIMIT,
  readyCount: { warning: 100, critical: 1000 },
};

/** One figure for graphs. */
export interface Figure {
  readonly label: string;
  readonly value: number;
  readonly unit: 'B' | '%' | '';
  readonly limit?: Limit | undefined;
  /** It is below the limit that is bad. */
  readonly isLeast?: boolean | undefined;
}

interface Finding {
  readonly level: Level;
  readonly text: string;
}

export interface NodeCheck {
  readonly node: string;
  readonly group: string;
  readonly level: Level;
  /** The worst first. */
  readonly findings: readonly Finding[];
  readonly figures: readonly Figure[];
}

const NOT_REPORTED = 'not reported: ';

/**
 * Whether nothing is known to be wrong, and figures are missing of agents that do report: right after a start or a failover they are some seconds from
 * being read.
 */
export function isOnlyUnreported(checks: readonly NodeCheck[]): boolean {
  const findings = checks.flatMap((each) => each.findings.filter(({ level }) => level !== 'OK'));
  return findings.length > 0 && findings.every(({ text }) => text.startsWith(NOT_REPORTED));
}

/** Of the nodes of all groups and the servers that are only watched, in their order; `only`: of that one. */
export function checkNodes(status: StatusView, limits: Limits, only?: string): NodeCheck[] {
  const isMeant = (name: string): boolean => only === undefined || name === only;
  return [
    ...status.groups.flatMap((group) =>
      group.nodes.filter(({ node }) => isMeant(node)).map((node) => checkNode(status, group, node, limits)),
    ),
    ...(status.watched ?? [])
      .filter(({ server }) => isMeant(server))
      .map((server) => checkWatched(status, server, limits)),
  ];
}

/** By the word of the voters' majority; how far a standby is, as the answering peer sees it. */
function checkWatched(status: StatusView, server: WatchedView, limits: Limits): NodeCheck {
  const figures: Figure[] =
    server.lagBytes === undefined
      ? []
      : [{ label: 'lag', value: server.lagBytes, unit: 'B', limit: limits.lagBytes }];
  const findings = [...watchedFindings(status, server, figures)].toSorted(
    (a, b) => LEVELS.indexOf(b.level) - LEVELS.indexOf(a.level),
  );
  const level = worst(findings.map((finding) => finding.level));
  return { node: server.server, group: '', level, findings, figures };
}

function* watchedFindings(
  status: StatusView,
  server: WatchedView,
  figures: readonly Figure[],
): Iterable<Finding> {
  if (status.leader === undefined) yield noLeader(status);
  if (server.state === 'down')
    yield { level: 'CRITICAL', text: `it is down (${server.heldDownBy.join(', ')})` };
  else if (server.state === 'unknown')
    yield { level: 'UNKNOWN', text: 'no majority of the voters has seen it yet' };
  else if (server.role === 'none')
    yield {
      level: 'UNKNOWN',
      text: `it is up, and its role is not known: ${server.message ?? 'it did not say'}`,
    };
  else if (server.message !== undefined) yield { level: 'WARNING', text: server.message };
  for (const figure of figures) {
    const level = levelOf(figure);
    if (level !== 'OK') yield { level, text: `it has ${formatBytes(figure.value)} to replay` };
  }
}

const noLeader = (status: StatusView): Finding => ({
  level: 'UNKNOWN',
  text: `peer ${status.answeredBy} knows of no Raft leader: what it shows may be old`,
});

export function worst(levels: readonly Level[]): Level {
  return levels.reduce<Level>(
    (found, level) => (LEVELS.indexOf(level) > LEVELS.indexOf(found) ? level : found),
    'OK',
  );
}

function checkNode(status: StatusView, group: GroupView, node: NodeView, limits: Limits): NodeCheck {
  const figures = figuresOf(node, limits);
  const findings = [
    ...logFindings(status, group, node),
    ...roleFindings(status, group, node),
    ...replicationFindings(group, node),
    ...probeFindings(node),
    ...upkeepFindings(node, figures),
  ].toSorted((a, b) => LEVELS.indexOf(b.level) - LEVELS.indexOf(a.level));
  const level = worst(findings.map((finding) => finding.level));
  return { node: node.node, group: group.group, level, findings, figures };
}

const isAside = (node: NodeView): boolean => node.fenced === true || node.paused !== undefined;
const isPrimaryBy = (group: GroupView, node: NodeView): boolean =>
  group.phase !== 'following' && group.primary === node.node;

function* logFindings(status: StatusView, group: GroupView, node: NodeView): Iterable<Finding> {
  if (status.leader === undefined) yield noLeader(status);
  const isPrimary = isPrimaryBy(group, node);
  switch (group.phase) {
    case 'running':
    case 'following':
      break;
    case 'creating':
      yield group.isReplacingDatabase === true
        ? { level: isPrimary ? 'CRITICAL' : 'WARNING', text: `group ${group.group} ${WAITS_FOR_DATABASE}` }
        : { level: 'WARNING', text: `group ${group.group} is being created` };
      break;
    default:
      yield { level: isPrimary ? 'CRITICAL' : 'WARNING', text: `group ${group.group} is failing over` };
  }
  if (isPrimary && group.paused !== undefined)
    yield {
      level: 'WARNING',
      text: `group ${group.group} is paused: it does not fail over by itself`,
    };
  if (node.fenced === true) yield { level: 'WARNING', text: 'it is fenced' };
  if (node.paused !== undefined)
    yield { level: 'WARNING', text: node.paused.maintenance ? 'it is in maintenance' : 'it is paused' };
}

/** That PostgreSQL is what the log says. */
function* roleFindings(status: StatusView, group: GroupView, node: NodeView): Iterable<Finding> {
  const isPrimary = isPrimaryBy(group, node);
  if (node.heldDownBy.length > 0)
    yield {
      level: isPrimary || node.state === 'unknown' ? 'CRITICAL' : 'WARNING',
      text: `it is held for down (${node.heldDownBy.join(', ')})`,
    };
  const says = node.message === undefined ? '' : `: ${node.message}`;
  if (node.state === 'unknown') yield silence(status, node);
  else if (isPrimary) yield* primaryFindings(node, says);
  else if (node.role === 'primary')
    yield {
      level: 'CRITICAL',
      text: `it runs as a primary, which ${group.primary ?? 'none'} is by the log`,
    };
  else if (node.state === 'streaming') {
    if (node.message !== undefined) yield { level: 'WARNING', text: node.message };
  } else if (!isAside(node)) {
    const isOnItsWay = ['cloning', 'rewinding', 'starting', 'promoting', 'cut'].includes(node.state);
    const text =
      node.state === 'running' ? `it runs, but does not stream${says}` : `it is ${node.state}${says}`;
    yield { level: isOnItsWay ? 'WARNING' : 'CRITICAL', text };
  }
}

/** An agent that is being restarted is back before. */
const LOST_AFTER_MS = 30_000;

/** A host that is gone, too, nobody may hold for down: a former primary's that the group has failed over from. */
function silence(status: StatusView, node: NodeView): Finding {
  const { silentMs } = node;
  // A peer that is cut off hears of nobody.
  const isLost = silentMs !== undefined && silentMs > LOST_AFTER_MS && status.leader !== undefined;
  if (!isLost || isAside(node)) return { level: 'UNKNOWN', text: 'its agent does not report' };
  return {
    level: 'CRITICAL',
    text: `its agent has not reported for ${formatDuration(silentMs)} (peer ${node.peer})`,
  };
}

function* probeFindings(node: NodeView): Iterable<Finding> {
  for (const text of probeRefusalTexts(node)) yield { level: 'WARNING', text };
}

function* primaryFindings(node: NodeView, says: string): Iterable<Finding> {
  if (node.role !== 'primary' || node.state !== 'running') {
    yield { level: 'CRITICAL', text: `it is the primary by the log, but ${node.state}${says}` };
    return;
  }
  if (node.message !== undefined) yield { level: 'WARNING', text: node.message };
  if (node.guarded === false) yield { level: 'WARNING', text: 'no guard watches over it' };
}

function* replicationFindings(group: GroupView, node: NodeView): Iterable<Finding> {
  if (group.phase === 'following') {
    if (node.state === 'streaming' && node.lagBytes === undefined)
      yield { level: 'UNKNOWN', text: 'how far it is behind the other site is not known' };
    return;
  }
  if (group.phase !== 'running') return;
  if (isPrimaryBy(group, node)) {
    if (group.rule === 'alone' && group.durability !== 'async')
      yield { level: 'WARNING', text: 'commits are on it alone' };
    return;
  }
  if (node.state !== 'streaming') return;
  if (node.lagBytes === undefined) yield { level: 'UNKNOWN', text: 'how far it is behind is not known' };
  if (node.upstream !== undefined && node.upstreamUsed !== true && node.upstream !== group.primary)
    yield { level: 'WARNING', text: `it follows the primary, not ${node.upstream}, its upstream` };
  // A cascading standby never does.
  const isToCount = group.durability !== 'async' && !isAside(node) && node.upstream === undefined;
  if (isToCount && node.counted === false) yield { level: 'WARNING', text: 'it does not count for commits' };
}

function* upkeepFindings(node: NodeView, figures: readonly Figure[]): Iterable<Finding> {
  if (node.state === 'unknown') return;
  for (const figure of figures) {
    const level = levelOf(figure);
    if (level !== 'OK') yield { level, text: TEXTS[figure.label]?.(figure, node) ?? figure.label };
  }
  const { upkeep } = node;
  for (const { kind, text } of slotWarnings(upkeep))
    yield { level: kind === 'lost' ? 'CRITICAL' : 'WARNING', text };
  const missing: string[] = [];
  if (upkeep?.dataDisk === undefined) missing.push('disk');
  else if (upkeep.walDisk === undefined) missing.push('disk of pg_wal');
  // Only PostgreSQL itself says these, and where it is to run it has just been said that it does not.
  if (node.role !== 'none') {
    if (upkeep?.slots === undefined) missing.push('slots');
    if (upkeep?.archiver === undefined) missing.push('archiver');
    else if (upkeep.archiver.isFailing) yield { level: 'WARNING', text: 'its last WAL was not archived' };
    if (upkeep?.archiver?.isOn === true && upkeep.readyCount === undefined) missing.push('WAL to archive');
    if (upkeep?.pendingRestart === undefined) missing.push('settings');
    // The agent also knows of those that it holds back until another node is restarted.
    const pending = new Set([...(upkeep?.pendingRestart ?? []), ...(node.pendingRestart ?? [])]);
    if (pending.size > 0)
      yield { level: 'WARNING', text: `it needs a restart for ${[...pending].sort().join(', ')}` };
  }
  if (missing.length > 0) yield { level: 'UNKNOWN', text: `${NOT_REPORTED}${missing.join(', ')}` };
}

const TEXTS: Readonly<Record<string, (figure: Figure, node: NodeView) => string>> = {
  lag: ({ value }) => `it is ${formatBytes(value)} behind`,
  data_free: ({ value }) => `its disk has ${value} % free`,
  wal_free: ({ value }) => `its disk of pg_wal has ${value} % free`,
  slots_kept: ({ value }, { upkeep }) =>
    `slot ${upkeep?.slots?.most ?? '?'} keeps ${formatBytes(value)} of WAL`,
  archive_ready: ({ value }) => `${value} files of WAL wait to be archived`,
};

function levelOf({ value, limit, isLeast }: Figure): Level {
  if (limit === undefined) return 'OK';
  const isBeyond = (bound: number): boolean => (isLeast === true ? value < bound : value > bound);
  return isBeyond(limit.critical) ? 'CRITICAL' : isBeyond(limit.warning) ? 'WARNING' : 'OK';
}

function figuresOf(node: NodeView, limits: Limits): Figure[] {
  const { upkeep } = node;
  const figures: Figure[] = [];
  const bytes = (label: string, value: number | undefined, limit: Limit): void => {
    if (value !== undefined) figures.push({ label, value, unit: 'B', limit });
  };
  const free = (label: string, value: number): void =>
    void figures.push({ label, value, unit: '%', limit: limits.freePercent, isLeast: true });
  bytes('lag', node.role === 'standby' ? node.lagBytes : undefined, limits.lagBytes);
  for (const { which, freePercent } of disksOf(upkeep)) free(`${which}_free`, freePercent);
  bytes('slots_kept', upkeep?.slots?.keptBytes, limits.keptBytes);
  const waits = upkeep?.archiver?.isOn === true ? upkeep.readyCount : undefined;
  if (waits !== undefined)
    figures.push({ label: 'archive_ready', value: waits, unit: '', limit: limits.readyCount });
  return figures;
}
