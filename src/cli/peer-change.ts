// What the changes of `sentinelctl peer` have in common: the leader is looked for and followed, a peer that falls silent is
// asked again, and the outcome is printed. Only for requests that may be repeated without harm.
import { Option, type Command } from 'commander';
import { delay } from '../base/clock.ts';
import { DURATION_RULE, parseDurationMs } from '../base/duration.ts';
import { isName, NAME_RULE, peerId, type PeerId } from '../base/ids.ts';
import { AdminError } from '../transport/admin-client.ts';
import type { PeerChangeOutcome } from '../transport/types.ts';
import { messageOf, paintFor, type Admin, type CommonOptions, type Context } from './context.ts';
import { FORMATS, renderDocument, type Format } from './document.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { ADDRESS_RULE, findPeers, isAddress } from './peers.ts';

export interface PeerChangeOptions extends CommonOptions {
  readonly output: Format;
  readonly wait: string;
}

type Done = Extract<PeerChangeOutcome, { kind: 'done' }>;

/** How a change is asked of the peer that leads. */
export type Ask = (
  admin: Admin,
  call: { readonly timeoutMs: number; readonly signal: AbortSignal },
) => Promise<PeerChangeOutcome>;

const RETRY_MS = 200;

/** The options that every change has. */
export function withChangeOptions(command: Command, wait: string): Command {
  return command
    .option('--wait <duration>', 'how long to wait for the outcome', wait)
    .addOption(
      new Option('-o, --output <format>', 'how to print the outcome').choices(FORMATS).default('table'),
    );
}

/** Asks the leader until it is done, refused ({@link CliError}) or too late, and prints the outcome. */
export async function changePeers(context: Context, options: PeerChangeOptions, ask: Ask): Promise<void> {
  print(context, options, await askLeader(context, options, ask));
}

/** As {@link changePeers}, without printing. */
export async function askLeader(context: Context, options: PeerChangeOptions, ask: Ask): Promise<Done> {
  const known = findPeers(options, context.env);
  const deadlineMs = performance.now() + waitMs(options);
  let leader: string | undefined;
  let isAsked = false;
  let last = 'no peer was asked';
  for (;;) {
    const addresses = leader === undefined ? known : [leader, ...known.filter((each) => each !== leader)];
    try {
      const admin = await connectWithin(context, options, addresses);
      try {
        isAsked = true;
        const timeoutMs = Math.max(1, deadlineMs - performance.now());
        const outcome = await ask(admin, { timeoutMs, signal: context.signal });
        if (outcome.kind === 'done') return outcome;
        if (outcome.kind === 'refused') throw new CliError(EXIT.failed, `refused: ${outcome.reason}`);
        last =
          outcome.leader === undefined
            ? 'there is no Raft leader: a majority of the voters has to be up'
            : `the leader is ${outcome.leader.peer} at ${outcome.leader.address}`;
        leader = outcome.leader?.address;
      } finally {
        admin.close();
      }
    } catch (error) {
      context.signal.throwIfAborted();
      if (!mayTryAgain(error))
        throw error instanceof CliError ? error : new CliError(EXIT.failed, messageOf(error));
      last = messageOf(error);
      leader = undefined;
      if (!isAsked) throw new CliError(EXIT.unreachable, last);
    }
    if (performance.now() >= deadlineMs)
      throw new CliError(EXIT.failed, `not done within ${options.wait}: ${last}; see sentinelctl peer list`);
    await delay(RETRY_MS, context.signal);
    context.signal.throwIfAborted();
  }
}

async function connectWithin(
  context: Context,
  options: PeerChangeOptions,
  addresses: readonly string[],
): Promise<Admin> {
  const admin = await context.connect({ addresses, timeoutMs: options.timeout });
  context.signal.throwIfAborted();
  return admin;
}

/** A peer that was stopped or lost on the way: another one knows more. */
function mayTryAgain(error: unknown): boolean {
  return error instanceof AdminError && ['unreachable', 'deadline', 'failed'].includes(error.kind);
}

export function print(context: Context, options: PeerChangeOptions, outcome: Done): void {
  if (options.output !== 'table') {
    context.stdout.write(renderDocument(options.output, outcome, { stream: false }));
    return;
  }
  const paint = paintFor(context, options, context.stdout);
  context.stdout.write(`${paint('green', 'done')}: ${outcome.detail}\n`);
}

/** The name on the command line, or {@link CliError} with exit code 2. */
export function parsePeer(text: string): PeerId {
  if (isName(text)) return peerId(text);
  throw new CliError(EXIT.usage, `"${text}" is not the name of a peer: expected ${NAME_RULE}`);
}

/** The address on the command line, or {@link CliError} with exit code 2. */
export function parseAddress(text: string): string {
  if (isAddress(text)) return text;
  throw new CliError(EXIT.usage, `"${text}" is not an address: expected ${ADDRESS_RULE}`);
}

/** `--wait` in milliseconds, or {@link CliError} with exit code 2. */
export function waitMs(options: { readonly wait: string }): number {
  const ms = parseDurationMs(options.wait);
  if (ms !== undefined && ms > 0) return ms;
  throw new CliError(
    EXIT.usage,
    `--wait: "${options.wait}" is given; expected ${DURATION_RULE}, and more than 0`,
  );
}

/** Asks on the terminal; without one `--yes` is needed. Throws unless the answer is `expected`. */
export async function confirm(
  context: Context,
  options: { readonly yes?: boolean },
  question: string,
  isExpected: (answer: string) => boolean,
): Promise<void> {
  if (options.yes === true) return;
  if (context.ask === undefined)
    throw new CliError(
      EXIT.usage,
      'nothing was changed: standard input is no terminal to ask on; pass --yes to go on without being asked',
    );
  const answer = await context.ask(question);
  context.signal.throwIfAborted();
  if (!isExpected(answer.trim())) throw new CliError(EXIT.failed, 'nothing was changed');
}
