// The admin service's answers: status and its changes, a switchover, events, and who takes part. Only hands on; times out nothing.
import { listEvents } from '../cluster/event-list.ts';
import type { AdminHandlers, PeerHandlers, StatusView } from '../transport/types.ts';
import type { View } from '../failover/view.ts';
import { eventView } from './event-text.ts';
import type { Replica } from './replica.ts';
import { steer } from './steer.ts';
import { switchOver } from './switchover.ts';

const WATCH_EVERY_MS = 50;

export function adminHandlers(options: {
  readonly status: () => StatusView;
  readonly watchers: Set<() => void>;
  readonly replica: Replica;
  readonly view: () => View;
  readonly peers: PeerHandlers;
  /** How long the fence command may take, where there is one. */
  readonly fenceTimeoutMs: number | undefined;
}): AdminHandlers {
  const { status, watchers, replica, view } = options;
  return {
    status,
    peers: options.peers,
    watch(listener, signal) {
      let timer: NodeJS.Timeout | undefined;
      const notify = (): void => {
        timer ??= setTimeout(() => {
          timer = undefined;
          listener(status());
        }, WATCH_EVERY_MS);
      };
      listener(status());
      watchers.add(notify);
      signal.addEventListener('abort', () => {
        watchers.delete(notify);
        clearTimeout(timer);
      });
    },
    failover: (request, signal) =>
      switchOver({
        ...{ request, state: () => replica.state, view, propose: replica.propose, signal },
        fenceTimeoutMs: options.fenceTimeoutMs,
      }),
    steer: (request, signal) =>
      steer({ state: () => replica.state, view, propose: replica.propose, signal }, request),
    events({ group, limit }) {
      const views = listEvents(replica.state.events).map((event) => eventView(replica.state, event));
      return views.filter((view) => group === undefined || view.group === group).slice(-limit);
    },
  };
}
