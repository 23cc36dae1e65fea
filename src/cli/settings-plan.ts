// `sentinelctl settings set|unset|edit --dry-run`: what would change, from what to what, and which nodes would have to be restarted for it.
import type { PlannedRequest, SettingsPlan } from '../transport/types.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { paintFor, type Context } from './context.ts';
import { renderDocument } from './document.ts';
import { readable } from './settings-keys.ts';
import { askCluster, type SteerCommandOptions } from './steer.ts';

/** Asks a peer for the plan and prints it; {@link CliError} where the cluster would refuse the change. Changes nothing. */
export async function showSettingsPlan(
  context: Context,
  options: SteerCommandOptions,
  request: PlannedRequest,
): Promise<void> {
  const { kind, detail, settings } = await askCluster(context, options, { kind: 'plan', of: request });
  if (settings === undefined)
    throw new CliError(EXIT.failed, 'the peer did not say what would change; is it of another version?');
  if (options.output === 'table') {
    const paint = paintFor(context, options, context.stdout);
    const lines = planLines(settings).map((line) => `  ${line}\n`);
    context.stdout.write(`${paint('green', 'done')}: ${detail}\n${lines.join('')}`);
    return;
  }
  const { changes, lateParameters, restartNodes } = settings;
  const named = changes.map(({ key, from, to }) => ({ key: readable(key, undefined).key, from, to }));
  const document = { kind, detail, changes: named, lateParameters, restartNodes };
  context.stdout.write(renderDocument(options.output, document, { stream: false }));
}

/** `acks: 1 -> 2`, each on a line of its own, then `restart needed: pg1, pg2`. */
function planLines({ changes, lateParameters, restartNodes }: SettingsPlan): string[] {
  const lines = changes.map(({ key, from, to }) => {
    const before = readable(key, from);
    return `${before.key}: ${before.value} -> ${readable(key, to).value}`;
  });
  if (restartNodes.length === 0) return lines;
  return [...lines, `restart needed: ${restartNodes.join(', ')} (for ${lateParameters.join(', ')})`];
}
