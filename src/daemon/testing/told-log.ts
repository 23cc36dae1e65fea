// A log in memory that applies at once what it is told, for tests of those who tell it something once a feature level is reached.
import type { ClusterState } from '../../cluster/state.ts';
import type { Command } from '../../cluster/commands.ts';
import { P1, newLog, opening, running } from '../../cluster/testing/example.ts';
import type { Replica } from '../replica.ts';

/** The peer {@link P1} understands `level`; the cluster has not reached it yet. */
export function createToldLog(level: number) {
  const log = newLog(running().state);
  log.must(opening(log, P1, { features: level }));
  const proposed: Command[] = [];
  const listeners: (() => void)[] = [];
  const replica: Pick<Replica, 'state' | 'subscribe' | 'propose'> = {
    get state(): ClusterState {
      return log.state;
    },
    subscribe(listener) {
      listeners.push(() => listener(log.state, []));
      return () => undefined;
    },
    propose(command) {
      proposed.push(command);
      log.must(command);
      return Promise.resolve({ kind: 'applied' } as never);
    },
  };
  /** Those who follow the log hear of it, as they do of every entry. */
  const wake = (): void => {
    for (const listener of listeners) listener();
  };
  return {
    log,
    replica,
    /** What it was told, in order. */
    proposed,
    wake,
    reachLevel(): void {
      log.state = { ...log.state, featureLevel: level };
      wake();
    },
  };
}
