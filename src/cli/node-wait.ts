// Waiting for a node that is cloned anew, with what its agent says of it: bytes, speed and the time left. Only looks.
import { delay } from '../base/clock.ts';
import { formatDuration } from '../base/duration.ts';
import type { NodeView } from '../transport/types.ts';
import { withAdmin, type CommonOptions, type Context } from './context.ts';
import { CliError, EXIT } from './exit-codes.ts';

const POLL_MS = 500;

export function nodeView(
  context: Context,
  options: CommonOptions,
  name: string,
): Promise<NodeView | undefined> {
  return withAdmin(context, options, async (admin) => {
    const { groups } = await admin.status();
    return groups.flatMap(({ nodes }) => nodes).find(({ node }) => node === name);
  });
}

/** Until it streams with another data directory than `before`; {@link CliError} where it has not within the time. It goes on all the same. */
export async function waitForClone(
  context: Context,
  options: CommonOptions,
  { name, before, timeoutMs }: { name: string; before: string | undefined; timeoutMs: number },
): Promise<void> {
  const startedMs = performance.now();
  let said: string | undefined;
  for (;;) {
    const node = await nodeView(context, options, name);
    if (node?.state === 'streaming' && node.member !== before) {
      context.stderr.write(`${name} streams, after ${formatDuration(performance.now() - startedMs)}\n`);
      return;
    }
    const message = node?.message;
    if (message !== undefined && message !== said) context.stderr.write(`${name}: ${message}\n`);
    said = message;
    if (performance.now() - startedMs >= timeoutMs)
      throw new CliError(
        EXIT.failed,
        `${name} does not stream yet after ${formatDuration(timeoutMs)}; its agent goes on, see sentinelctl status --watch`,
      );
    await delay(POLL_MS, context.signal);
    context.signal.throwIfAborted();
  }
}
