// Proposals of one life on their way to the log: out of order, twice, late or never. Never used outside tests.
import type { Command, Envelope } from '../../cluster/commands.ts';
import { SESSION } from './life-parts.ts';
import type { NodeModel } from './postgres-model.ts';

export interface InFlight {
  readonly from: NodeModel | string;
  readonly envelope: Envelope;
}

const IN_FLIGHT_MAX = 20;

export function createProposals() {
  const inFlight: InFlight[] = [];
  const late: InFlight[] = [];
  let count = 0;

  const envelopeOf = (command: Command): Envelope => {
    count += 1;
    const waiting = [...inFlight, ...late].map(({ envelope }) => envelope.sequence);
    const answeredBelow = Math.min(count, ...waiting);
    return { session: SESSION, sequence: count, answeredBelow, proposedAtMs: 0, command };
  };

  return {
    inFlight,
    /** Those that a former leader still has. */
    late,
    envelopeOf,
    /** Unless that agent is cut off, or has one of the kind on its way. */
    propose(from: InFlight['from'], command: Command): void {
      if (typeof from === 'object' && !from.agent.isConnected) return;
      const isWaiting = inFlight.some(
        (other) => other.from === from && other.envelope.command.kind === command.kind,
      );
      if (isWaiting || inFlight.length > IN_FLIGHT_MAX) return;
      inFlight.push({ from, envelope: envelopeOf(command) });
    },
  };
}
