// Runs a transcript: commands, each followed by what the peers did in answer, in words (in the manner of etcd-io/raft's
// testdata). The network and the disks do nothing by themselves, so that every step can be looked at. Never used outside tests.
//
//   peer p1 voters=p1,p2,p3 [learners=p4] [term=2] [vote=p1] [log=1,1,2]     a peer with these terms in its log (joins: no voters)
//        [snapshot=5/1]                                                      its log goes on after a snapshot at 5, term 1
//   wait 500 | tick p1 | propose p1 x | read p1 r1 | transfer p1 p2          time passes for all; the rest is an event of a peer
//   change p1 c1 add-learner p4 | promote p4 | remove p2 | move p2 host:1    a membership change asked of p1
//   snapshot p1 5 | snapshot-arrived p1 p2 5 | snapshot-lost p1 p2 5         p1 took one at 5; what became of one it sent
//   recover p1                                                               p1 goes on alone
//   persist p1 [3]                                                           all writes of p1 (up to ticket 3) are durable
//   deliver [p1>p2 ...] | drop [p1>p2 ...] | repeat [p1>p2 ...]              messages on their way now, of these links or of all
//                                                                            (p1>p2#2: only the second of that link)
//   settle [p1 p2 ...]                                                       persist and deliver until nothing is left; others hear nothing
//   pass 400 p1 p2 ...                                                       time passes for these with ticks and `settle` each 100 ms
//   restart p1 | status [p1 ...]                                             restart: what was not persisted is gone
//   quiet <command>                                                          says nothing of what it does
import { logIndex, peerId, term } from '../../base/ids.ts';
import type { PeerId } from '../../base/ids.ts';
import { createRaft, step } from '../raft.ts';
import type { Raft } from '../state.ts';
import type {
  Entry,
  HardState,
  Membership,
  MembershipChange,
  RaftEvent,
  RaftMessage,
  RaftSettings,
} from '../types.ts';
import { JSON_CODEC, membershipOf } from './codec.ts';
import { describeEffect, describePeer } from './describe.ts';
import { EMPTY_DISK, written } from './disk.ts';
import type { Disk, PersistEffect } from './disk.ts';

interface Actor {
  readonly id: PeerId;
  readonly membership: Membership;
  raft: Raft;
  disk: Disk;
  writes: PersistEffect[];
}

interface Stage {
  readonly actors: Map<string, Actor>;
  nowMs: number;
  underway: { readonly from: PeerId; readonly to: PeerId; readonly message: RaftMessage }[];
  output: string[];
}

const SETTINGS: RaftSettings = {
  heartbeatMs: 100,
  electionMs: 500,
  electionSpreadMs: 300,
  maxEntriesPerAppend: 3,
  maxBytesPerAppend: 1000,
  maxInflightAppends: 2,
  maxInflightBytes: 10_000,
  maxPendingProposals: 8,
  maxProposalBytes: 100,
  keptEntries: 1,
  snapshotTimeoutMs: 5000,
};

const PASS_STEP_MS = 100;

/** The transcript with the answers as they are now. */
export function replay(transcript: string): string {
  const stage: Stage = { actors: new Map(), nowMs: 0, underway: [], output: [] };
  const blocks = transcript.trim().split(/\n\n+/);
  return `${blocks.map((block) => replayBlock(stage, block)).join('\n\n')}\n`;
}

function replayBlock(stage: Stage, block: string): string {
  const lines = block.split('\n');
  const end = lines.indexOf('----');
  const commands = end < 0 ? lines : lines.slice(0, end);
  if (commands.every((line) => line.startsWith('#'))) return commands.join('\n');
  stage.output = [];
  for (const line of commands) {
    if (!line.startsWith('#')) obey(stage, line.split(' '));
  }
  const answer = stage.output.length > 0 ? stage.output : ['nothing'];
  return [...commands, '----', ...answer].join('\n');
}

function obey(stage: Stage, [command = '', ...words]: readonly string[]): void {
  const [first = '', second = '', third = '', ...rest] = words;
  const { nowMs } = stage;
  switch (command) {
    case 'peer':
      addActor(stage, first, new Map(words.slice(1).map((word) => word.split('=') as [string, string])));
      return;
    case 'wait':
      stage.nowMs += Number(first);
      return;
    case 'tick':
      act(stage, first, { kind: 'tick', nowMs, random: 0 });
      return;
    case 'propose':
      act(stage, first, {
        kind: 'propose',
        nowMs,
        proposalId: second,
        data: new TextEncoder().encode(second),
      });
      return;
    case 'read':
      act(stage, first, { kind: 'read', nowMs, readId: second });
      return;
    case 'transfer':
      act(stage, first, { kind: 'transfer', nowMs, to: peerId(second) });
      return;
    case 'change':
      act(stage, first, {
        kind: 'change-membership',
        nowMs,
        changeId: second,
        change: changeOf(third, rest),
      });
      return;
    case 'snapshot':
      act(stage, first, {
        kind: 'snapshot-taken',
        nowMs,
        index: logIndex(Number(second)),
        data: new TextEncoder().encode(`state at ${second}`),
      });
      return;
    case 'snapshot-arrived':
    case 'snapshot-lost':
      act(stage, first, {
        kind: 'snapshot-sent',
        nowMs,
        to: peerId(second),
        index: logIndex(Number(third)),
        arrived: command === 'snapshot-arrived',
      });
      return;
    case 'recover':
      act(stage, first, { kind: 'recover', nowMs });
      return;
    case 'persist':
      persist(stage, actorOf(stage, first), second === '' ? Number.POSITIVE_INFINITY : Number(second));
      return;
    case 'deliver':
      for (const { from, to, message } of take(stage, words))
        act(stage, to, { kind: 'receive', nowMs, random: 0, from, message });
      return;
    case 'drop':
      take(stage, words);
      return;
    case 'repeat':
      for (const message of take(stage, words)) stage.underway.push(message, { ...message });
      return;
    case 'settle':
      settle(stage, words.length > 0 ? words : [...stage.actors.keys()]);
      return;
    case 'pass':
      for (let leftMs = Number(first); leftMs > 0; leftMs -= PASS_STEP_MS) pass(stage, words.slice(1));
      return;
    case 'restart':
      restart(stage, actorOf(stage, first));
      return;
    case 'quiet': {
      const { length } = stage.output;
      obey(stage, words);
      stage.output.length = length;
      return;
    }
    case 'status':
      for (const name of words.length > 0 ? words : stage.actors.keys()) {
        for (const line of describePeer(actorOf(stage, name).raft)) stage.output.push(`${name} ${line}`);
      }
      return;
    default:
      throw new Error(`unknown command "${command}"`);
  }
}

