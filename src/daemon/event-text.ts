// One sentence for each kind of log entry, for `sentinelctl events` and the demo. For people only.
import { formatDuration } from '../base/duration.ts';
import { type Lsn, formatLsn } from '../base/lsn.ts';
import type { GroupId, NodeId } from '../base/ids.ts';
import type { CommandOf } from '../cluster/applied.ts';
import type {
  Command,
  GroupSettings,
  Leaving,
  LogicalSlotChange,
  ParameterChange,
  SyncRule,
} from '../cluster/commands.ts';
import { logicalSlotText } from '../cluster/logical-slots.ts';
import type { ClusterEvent, ClusterState } from '../cluster/state.ts';
import type { EventView } from '../transport/types.ts';
import { EVIDENCE } from './evidence-text.ts';
import { declarationText, judgementText, watchedText } from './host-texts.ts';

/** The group an event is about, or undefined for one about the cluster as a whole. */
export function groupOf(state: ClusterState, command: Command): GroupId | undefined {
  if ('group' in command) return command.group;
  if (command.kind === 'declare-host') return command.host.runs?.group;
  if (!('node' in command)) return undefined;
  // What is said of a node that was removed since belongs to the history of its group all the same.
  return (state.nodes.get(command.node) ?? state.removed.get(command.node))?.group;
}

export function eventView(state: ClusterState, event: ClusterEvent): EventView {
  return {
    index: event.index,
    atMs: event.proposedAtMs,
    group: groupOf(state, event.command),
    kind: event.command.kind,
    text: eventText(event.command, (member) => nodeOfMember(state, member)),
    refused: event.refused,
  };
}

/** `pg2` for `pg2_1f2e3d4c`, as far as the member is registered. */
export function nodeOfMember(state: ClusterState, member: string): NodeId | string {
  for (const node of state.nodes.values()) if (node.member === member) return node.node;
  return member;
}

/** For people: `every commit is on 1 of pg2, pg3`, or `no standby: commits are on the primary alone`. */
export function ruleText(rule: SyncRule, name: (member: string) => string): string {
  if (rule.acks === 0) return rule.leased === true ? 'none (async, under a lease)' : 'alone';
  const members = rule.members.map(name).sort().join(', ');
  return rule.acks > rule.members.length
    ? `${rule.acks} of ${members === '' ? 'nobody' : `only ${members}`} (writes wait for further standbys)`
    : `${rule.acks} of ${members}`;
}

