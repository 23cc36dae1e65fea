// What happened, in one line each, for whoever reads along. Costs nothing where nobody does.
import type { Entry, Membership, RaftEffect, RaftMessage } from '../../src/raft/types.ts';
import type { Command } from '../../src/cluster/commands.ts';
import { decode } from './cluster/bridge.ts';
import { describeNode } from './postgres/postgres.ts';
import type { Host, World } from './world.ts';

/** Says something of a host: words, or an effect that it carries out. Nothing is built unless it is traced. */
export function note(world: World, host: Host, what: RaftEffect | (() => string)): void {
  const { lines } = world.trace;
  if (lines === undefined) return;
  say(world, `${host.id.padEnd(3)} ${typeof what === 'function' ? what() : describeEffect(what)}`);
}

/** Says something of the world. */
export function tell(world: World, what: () => string): void {
  if (world.trace.lines !== undefined) say(world, `--- ${what()}`);
}

function say(world: World, text: string): void {
  const { nowUs, count } = world.timeline;
  world.trace.lines?.push(`${String(count).padStart(6)} ${(nowUs / 1000).toFixed(3).padStart(10)} ${text}`);
}

function describeEffect(effect: RaftEffect): string {
  switch (effect.kind) {
    case 'persist': {
      const { term, votedFor } = effect.hardState;
      const snapshot =
        effect.snapshot === undefined
          ? ''
          : `, snapshot ${effect.snapshot.snapshot.index} base ${effect.snapshot.base.index}${effect.snapshot.replacesLog ? ' for the log' : ''}`;
      return `persist #${effect.ticket}: term ${term}, vote ${votedFor ?? 'none'}, ${describeEntries(effect.entries)}${snapshot}`;
    }
    case 'send':
      return `-> ${effect.to}: ${describeMessage(effect.message)}`;
    case 'restore':
      return `restores the state of ${effect.snapshot.index}`;
    case 'membership':
      return `membership ${describeMembership(effect.membership)}`;
    case 'change-refused':
      return `change ${effect.changeId} refused: ${effect.reason}`;
    case 'commit':
      return `commits ${describeEntries(effect.entries)}`;
    case 'role':
      return `is ${effect.role} in term ${effect.term}, leader ${effect.leader ?? 'unknown'}`;
    case 'read-ready':
      return `read ${effect.readId} ready at ${effect.index}`;
    case 'read-refused':
      return `read ${effect.readId} refused: ${effect.reason}`;
    case 'proposal-refused':
      return `proposal ${effect.proposalId} refused: ${effect.reason}`;
  }
}

/** Where everybody stands, for whoever has to find out why a life failed. */
export function describeStanding(world: World): string[] {
  return world.hosts.map(describeHost);
}

function describeHost({ id, raft, replica, agent, postgres, quarantine, reads }: Host): string {
  const parts: string[] = [id];
  if (raft === undefined) {
    parts.push(`down${quarantine === undefined ? '' : ` (${quarantine})`}`);
  } else {
    const { log, role, term, commitIndex, membership } = raft;
    parts.push(
      `${role} in term ${term}, log ${log.base.index}..${log.base.index + log.entries.length}, commit ${commitIndex}`,
    );
    parts.push(describeMembership(membership));
    for (const [peer, { mode, match, next, inflight, snapshot, snapshotDueMs, activeAtMs }] of raft.leading
      ?.progress ?? []) {
      const sent = snapshot === undefined ? '' : `, snapshot ${snapshot.index} sent`;
      const dueMs = Math.round(snapshotDueMs - raft.nowMs);
      const wait = mode === 'snapshot' && dueMs > 0 ? `, the next in ${dueMs} ms` : '';
      const heard = `heard ${Math.round(raft.nowMs - activeAtMs)} ms ago`;
      parts.push(`${peer} ${mode} ${match}..${next}, ${inflight.length} under way, ${heard}${sent}${wait}`);
    }
  }
  if (replica !== undefined) {
    const { state, proposer, pending } = replica;
    parts.push(
      `applied ${state.appliedIndex}, session ${proposer.isOpen ? 'open' : (proposer.obstacle(state) ?? 'opening')}`,
    );
    if (pending.size > 0) parts.push(`${pending.size} proposals`);
  }
  if (reads.size > 0) parts.push(`${reads.size} reads`);
  if (agent !== undefined) {
    const { isCaughtUp, change, proposing, confirmation } = agent;
    parts.push(`agent ${isCaughtUp ? 'caught up' : 'catching up'}`);
    if (change !== undefined) parts.push(`changing the rule: ${change.stage}`);
    if (proposing.size > 0) parts.push(`proposing ${[...proposing].join(' ')}`);
    if (confirmation !== undefined)
      parts.push(`confirming ${confirmation.kind} (${confirmation.read.state})`);
  }
  if (postgres !== undefined) parts.push(describeNode(postgres));
  return parts.join('; ');
}

function describeMembership({ voters, learners, incarnation }: Membership): string {
  return `${voters.join(' ')}${learners.length > 0 ? ` + ${learners.join(' ')}` : ''} (incarnation ${incarnation})`;
}

function describeMessage(message: RaftMessage): string {
  const { kind, term, ...rest } = message;
  const parts = Object.entries(rest).map(([key, value]) => {
    if (key === 'entries') return describeEntries(value as readonly Entry[]);
    if (key === 'snapshot') return `snapshot ${(value as { index: number }).index}`;
    if (value instanceof Uint8Array) return `${key} ${value.length} B`;
    return `${key} ${String(value)}`;
  });
  return `${kind} t${term} ${parts.join(', ')}`;
}

function describeEntries(entries: readonly Entry[]): string {
  if (entries.length === 0) return 'no entries';
  return entries.map((entry) => `${entry.index}/${entry.term} ${describeEntry(entry)}`).join('; ');
}

function describeEntry({ kind, data }: Entry): string {
  if (kind !== 'command') return kind;
  const envelope = decode(data);
  return `${envelope.session}-${envelope.sequence} ${describeCommand(envelope.command)}`;
}

function describeCommand(command: Command): string {
  const { kind, ...rest } = command;
  return `${kind} ${textOf(rest)}`;
}

const textOf = (item: unknown): string =>
  JSON.stringify(item, (_key: string, part: unknown): unknown =>
    typeof part === 'bigint'
      ? Number(part)
      : part instanceof Map
        ? [...(part as Map<unknown, unknown>)]
        : part,
  );
