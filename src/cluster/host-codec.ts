// Declarations of hosts and words on watched servers on the wire: in the log and in snapshots.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { groupId, nodeId, peerId, timeline } from '../base/ids.ts';
import type * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import { decodeEvidence } from './evidence-codec.ts';
import type { Command, HostDeclaration, ServerWord } from './commands.ts';
import { LogFormatError, NEWER, required, unknownPart } from './log-format.ts';

export function encodeHost({
  runs,
  watch,
}: HostDeclaration): MessageInitShape<typeof pb.HostDeclarationSchema> {
  return {
    ...(runs === undefined ? {} : { runs: { ...runs } }),
    watch: watch.map((server) => ({ ...server })),
  };
}

export function decodeHost(message: pb.HostDeclaration | undefined): HostDeclaration {
  const { runs, watch } = required('the declaration of a host', message);
  return {
    runs: runs && { node: nodeId(runs.node), group: groupId(runs.group), formation: runs.formation },
    watch: watch.map(({ server, host, port, formation }) => ({
      ...{ server: nodeId(server), host, port, formation },
    })),
  };
}

export function encodeWord(word: ServerWord): MessageInitShape<typeof pb.ServerWordSchema> {
  if (word.kind === 'down') return { evidence: word.evidence };
  return {
    ...(word.role === undefined ? {} : { role: word.role }),
    ...(word.timeline === undefined ? {} : { timeline: word.timeline }),
  };
}

export function decodeWord(message: pb.ServerWord | undefined): ServerWord {
  const { evidence, role, timeline: on } = required('a word on a server', message);
  if (evidence !== undefined) return { kind: 'down', evidence: decodeEvidence(evidence) };
  return { kind: 'up', role: decodeRole(role), timeline: on === undefined ? undefined : timeline(on) };
}

function decodeRole(role: string | undefined): 'primary' | 'standby' | undefined {
  if (role === undefined || role === 'primary' || role === 'standby') return role;
  throw new LogFormatError(`role "${role}" of a server is not known here: ${NEWER}`);
}

type Watched = Extract<Command, { readonly kind: 'judge-server' | 'conclude-server' }>;

export function encodeWatched(command: Watched): MessageInitShape<typeof pb.WatchedServerSchema> {
  const { server } = command;
  if (command.kind === 'judge-server')
    return {
      server,
      said: { case: 'judged', value: { peer: command.peer, word: encodeWord(command.word) } },
    };
  const before = command.before === undefined ? {} : { before: encodeWord(command.before) };
  return { server, said: { case: 'concluded', value: { word: encodeWord(command.word), ...before } } };
}

export function decodeWatched(message: pb.WatchedServer): Watched {
  const server = nodeId(message.server);
  const { case: kind, value } = message.said;
  switch (kind) {
    case 'judged':
      return { kind: 'judge-server', server, peer: peerId(value.peer), word: decodeWord(value.word) };
    case 'concluded': {
      const before = value.before === undefined ? undefined : decodeWord(value.before);
      return { kind: 'conclude-server', server, word: decodeWord(value.word), before };
    }
    case undefined:
      throw unknownPart('word on a watched server', message);
  }
}