function eventText(command: Command, name: (member: string) => string): string {
  switch (command.kind) {
    case 'register-node':
      return `${command.node} registered at ${command.host}:${command.port} by peer ${command.peer}${command.member === undefined ? ', no data yet' : ` as ${command.member}`}${optionsText(command)}`;
    case 'create-group':
      return `group ${command.group} created, first primary ${command.primary}`;
    case 'group-ready':
      return `group ${command.group} takes writes on timeline ${command.timeline}`;
    case 'subjective-down':
      return `peer ${command.peer} holds ${command.node} for down: ${EVIDENCE[command.evidence]}`;
    case 'subjective-up':
      return `peer ${command.peer} finds ${command.node} up again`;
    case 'begin-failover':
      return beginText(command);
    case 'cut-report':
      return `${command.node} ${command.stopped ? 'stopped' : 'cut its WAL streams'} at timeline ${command.timeline}, ${formatLsn(command.position)}`;
    case 'promote':
      return `${command.candidate} chosen for promotion to timeline ${command.timeline}; ${command.rule.acks === 0 ? 'commits wait for no standby at first' : `commits: ${ruleText(command.rule, name)}`}`;
    case 'promoted':
      return `${command.node} is primary on timeline ${command.timeline} from ${formatLsn(command.switchLsn)}`;
    case 'promotion-failed':
      return `promotion of ${command.node} failed: ${command.reason}`;
    case 'fetch-wal':
      return `${command.node} is to be promoted and fetches what it lacks from ${command.from}`;
    case 'fetch-failed':
      return `${command.node} could not fetch what it lacks: ${command.reason}`;
    case 'use-upstream':
      return command.upstream === undefined
        ? `${command.node} follows the primary: its upstream is not well, or it does not stream from it`
        : `${command.node} follows ${command.upstream}, its upstream`;
    case 'resume':
      return `false alarm: group ${command.group} goes on with its primary`;
    case 'begin-rule-change':
      return command.next.acks === 0 && command.next.leased !== true
        ? 'durability is degraded: synchronous commit is changing to alone, commits are then on the primary only'
        : `synchronous commit is changing to ${ruleText(command.next, name)}`;
    case 'commit-rule':
      return 'synchronous commit has changed';
    case 'floor-passed':
      return 'standbys hold the switch point of the last promotion';
    case 'change-settings':
      return `settings of group ${command.group} change: ${changeText(command.settings)}`;
    case 'configure':
      return configureText(command);
    case 'fence-node':
      return `${command.node} is fenced: its PostgreSQL is stopped and stays so`;
    case 'unfence-node':
      return `${command.node} is no longer fenced`;
    case 'acknowledge-failovers':
      return `the failovers of group ${command.group} were acknowledged: it may fail over by itself`;
    case 'node-off':
      return `${command.node} is off, by the word of ${command.by === 'operator' ? 'a person' : 'the fence command'}`;
    case 'fence-failed':
      return `the fence command could not switch ${command.node} off: ${command.reason}`;
    case 'schedule-switchover':
      if (command.at === undefined && command.onlyAtMs !== undefined)
        return `the switchover of group ${command.group} that was scheduled for ${new Date(command.onlyAtMs).toISOString()} is given up`;
      return command.at === undefined
        ? `no switchover of group ${command.group} is scheduled any more`
        : `a switchover of group ${command.group}${command.at.to === undefined ? '' : ` to ${command.at.to}`} is scheduled for ${new Date(command.at.atMs).toISOString()}`;
    case 'pause':
      return pauseText(command);
    case 'end-pause':
      return endPauseText(command);
    case 'remove-node':
      return `${command.node} is removed from group ${command.group}${LEAVING_TEXTS[command.leaving]}${command.acceptsLoss === true ? '; what it alone held, before the log was recovered, is given up' : ''}`;
    case 'readmit-node':
      return `${command.node} may join group ${command.group} again`;
    case 'adopt-group':
      return `group ${command.group} is made of servers that run: ${command.primary} is its primary${command.standbys.length === 0 ? '' : `, ${command.standbys.join(', ')} follow`}; it is not protected before ${command.primary} was restarted or switched over`;
    case 'replace-database':
      return `group ${command.group} goes on with the database of ${command.primary}, system identifier ${command.to}, in the place of ${command.from}; every other node joins it by a clone`;
    case 'node-adopted':
      return `${command.node} runs with settings of pg-sentinel now`;
    case 'restore-group':
      return restoreText(command);
    case 'schedule-restart':
      return scheduledRestartText(command);
    case 'lead-site':
      return command.epoch === undefined
        ? `group ${command.group} follows another site: ${command.node} streams from there, the others from it`
        : `${command.node} streams from the other site, the others from it${command.isAsked === true ? ', as a person has asked' : ''}`;
    case 'promote-site':
      return `group ${command.group} follows the other site no longer, as a person has asked: ${command.to === undefined ? 'its best node' : `${command.to}, and no other,`} becomes a primary`;
    case 'tell-site':
      return `the other site of group ${command.group} is on timeline ${command.history.timeline}, as ${command.node} was told there`;
    case 'open-session':
      return `peer ${command.peer} has started`;
    case 'mark-absent':
      return `${name(command.member)} is absent: its replication slots are kept for slot_retention`;
    case 'give-up-slot':
      return `${name(command.member)} was absent for slot_retention: its replication slots are given up; when it is back it is cloned, unless all that it lacks is still there`;
    case 'mark-present':
      return `${name(command.member)} is no longer absent: every node keeps a replication slot for it`;
    case 'logical-slot':
      return logicalSlotEvent(command);
    case 'set-feature-level':
      return `all peers are upgraded: feature level ${command.level} is in use`;
    case 'describe-peer':
      return `peer ${command.peer} is in ${command.site === undefined ? 'no site' : `site ${command.site}`}`;
    case 'declare-host':
      return declarationText(command);
    case 'judge-server':
      return judgementText(command);
    case 'conclude-server':
      return watchedText(command);
  }
}

