// Who leads, asked of the members themselves in the same way for both systems.
import { delay, until, withDeadline } from '../../src/base/clock.ts';
import type { Terms } from './arithmetic.ts';
import type { Client, Contestant } from './contestant.ts';
import type { View } from './wire.ts';

const WHOLE_TIMEOUT_MS = 60_000;
const WHOLE_POLL_MS = 20;
const VIEW_TIMEOUT_MS = 1000;
/** A follower this close to the leader counts as caught up: under load it is always a little behind. */
const BEHIND_ENTRIES_MAX = 100;

export interface Watchers {
  readonly contestant: Contestant;
  viewOf(member: string): Promise<View | undefined>;
  close(): void;
}

/** One connection to every member, for questions only: measured calls have their own. */
export function watchMembers(contestant: Contestant): Watchers {
  const clients = new Map<string, Client>(contestant.members.map((name) => [name, contestant.open(name)]));
  return {
    contestant,
    async viewOf(member) {
      const client = clients.get(member);
      if (client === undefined) return undefined;
      try {
        return await withDeadline(`a view of ${member}`, VIEW_TIMEOUT_MS, client.view());
      } catch {
        return undefined;
      }
    },
    close() {
      for (const client of clients.values()) client.close();
    },
  };
}

export interface Leadership {
  readonly leader: string;
  readonly term: number;
}

/** Waits until all members run, agree on one leader and term, and hold what it holds. */
export async function waitUntilWhole(watchers: Watchers, signal: AbortSignal): Promise<Leadership> {
  const { contestant } = watchers;
  const what = `the three members of ${contestant.name} to agree on a leader`;
  return until({ what, timeoutMs: WHOLE_TIMEOUT_MS, everyMs: WHOLE_POLL_MS, signal }, async () => {
    contestant.assertRunning();
    const views = await Promise.all(contestant.members.map(watchers.viewOf));
    return agreementOf(contestant.members, views);
  });
}

/** The leader that all agree on, or undefined. */
export function agreementOf(
  members: readonly string[],
  views: readonly (View | undefined)[],
): Leadership | undefined {
  const [first] = views;
  if (first?.leader === undefined) return undefined;
  const at = views.findIndex((view) => view?.self === first.leader);
  const leading = views[at];
  const leader = members[at];
  if (leading === undefined || leader === undefined) return undefined;
  const agreed = views.every(
    (view) =>
      view !== undefined &&
      view.leader === first.leader &&
      view.term === first.term &&
      view.appliedIndex >= leading.appliedIndex - BEHIND_ENTRIES_MAX,
  );
  return agreed && leading.appliedIndex > 0 ? { leader, term: first.term } : undefined;
}

/** The terms of all members that answer. */
export async function termsOf(watchers: Watchers): Promise<Terms> {
  const views = await Promise.all(watchers.contestant.members.map(watchers.viewOf));
  return { terms: views.flatMap((view) => view?.term ?? []) };
}

/** Asks the others, each in a loop of its own, until one of them names a leader of a later term; returns that one's name. */
export async function waitForNewLeader(
  watchers: Watchers,
  before: Leadership,
  options: { readonly timeoutMs: number; readonly everyMs: number; readonly signal: AbortSignal },
): Promise<string> {
  const { contestant } = watchers;
  const others = contestant.members.filter((name) => name !== before.leader);
  const found = new AbortController();
  const signal = AbortSignal.any([found.signal, options.signal]);
  const names = new Map<string, string>();
  const ask = async (member: string): Promise<string> => {
    const what = `a new leader of ${contestant.name}`;
    const { timeoutMs, everyMs } = options;
    return until({ what, timeoutMs, everyMs, signal }, async () => {
      const view = await watchers.viewOf(member);
      if (view === undefined) return undefined;
      names.set(view.self, member);
      if (view.term <= before.term || view.leader === undefined) return undefined;
      return names.get(view.leader);
    });
  };
  const asked = others.map(ask);
  try {
    return await Promise.any(asked);
  } finally {
    found.abort(new Error('found'));
    await Promise.allSettled(asked);
    await delay(0);
  }
}