function changeOf(kind: string, [name = '', address = `${name}:1`]: readonly string[]): MembershipChange {
  const peer = peerId(name);
  if (kind === 'add-learner' || kind === 'move') return { kind, peer, address };
  if (kind === 'promote' || kind === 'remove') return { kind, peer };
  throw new Error(`unknown change "${kind}"`);
}

function addActor(stage: Stage, name: string, words: ReadonlyMap<string, string>): void {
  const list = (key: string): string[] => words.get(key)?.split(',') ?? [];
  const membership = membershipOf(list('voters').map(peerId), list('learners').map(peerId));
  const vote = words.get('vote');
  const [at = 0, atTerm = 0] = (words.get('snapshot') ?? '0/0').split('/').map(Number);
  const base = { index: logIndex(at), term: term(atTerm) };
  const data = new TextEncoder().encode(`state at ${at}`);
  const entries = list('log').map((ofTerm, position): Entry => ({
    index: logIndex(at + position + 1),
    term: term(Number(ofTerm)),
    kind: 'command',
    data: new TextEncoder().encode(`e${at + position + 1}`),
  }));
  const hardState: HardState = {
    term: term(Number(words.get('term') ?? entries.at(-1)?.term ?? atTerm)),
    votedFor: vote === undefined ? undefined : peerId(vote),
  };
  const id = peerId(name);
  const snapshot = at === 0 ? undefined : { ...base, membership, data };
  const disk = { ...EMPTY_DISK, hardState, snapshot, base, entries };
  stage.actors.set(name, { id, membership, raft: start(stage, id, membership, disk), disk, writes: [] });
}

function start(stage: Stage, self: PeerId, membership: Membership, disk: Actor['disk']): Raft {
  return createRaft({
    self,
    membership,
    codec: JSON_CODEC,
    settings: SETTINGS,
    ...disk,
    nowMs: stage.nowMs,
    random: 0,
  });
}

function restart(stage: Stage, actor: Actor): void {
  actor.writes = [];
  actor.raft = start(stage, actor.id, actor.membership, actor.disk);
}

function actorOf(stage: Stage, name: string): Actor {
  const actor = stage.actors.get(name);
  if (actor === undefined) throw new Error(`there is no peer "${name}"`);
  return actor;
}

function act(stage: Stage, name: string, event: RaftEvent): void {
  const actor = actorOf(stage, name);
  for (const effect of step(actor.raft, event)) {
    stage.output.push(`${name} ${describeEffect(effect)}`);
    if (effect.kind === 'persist') actor.writes.push(effect);
    if (effect.kind === 'send')
      stage.underway.push({ from: actor.id, to: effect.to, message: effect.message });
  }
}

function persist(stage: Stage, actor: Actor, lastTicket: number): void {
  const done = actor.writes.filter(({ ticket }) => ticket <= lastTicket);
  const last = done.at(-1);
  if (last === undefined) return;
  for (const effect of done) actor.disk = written(actor.disk, effect);
  actor.writes = actor.writes.filter(({ ticket }) => ticket > lastTicket);
  act(stage, actor.id, { kind: 'persisted', nowMs: stage.nowMs, ticket: last.ticket });
}

/** Takes the messages of these links (of all, where none is named) off the network. */
function take(stage: Stage, links: readonly string[]): Stage['underway'] {
  const counts = new Map<string, number>();
  const isMeant = ({ from, to }: { from: PeerId; to: PeerId }): boolean => {
    const link = `${from}>${to}`;
    const count = (counts.get(link) ?? 0) + 1;
    counts.set(link, count);
    return links.length === 0 || links.includes(link) || links.includes(`${link}#${count}`);
  };
  const taken = new Set(stage.underway.filter(isMeant));
  stage.underway = stage.underway.filter((message) => !taken.has(message));
  return [...taken];
}

function pass(stage: Stage, names: readonly string[]): void {
  stage.nowMs += PASS_STEP_MS;
  for (const name of names) act(stage, name, { kind: 'tick', nowMs: stage.nowMs, random: 0 });
  settle(stage, names);
}

function settle(stage: Stage, names: readonly string[]): void {
  const among = new Set(names);
  for (let turn = 0; turn < 100; turn += 1) {
    const isIdle =
      stage.underway.length === 0 && names.every((name) => actorOf(stage, name).writes.length === 0);
    if (isIdle) return;
    for (const name of names) persist(stage, actorOf(stage, name), Number.POSITIVE_INFINITY);
    for (const { from, to, message } of take(stage, [])) {
      if (among.has(from) && among.has(to))
        act(stage, to, { kind: 'receive', nowMs: stage.nowMs, random: 0, from, message });
    }
  }
  throw new Error('does not settle');
}