function restoreText({ group, primary, reached }: CommandOf<'restore-group'>): string {
  if (reached === undefined)
    return `group ${group} is created from a backup: ${primary} runs its bootstrap command`;
  return `${primary} has recovered to ${reached.target}: ${reachedText(reached)}`;
}

/** For people: `timeline 1, 0/3000110, the last transaction of 2026-01-02T03:04:05.678Z`. */
function reachedText(reached: {
  readonly timeline: number;
  readonly position: Lsn;
  readonly lastTransactionMs: number | undefined;
}): string {
  const { timeline, position, lastTransactionMs } = reached;
  const last =
    lastTransactionMs === undefined
      ? 'no transaction after the backup'
      : `the last transaction of ${new Date(lastTransactionMs).toISOString()}`;
  return `timeline ${timeline}, ${formatLsn(position)}, ${last}`;
}

function scheduledRestartText({ node, at, onlyAtMs, outcome }: CommandOf<'schedule-restart'>): string {
  const time = (ms: number): string => new Date(ms).toISOString();
  if (at === undefined)
    return onlyAtMs === undefined
      ? `no restart of ${node} is scheduled any more`
      : `the restart of ${node} that was scheduled for ${time(onlyAtMs)}: ${outcome ?? 'given up'}`;
  if (at.serverStartedAtS !== undefined)
    return `the restart of ${node} that was scheduled for ${time(at.atMs)} begins`;
  return `a restart of ${node}${at.inPlace ? ', in place also as primary,' : ''} is scheduled for ${time(at.atMs)}`;
}

function optionsText({ options }: CommandOf<'register-node'>): string {
  if (options === undefined) return '';
  const { noFailover, noSync, applyDelayMs, upstream, source } = options;
  const words = [
    ...(noFailover ? ['never promoted'] : []),
    ...(noSync ? ['never counted'] : []),
    ...(applyDelayMs > 0 ? [`delayed by ${formatDuration(applyDelayMs)}`] : []),
    ...(upstream === undefined ? [] : [`upstream ${upstream}`]),
    ...(source === undefined ? [] : [`knows the other site at ${source}`]),
  ];
  return `; ${words.join(', ')}`;
}

const LEAVING_TEXTS: Record<Leaving, string> = {
  leave: '; its PostgreSQL is left running',
  stop: ', and its PostgreSQL stopped',
  destroy: ', its PostgreSQL stopped and its data directory destroyed',
};

function pauseText({ group, node, isMaintenance, untilMs }: CommandOf<'pause'>): string {
  const until = untilMs === undefined ? '' : ` until ${new Date(untilMs).toISOString()}`;
  if (node === undefined) return `group ${group} is paused${until}: it does not fail over by itself`;
  return isMaintenance
    ? `${node} is in maintenance${until}: its agent leaves its PostgreSQL as it is`
    : `${node} is paused${until}`;
}

function endPauseText({ group, node, onlyUntilMs }: CommandOf<'end-pause'>): string {
  const by = onlyUntilMs === undefined ? '' : ', its time being over';
  return node === undefined
    ? `group ${group} is no longer paused${by}: it may fail over by itself`
    : `${node} is no longer paused or in maintenance${by}: it takes part again`;
}

const acksText = (acks: number): string => `${acks} acknowledgement${acks === 1 ? '' : 's'}`;

const SETTING_TEXTS: { readonly [K in keyof GroupSettings]: (value: GroupSettings[K]) => string } = {
  durability: (durability) => `durability ${durability}`,
  acks: acksText,
  leaseMs: (ms) => `lease ${formatDuration(ms)}`,
  maxLagBytes: (bytes) => `at most ${bytes} bytes behind`,
  maxFailovers: (count) => `at most ${count} failovers`,
  failoverWindowMs: (ms) => `in ${formatDuration(ms)}`,
  slotRetentionMs: (ms) => `slots of absent members kept for ${formatDuration(ms)}`,
  maxSlotWalBytes: (bytes) => `at most ${bytes} bytes of WAL kept by a slot`,
  sitePolicy: (policy) => `site policy ${policy}`,
  failback: (failback) => `failback ${failback}`,
  failbackAfterMs: (ms) => `failback after ${formatDuration(ms)}`,
};

