// Before a node starts as a standby: what it holds of timelines that it never reached, and that may be nobody's future any more, goes.
import { readControlData } from '../postgres/control-data.ts';
import { removeFillers } from '../postgres/timelines.ts';
import { removeUnreached } from '../postgres/unreached.ts';
import type { AgentContext } from './context.ts';

/** Only while its PostgreSQL does not run. What an upstream has of them is fetched from there once more. */
export async function forgetUnreached(
  context: Pick<AgentContext, 'instance' | 'log'>,
  signal: AbortSignal,
): Promise<void> {
  const { dataDirectory } = context.instance.options;
  const removed = await removeUnreached(dataDirectory, signal);
  if (removed.length > 0)
    context.log('info', 'removed what was fetched of timelines that were not reached', {
      timelines: removed,
    });
  await removeFillers({
    dataDirectory,
    current: (await readControlData(dataDirectory)).checkpointTimeline,
  });
}
