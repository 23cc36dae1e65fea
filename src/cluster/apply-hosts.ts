// What peers say of their hosts, and of servers that are only watched. None of it begins a failover: a declaration keeps a node that nobody
// looks after from being promoted or counted, and a watched server is told of and no more.
import type { NodeId } from '../base/ids.ts';
import { NAME_RULE, isName } from '../base/ids.ts';
import { type Applied, type CommandOf, refuse, withEntry, withPeer } from './applied.ts';
import type { HostDeclaration, WatchedServer } from './commands.ts';
import { FORMATIONS_FEATURE_LEVEL } from './features.ts';
import { WATCHED_COUNT_MAX, conclusion, isNews, sameWord, watchedServers } from './hosts.ts';
import type { ClusterState, WatchedState } from './state.ts';

const TOO_OLD = 'not every peer understands this yet: upgrade all of them first';

/** Repeating it is harmless. */
export function applyDeclareHost(state: ClusterState, { peer, host }: CommandOf<'declare-host'>): Applied {
  if (state.featureLevel < FORMATIONS_FEATURE_LEVEL) return refuse(TOO_OLD);
  const problem = declarationProblem(host);
  if (problem !== undefined) return refuse(problem);
  const known = state.peers.get(peer);
  if (known === undefined) return refuse(`${peer} is not a member that has opened a session`);
  return forgettingUnwatched(state, withPeer(state, { ...known, host }));
}

function declarationProblem({ runs, watch }: HostDeclaration): string | undefined {
  for (const { formation } of [...(runs === undefined ? [] : [runs]), ...watch])
    if (!isName(formation)) return `"${formation}" is not the name of a formation: expected ${NAME_RULE}`;
  if (watch.length > WATCHED_COUNT_MAX)
    return `${watch.length} servers are to be watched; expected at most ${WATCHED_COUNT_MAX}`;
  const isInOrder = watch.every(
    ({ server }, place) => place === 0 || (watch[place - 1]?.server ?? '') < server,
  );
  return isInOrder ? undefined : 'the servers to be watched are not in the order of their names';
}

/** Its earlier word is replaced. */
export function applyJudgeServer(state: ClusterState, command: CommandOf<'judge-server'>): Applied {
  if (state.featureLevel < FORMATIONS_FEATURE_LEVEL) return refuse(TOO_OLD);
  const { peer, server, word } = command;
  if (!state.membership.voters.includes(peer)) return refuse(`peer ${peer} is not a voter`);
  if (!watchedServers(state).some((known) => known.server === server))
    return refuse(`no configuration has ${server} watched`);
  const known = state.watched.get(server) ?? { server, words: [], concluded: undefined };
  const words = [...known.words.filter((entry) => entry.peer !== peer), { peer, word }];
  words.sort((a, b) => (a.peer < b.peer ? -1 : 1));
  return { ...state, watched: withEntry(state.watched, server, { ...known, words }) };
}

export function applyConcludeServer(state: ClusterState, command: CommandOf<'conclude-server'>): Applied {
  const { server, word, before } = command;
  const known = state.watched.get(server);
  if (known === undefined) return refuse(`nobody has judged ${server}`);
  if (!sameWord(known.concluded, before)) return refuse(`something else is concluded of ${server} by now`);
  const seen = conclusion(state.membership.voters, known.words);
  if (seen === undefined || isNews(word, seen)) return refuse(`no majority sees that of ${server}`);
  if (!isNews(before, word)) return refuse(`that is concluded of ${server} already`);
  return { ...state, watched: withEntry(state.watched, server, { ...known, concluded: word }) };
}

/** What was said of a server that nobody has watched any more, or that is elsewhere now, is forgotten. */
export function forgettingUnwatched(before: ClusterState, after: ClusterState): ClusterState {
  if (after.watched.size === 0) return after;
  const was = byName(watchedServers(before));
  const is = byName(watchedServers(after));
  const kept = [...after.watched].filter(([server]) => {
    const [then, now] = [was.get(server), is.get(server)];
    return now !== undefined && then?.host === now.host && then.port === now.port;
  });
  return kept.length === after.watched.size ? after : { ...after, watched: new Map(kept) };
}

const byName = (servers: readonly WatchedServer[]): ReadonlyMap<NodeId, WatchedServer> =>
  new Map(servers.map((server) => [server.server, server]));

/** What a former voter saw counts no more. */
export function watchedByVoters(state: ClusterState): ClusterState {
  const { voters } = state.membership;
  const isVoice = ({ peer }: WatchedState['words'][number]): boolean => voters.includes(peer);
  if ([...state.watched.values()].every(({ words }) => words.every(isVoice))) return state;
  const watched = [...state.watched].map(
    ([server, known]) => [server, { ...known, words: known.words.filter(isVoice) }] as const,
  );
  return { ...state, watched: new Map(watched) };
}