/** What a person changed, and only that. */
export function changeText(change: Partial<GroupSettings>): string {
  const text = <K extends keyof GroupSettings>(key: K): string | undefined => {
    const value: GroupSettings[K] | undefined = change[key];
    return value === undefined ? undefined : SETTING_TEXTS[key](value);
  };
  const keys = Object.keys(SETTING_TEXTS) as (keyof GroupSettings)[];
  return keys
    .map(text)
    .filter((part) => part !== undefined)
    .join(', ');
}

function logicalSlotEvent({ group, node, name, outcome, reason }: CommandOf<'logical-slot'>): string {
  const slot = `logical slot ${name} of group ${group}`;
  switch (outcome) {
    case 'making':
      return `${slot} is being made on ${node}`;
    case 'made':
      return `${slot} was made on ${node}`;
    case 'found':
      return `${slot} is there on ${node}, somebody else has made it`;
    case 'lost':
      return `${slot} is lost: ${reason ?? 'nobody knows why'}; its consumer has to begin anew`;
    case 'gone':
      return `${slot} is no longer kept`;
  }
}

function configureText({
  group,
  settings,
  parameters,
  hba,
  logicalSlots = [],
  by,
}: CommandOf<'configure'>): string {
  const parts = [
    changeText(settings),
    ...parameters.map(parameterText),
    hbaText(hba),
    ...logicalSlots.map(logicalSlotChangeText),
  ].filter((part) => part !== '');
  return `settings of group ${group} change${by === '' ? '' : ` (${by})`}: ${parts.join(', ')}`;
}

/** For people: `work_mem = 64MB`. */
export function parameterText({ name, value }: ParameterChange): string {
  return value === undefined ? `${name} is no longer set` : `${name} = ${value}`;
}

/** For people: `logical slot cdc app:pgoutput`. */
export function logicalSlotChangeText({ name, wanted }: LogicalSlotChange): string {
  return wanted === undefined
    ? `logical slot ${name} is to be dropped`
    : `logical slot ${name} ${logicalSlotText(wanted)}`;
}

/** For people: `hba: 2 rules`. */
export function hbaText(hba: readonly string[] | undefined): string {
  if (hba === undefined) return '';
  return hba.length === 0 ? 'no hba rules any more' : `hba: ${hba.length} rule${hba.length === 1 ? '' : 's'}`;
}

/** For people: `durability quorum, acks 1, ...`. */
export function settingsText(settings: GroupSettings): string {
  const { durability, acks, leaseMs, maxLagBytes, maxFailovers, failoverWindowMs } = settings;
  const mode =
    durability === 'async'
      ? `async (lease ${formatDuration(leaseMs)}, at most ${maxLagBytes} bytes behind)`
      : `${durability}, ${acksText(acks)}`;
  const { sitePolicy, failback, failbackAfterMs } = settings;
  const sites = sitePolicy === 'ignore' ? '' : `; site policy ${sitePolicy}`;
  const back = failback === 'off' ? '' : `; failback to ${failback} after ${formatDuration(failbackAfterMs)}`;
  return `${mode}; at most ${maxFailovers} failovers in ${formatDuration(failoverWindowMs)}${sites}${back}`;
}

function beginText(command: Extract<Command, { kind: 'begin-failover' }>): string {
  switch (command.cause.kind) {
    case 'down':
      return `failover of group ${command.group} begins: a quorum of peers holds the primary for down`;
    case 'planned':
      return `${command.isFailback === true ? 'failback' : 'switchover'} of group ${command.group} begins${command.cause.to === undefined ? '' : `, to ${command.cause.to}`}`;
    case 'promotion-failed':
      return `failover of group ${command.group} begins again: the promotion failed`;
    case 'forced':
      return `failover of group ${command.group} begins${command.cause.to === undefined ? '' : `, to ${command.cause.to}`}: a person accepts that acknowledged writes may be lost`;
  }
}
