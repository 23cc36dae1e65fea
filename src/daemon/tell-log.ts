// Keeps the log told of what this peer's configuration says: once, and again where the log says something else. An idle cluster writes nothing.
import type { Command } from '../cluster/commands.ts';
import type { ClusterState } from '../cluster/state.ts';
import type { Replica } from './replica.ts';

const PROPOSAL_TIMEOUT_MS = 2000;
const RETRY_MS = 1000;

/** Until `signal` aborts. `wanted`: what is to be proposed in that state; undefined: nothing. */
export function keepTold(options: {
  readonly wanted: (state: ClusterState) => Command | undefined;
  readonly replica: Pick<Replica, 'state' | 'subscribe' | 'propose'>;
  readonly signal: AbortSignal;
}): void {
  const { wanted, replica, signal } = options;
  let isUnderWay = false;
  const look = (): void => {
    const command = signal.aborted || isUnderWay ? undefined : wanted(replica.state);
    if (command === undefined) return;
    isUnderWay = true;
    const again = (): void => {
      isUnderWay = false;
      look();
    };
    const later = (): void => void setTimeout(again, RETRY_MS).unref();
    replica.propose(command, PROPOSAL_TIMEOUT_MS).then(later, later);
  };
  replica.subscribe(look);
  look();
}
