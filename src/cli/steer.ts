// What the commands that change something of a group or a node have in common: ask any peer, wait for the log, print the outcome.
import { Option, type Command } from 'commander';
import { isName, NAME_RULE, nodeId, type NodeId } from '../base/ids.ts';
import type { PlannedRequest, SteerOutcome, SteerRequest } from '../transport/types.ts';
import { messageOf, paintFor, withAdmin, type CommonOptions, type Context } from './context.ts';
import { FORMATS, renderDocument, type Format } from './document.ts';
import { CliError, EXIT } from './exit-codes.ts';

export interface SteerCommandOptions extends CommonOptions {
  readonly output: Format;
}

export function withOutputOption(command: Command): Command {
  return command.addOption(
    new Option('-o, --output <format>', 'how to print the outcome').choices(FORMATS).default('table'),
  );
}

/** As of the other commands that have it. */
export function withDryRun(command: Command): Command {
  return command.option('--dry-run', 'only say what would happen, or why it could not be done');
}

/** What is asked, or with `--dry-run` only its plan: a request of its own, which a peer of an older version refuses. */
export function inEarnest(request: PlannedRequest, { dryRun }: { readonly dryRun?: boolean }): SteerRequest {
  return dryRun === true ? { kind: 'plan', of: request } : request;
}

/** Asks, of the peer that can do it, and prints; {@link CliError} where the cluster refuses, or falls silent. */
export async function steerGroup(
  context: Context,
  options: SteerCommandOptions,
  request: SteerRequest,
  timeoutMs?: number,
): Promise<void> {
  const outcome = await askCluster(context, options, request, timeoutMs);
  const paint = paintFor(context, options, context.stdout);
  context.stdout.write(
    options.output === 'table'
      ? `${paint('green', 'done')}: ${outcome.detail}\n`
      : renderDocument(options.output, outcome, { stream: false }),
  );
}

/** What was done; {@link CliError} as of {@link steerGroup}. */
export async function askCluster(
  context: Context,
  options: CommonOptions,
  request: SteerRequest,
  timeoutMs?: number,
): Promise<Extract<SteerOutcome, { readonly kind: 'done' }>> {
  let outcome = await askOnce(context, options, request, timeoutMs);
  if (outcome.kind === 'elsewhere') {
    const { peer, address } = outcome;
    const there = { ...options, config: undefined, peers: address };
    outcome = await askOnce(context, there, request, timeoutMs).catch((error: unknown) => {
      if (!(error instanceof CliError) || error.exitCode !== EXIT.unreachable) throw error;
      throw new CliError(
        error.exitCode,
        `peer ${peer} has to be asked, which cannot be reached: ${error.message}`,
      );
    });
  }
  if (outcome.kind === 'elsewhere')
    throw new CliError(EXIT.failed, `the peers do not agree on which of them has to be asked; ask again`);
  if (outcome.kind === 'refused') throw new CliError(EXIT.failed, `refused: ${outcome.reason}`);
  return outcome;
}

function askOnce(
  context: Context,
  options: CommonOptions,
  request: SteerRequest,
  timeoutMs: number | undefined,
): Promise<SteerOutcome> {
  const call = { signal: context.signal, ...(timeoutMs === undefined ? {} : { timeoutMs }) };
  return withAdmin(context, options, (admin) =>
    admin.steer(request, call).catch((error: unknown) => {
      throw new CliError(EXIT.failed, messageOf(error));
    }),
  );
}

/** The name on the command line, or {@link CliError} with exit code 2. */
export function parseNode(text: string): NodeId {
  if (isName(text)) return nodeId(text);
  throw new CliError(EXIT.usage, `"${text}" is not the name of a node: expected ${NAME_RULE}`);
}
