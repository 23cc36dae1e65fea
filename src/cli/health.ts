// How the cluster is, in a word, with the reasons. Pure. The word decides the exit code of `status --exit-code`.
import type { GroupView, NodeView, StatusView, WatchedView } from '../transport/types.ts';
import type { Style } from './paint.ts';

/** From best to worst. */
const WORDS = ['healthy', 'degraded', 'starting', 'failing over', 'down', 'no leader'] as const;
export type HealthWord = (typeof WORDS)[number];

export interface Health {
  readonly word: HealthWord;
  /** What keeps it from being healthy, one clause each. */
  readonly reasons: readonly string[];
}

/** Plugins for Nagios: 0 ok, 1 warning, 2 critical (3, unknown, is that no peer answered). */
export const NAGIOS: Record<HealthWord, 0 | 1 | 2> = {
  healthy: 0,
  degraded: 1,
  starting: 1,
  'failing over': 2,
  down: 2,
  'no leader': 2,
};

export const HEALTH_STYLE: Record<HealthWord, Style> = {
  healthy: 'green',
  degraded: 'yellow',
  starting: 'yellow',
  'failing over': 'yellow',
  down: 'red',
  'no leader': 'red',
};

type Finding = readonly [HealthWord, string];

/** The worst of what is found in leader, groups, nodes and peers. The daemon's own warnings make it degraded at least. */
export function healthOf(status: StatusView): Health {
  const findings: Finding[] = [
    ...leaderFindings(status),
    ...status.groups.flatMap(groupFindings),
    ...peerFindings(status),
    ...(status.watched ?? []).flatMap(watchedFindings),
  ];
  if (status.groups.length === 0) findings.push(['starting', 'no group has been created yet']);
  if (findings.length === 0 && status.warnings.length > 0) findings.push(['degraded', 'see the warnings']);
  const word = findings.reduce<HealthWord>(
    (worst, [found]) => (WORDS.indexOf(found) > WORDS.indexOf(worst) ? found : worst),
    'healthy',
  );
  return { word, reasons: findings.map(([, reason]) => reason) };
}

function leaderFindings(status: StatusView): Finding[] {
  if (status.leader !== undefined) return [];
  if (status.incarnation === 0)
    return [['starting', `peer ${status.answeredBy} is not a member of the cluster yet`]];
  return [['no leader', `peer ${status.answeredBy} knows of no leader, so what it shows may be old`]];
}

function peerFindings(status: StatusView): Finding[] {
  const lost = status.peers.filter((peer) => !peer.reachable).map((peer) => peer.peer);
  if (lost.length === 0) return [];
  return [
    [
      'degraded',
      `peer${lost.length > 1 ? 's' : ''} ${lost.join(', ')} cannot be reached from ${status.answeredBy}`,
    ],
  ];
}

/** Whoever has a server watched wants to hear of it. */
function watchedFindings({ server, state }: WatchedView): Finding[] {
  return state === 'down' ? [['degraded', `${server}, which is only watched, is down`]] : [];
}

/** Of a group whose database has been replaced. */
export const WAITS_FOR_DATABASE = 'goes on with another database, and all writes wait until that runs';

/** What keeps the group from being healthy. */
export function groupFindings(group: GroupView): Finding[] {
  const inGroup = (text: string): string => `${text} (group ${group.group})`;
  switch (group.phase) {
    case 'creating':
      if (group.isReplacingDatabase === true) return [['down', inGroup(`it ${WAITS_FOR_DATABASE}`)]];
      return [
        [
          'starting',
          inGroup(
            `the first primary${group.primary === undefined ? '' : `, ${group.primary},`} is being made`,
          ),
        ],
      ];
    case 'following':
      if (group.isDoubtful === true)
        return [['down', inGroup('the log was recovered, and a person has to say how it goes on')]];
      return followingFindings(group, inGroup);
    case 'fencing':
      if (group.source !== undefined)
        return [['failing over', inGroup('a standby of another site no longer, it has no primary yet')]];
      return [['failing over', inGroup(`${group.primary ?? 'the primary'} is being cut off`)]];
    case 'promoting':
      return [['failing over', inGroup(`${group.primary ?? 'the candidate'} is being promoted`)]];
  }
  const findings = group.nodes.flatMap((node) => nodeFindings(node, node.node === group.primary));
  for (const { node, probeRefusals = [] } of group.nodes)
    if (probeRefusals.length > 0)
      findings.push([
        'degraded',
        `${node} does not let in the probes of ${probeRefusals.map(({ peer }) => peer).join(', ')}`,
      ]);
  if (group.paused !== undefined)
    findings.push(['degraded', inGroup('it is paused, and does not fail over by itself')]);
  if (group.primary === undefined) findings.push(['down', inGroup('there is no primary')]);
  if (group.rule === 'alone' && group.durability !== 'async') {
    findings.push([
      'degraded',
      inGroup(
        `commits are on ${group.primary ?? 'the primary'} alone, so nothing can fail over without loss`,
      ),
    ]);
  }
  return findings;
}

/** Nothing is to take writes; what can be amiss is that it does not get what the other site writes. */
function followingFindings(group: GroupView, inGroup: (text: string) => string): Finding[] {
  return group.nodes.flatMap((node): Finding[] => {
    const isLeader = node.node === group.primary;
    if (!isLeader || (node.state === 'streaming' && node.heldDownBy.length === 0))
      return nodeFindings(node, false);
    const what = node.state === 'unknown' ? 'its agent does not report' : `it is ${node.state}`;
    return [
      ['degraded', inGroup(`${node.node} does not stream from the other site, as far as is known: ${what}`)],
    ];
  });
}

function nodeFindings(node: NodeView, isPrimary: boolean): Finding[] {
  if (isPrimary) {
    // Without a report its PostgreSQL may well be up: only its agent is known to be silent.
    if (node.state === 'unknown' && node.heldDownBy.length === 0)
      return [['degraded', `the agent of ${node.node} (primary) does not report`]];
    if (node.heldDownBy.length > 0)
      return [
        [
          'down',
          `${node.node} (primary) is held for down by ${node.heldDownBy.length === 1 ? 'a peer' : `${node.heldDownBy.length} peers`}`,
        ],
      ];
    return node.state === 'running' ? [] : [['down', `${node.node} (primary) is ${node.state}`]];
  }
  if (node.state === 'streaming' && node.heldDownBy.length === 0) return [];
  return [
    [
      'degraded',
      node.state === 'unknown'
        ? `the agent of ${node.node} does not report`
        : `${node.node} is ${node.state === 'maintenance' ? 'in maintenance' : node.state}`,
    ],
  ];
}
