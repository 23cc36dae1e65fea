// Effects and peers in words, for transcripts. Never used outside tests.
import { unreachable } from '../../base/assert.ts';
import { lastIndex } from '../log.ts';
import type { Raft } from '../state.ts';
import type { Entry, Membership, PersistedSnapshot, RaftEffect, RaftMessage, Snapshot } from '../types.ts';
import { JSON_CODEC } from './codec.ts';

const decoder = new TextDecoder();

export function describeEffect(effect: RaftEffect): string {
  switch (effect.kind) {
    case 'persist': {
      const { term, votedFor } = effect.hardState;
      return `persist #${effect.ticket}: term ${term}, vote ${votedFor ?? 'none'}, entries ${describeEntries(effect.entries)}${describePersisted(effect.snapshot)}`;
    }
    case 'restore':
      return `restore ${describeSnapshot(effect.snapshot)}`;
    case 'membership':
      return `membership ${describeMembership(effect.membership)}`;
    case 'change-refused':
      return `change ${effect.changeId} refused: ${effect.reason}`;
    case 'send':
      return `to ${effect.to}: ${describeMessage(effect.message)}`;
    case 'commit':
      return `commit ${describeEntries(effect.entries)}`;
    case 'role':
      return `is ${effect.role} in term ${effect.term}, leader ${effect.leader ?? 'unknown'}`;
    case 'read-ready':
      return `read ${effect.readId} may be served at ${effect.index}`;
    case 'read-refused':
      return `read ${effect.readId} refused: ${effect.reason}`;
    case 'proposal-refused':
      return `proposal ${effect.proposalId} refused: ${effect.reason}`;
    default:
      return unreachable(effect);
  }
}

function describeMessage(message: RaftMessage): string {
  const { kind, term } = message;
  const head = `${kind} (term ${term})`;
  switch (kind) {
    case 'vote-request': {
      const how = `${message.preVote ? ' pre-vote' : ''}${message.transfer ? ' by transfer' : ''}`;
      return `${head}${how}, log ends at ${message.lastIndex}/${message.lastTerm}`;
    }
    case 'vote-reply':
      return `${head}${message.preVote ? ' pre-vote' : ''} ${message.granted ? 'granted' : 'refused'}`;
    case 'append-request':
      return `${head} after ${message.prevIndex}/${message.prevTerm}: ${describeEntries(message.entries)}, commit ${message.commitIndex}`;
    case 'append-reply':
      return message.success
        ? `${head} matches up to ${message.matchIndex}`
        : `${head} refused, look at ${message.hintIndex}/${message.hintTerm}`;
    case 'heartbeat-request':
      return `${head} commit ${message.commitIndex}`;
    case 'heartbeat-reply':
    case 'timeout-now':
      return head;
    case 'propose':
      return `${head} ${message.proposalId}`;
    case 'propose-refused':
      return `${head} ${message.proposalId}: ${message.reason}`;
    case 'read-request':
      return `${head} ${message.readId}`;
    case 'read-reply':
      return `${head} ${message.readId}: ${message.index ?? 'refused'}`;
    case 'snapshot-request':
      return `${head} ${describeSnapshot(message.snapshot)}`;
    default:
      return unreachable(message);
  }
}

function describePersisted(persisted: PersistedSnapshot | undefined): string {
  if (persisted === undefined) return '';
  const { snapshot, base, replacesLog } = persisted;
  const how = replacesLog ? 'in place of the log' : `log from ${base.index + 1}`;
  return `, ${describeSnapshot(snapshot)}, ${how}`;
}

/** `snapshot 5/2 [p1 p2 + p3]` stands for the log up to index 5, term 2, with voters p1, p2 and learner p3. */
function describeSnapshot({ index, term, membership }: Snapshot): string {
  return `snapshot ${index}/${term} [${describeMembership(membership)}]`;
}

function describeMembership({ voters, learners, incarnation }: Membership): string {
  const others = learners.length === 0 ? '' : ` + ${learners.join(' ')}`;
  return `${voters.join(' ') || 'nobody'}${others}${incarnation > 1 ? ` incarnation ${incarnation}` : ''}`;
}

/** `2/1 x` is the entry of index 2, term 1, data "x". */
function describeEntries(entries: readonly Entry[]): string {
  if (entries.length === 0) return 'none';
  return entries.map((entry) => `${entry.index}/${entry.term} ${describeContent(entry)}`).join(', ');
}

function describeContent({ kind, data }: Entry): string {
  if (kind === 'command') return decoder.decode(data);
  return kind === 'noop' ? '(noop)' : `(config ${describeMembership(JSON_CODEC.decode(data))})`;
}

export function describePeer(raft: Raft): string[] {
  const { log, snapshot, membership } = raft;
  const lines = [
    `${raft.role}, term ${raft.term}, vote ${raft.votedFor ?? 'none'}, leader ${raft.leader ?? 'unknown'}, ` +
      `log ends at ${lastIndex(log)}, durable ${raft.durability.durableIndex}, commit ${raft.commitIndex}`,
  ];
  if (snapshot !== undefined || raft.membershipIndex > 0) {
    const since = raft.membershipIndex > 0 ? ` since ${raft.membershipIndex}` : '';
    const compacted =
      snapshot === undefined ? '' : `, snapshot ${snapshot.index}, log from ${log.base.index + 1}`;
    lines.push(`  members ${describeMembership(membership)}${since}${compacted}`);
  }
  for (const [peer, { mode, match, next, inflight }] of raft.leading?.progress ?? []) {
    lines.push(`  ${peer}: ${mode}, match ${match}, next ${next}, ${inflight.length} in flight`);
  }
  return lines;
}
