// The admin service's answers: status and its changes, a switchover, events, and who takes part. Only hands on.
import { delay } from '../base/clock.ts';
import type { PeerId } from '../base/ids.ts';
import { listEvents } from '../cluster/event-list.ts';
import type { AdminHandlers, PeerHandlers, StatusView } from '../transport/types.ts';
import type { View } from '../failover/view.ts';
import type { Accounts } from './accounts.ts';
import type { Config } from './config.ts';
import { eventView } from './event-text.ts';
import { describeParametersAs } from './parameter-check.ts';
import type { Replica } from './replica.ts';
import type { NodeAgent } from './node-commands.ts';
import { settingsView } from './settings.ts';
import { steer } from './steer.ts';
import { switchOver } from './switchover.ts';

const WATCH_EVERY_MS = 50;
/** An election takes a second at the most; the caller has a deadline of its own. */
const CATCH_UP_MS = 3000;
const CATCH_UP_POLL_MS = 50;
const NO_LEADER = 'no answer from a Raft leader; nothing was changed, see sentinelctl status';

export function adminHandlers(options: {
  readonly config: Pick<Config, 'fence'>;
  readonly accounts: Accounts;
  readonly status: () => StatusView;
  readonly watchers: Set<() => void>;
  readonly replica: Replica;
  readonly view: () => View;
  readonly peers: PeerHandlers;
  readonly self: PeerId;
  /** Of this host's node, once it is up. */
  readonly agent: () => NodeAgent | undefined;
  /** True once the log that is applied here holds all that was committed before the call; false where no leader answers. */
  readonly readThroughLeader: () => Promise<boolean>;
}): AdminHandlers {
  const { config, status, watchers, replica, view } = options;
  const describeParameters = describeParametersAs(options.accounts.probe);
  /** A peer that has just started would refuse by what the log said once, and knows no leader for a moment. False: there is none. */
  const isCaughtUp = async (signal: AbortSignal): Promise<boolean> => {
    const startedMs = performance.now();
    while (!signal.aborted) {
      if (await options.readThroughLeader()) return true;
      if (performance.now() - startedMs >= CATCH_UP_MS) return false;
      await delay(CATCH_UP_POLL_MS, signal);
    }
    return false;
  };
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
    async failover(request, signal) {
      if (!(await isCaughtUp(signal))) return { kind: 'refused', reason: NO_LEADER };
      return switchOver({
        ...{ request, state: () => replica.state, view, propose: replica.propose, signal },
        fenceTimeoutMs: config.fence?.timeoutMs,
      });
    },
    async steer(request, signal) {
      if (!(await isCaughtUp(signal))) return { kind: 'refused', reason: NO_LEADER };
      const { self, agent } = options;
      return steer(
        {
          ...{ state: () => replica.state, view, propose: replica.propose, signal },
          ...{ self, agent, describeParameters },
        },
        request,
      );
    },
    settings: ({ group }) => settingsView({ state: replica.state, view: view(), group }),
    events({ group, limit }) {
      const views = listEvents(replica.state.events).map((event) => eventView(replica.state, event));
      return views.filter((view) => group === undefined || view.group === group).slice(-limit);
    },
  };
}
