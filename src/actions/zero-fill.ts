// A cut has PostgreSQL begin segments of WAL without filling them with zeros, which clients would wait for. That ends once they do not.
import { fillSegmentsAgain } from '../postgres/upstream.ts';
import type { AgentContext } from './context.ts';

const LOOK_EVERY_MS = 2000;

/** For a primary whose standbys hold the switch point, and for a standby that streams. */
export function endHaste(context: AgentContext): Promise<void> {
  const work = (): Promise<void> => {
    const { dataDirectory, user, parameters: own } = context.instance.options;
    const parameters = context.instance.parameters()?.parameters ?? own;
    return fillSegmentsAgain({ dataDirectory, parameters, owner: user.owner });
  };
  return context.once('segments of WAL', work, LOOK_EVERY_MS);
}
