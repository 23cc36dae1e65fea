// What the voters have seen of servers that are only watched becomes a conclusion in the log, for people to be told. Pure. Nothing else
// follows from it, whatever it says.
import type { Command } from '../cluster/commands.ts';
import { conclusion, isNews } from '../cluster/hosts.ts';
import type { ClusterState } from '../cluster/state.ts';

export function* concludeServers(state: ClusterState): Iterable<Command> {
  for (const { server, words, concluded } of state.watched.values()) {
    const word = conclusion(state.membership.voters, words);
    if (word === undefined || !isNews(concluded, word)) continue;
    yield { kind: 'conclude-server', server, word, before: concluded };
  }
}
