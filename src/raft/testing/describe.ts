// Effects and peers in words, for transcripts. Never used outside tests.
import { unreachable } from '../../base/assert.ts';
import { lastIndex } from '../log.ts';
import type { Raft } from '../state.ts';
import type { Entry, RaftEffect, RaftMessage } from '../types.ts';

const decoder = new TextDecoder();

export function describeEffect(effect: RaftEffect): string {
  switch (effect.kind) {
    case 'persist': {
      const { term, votedFor } = effect.hardState;
      return `persist #${effect.ticket}: term ${term}, vote ${votedFor ?? 'none'}, entries ${describeEntries(effect.entries)}`;
    }
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
    default:
      return unreachable(message);
  }
}

/** `2/1 x` is the entry of index 2, term 1, data "x". */
function describeEntries(entries: readonly Entry[]): string {
  if (entries.length === 0) return 'none';
  return entries
    .map(
      ({ index, term, kind, data }) =>
        `${index}/${term}${kind === 'command' ? ` ${decoder.decode(data)}` : ` (${kind})`}`,
    )
    .join(', ');
}

export function describePeer(raft: Raft): string[] {
  const lines = [
    `${raft.role}, term ${raft.term}, vote ${raft.votedFor ?? 'none'}, leader ${raft.leader ?? 'unknown'}, ` +
      `log ends at ${lastIndex(raft.log)}, durable ${raft.durability.durableIndex}, commit ${raft.commitIndex}`,
  ];
  for (const [peer, { mode, match, next, inflight }] of raft.leading?.progress ?? []) {
    lines.push(`  ${peer}: ${mode}, match ${match}, next ${next}, ${inflight.length} in flight`);
  }
  return lines;
}
