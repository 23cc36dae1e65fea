// What a command of sentinelctl works with: the admin service of some peer, the terminal, and the way to stop. All of it
// is passed in, so that commands are tested without a network or a terminal.
import type { CloneRequest } from '../local/clone-node.ts';
import type { CreateRequest } from '../local/create-node.ts';
import type { LocalOutcome } from '../local/request.ts';
import { AdminError, type AdminClient } from '../transport/admin-client.ts';
import { CliError, EXIT, type ExitCode } from './exit-codes.ts';
import { coloured, plain, wantsColour, type Paint } from './paint.ts';
import { findPeers, type PeerOptions } from './peers.ts';

/** The admin service of whichever peer answers. */
export type Admin = Omit<AdminClient, 'address'>;

export interface Output {
  write(text: string): void;
  readonly isTerminal: boolean;
  /** Of the terminal at this moment; where there is none `columns` is COLUMNS, or without bound. */
  size(): { readonly columns: number; readonly rows: number };
  /** Calls `listener` when the terminal changes its size; returns how to stop that. */
  onResize(listener: () => void): () => void;
}

/** What a person has made of a text. */
export interface Edited {
  readonly text: string;
  /** Where it stands until it is discarded. */
  readonly kept: string | undefined;
  discard(): void;
}

/** Both reject with a `LocalError` where it is refused. */
export interface LocalWork {
  createNode(request: CreateRequest): Promise<LocalOutcome>;
  cloneNode(request: CloneRequest): Promise<LocalOutcome>;
}

export interface Context {
  readonly stdout: Output;
  readonly stderr: Output;
  /** Asks on the terminal and returns the line typed; undefined where standard input is no terminal. */
  readonly ask: ((question: string) => Promise<string>) | undefined;
  /** Has a person edit the text in a file of that name; rejects where that failed. Undefined where there is no terminal. */
  readonly edit?: ((text: string, fileName: string) => Promise<Edited>) | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** Aborts on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** Throws when none of the addresses answers within the time. */
  readonly connect: (options: {
    readonly addresses: readonly string[];
    readonly timeoutMs: number;
  }) => Promise<Admin>;
  /** What is done on this host itself; loaded where it is asked for. */
  readonly local: () => Promise<LocalWork>;
  /** Commands that end without an error of their own set it: `status --exit-code`. */
  readonly setExitCode: (code: ExitCode | 2) => void;
}

/** Options of every command. */
export interface CommonOptions extends PeerOptions {
  /** How long to look for a peer that answers. */
  readonly timeout: number;
  /** False with `--no-color`. */
  readonly color: boolean;
}

/** Connects to whichever peer answers; {@link CliError} with exit code 3 when none does. */
export async function connect(context: Context, options: CommonOptions): Promise<Admin> {
  const addresses = findPeers(options, context.env);
  try {
    return await unlessAborted(context.connect({ addresses, timeoutMs: options.timeout }), context.signal);
  } catch (error) {
    context.signal.throwIfAborted();
    throw new CliError(EXIT.unreachable, messageOf(error));
  }
}

/** Runs `work` with a connection and closes it; a peer that stops answering on the way is exit code 3. */
export async function withAdmin<T>(
  context: Context,
  options: CommonOptions,
  work: (admin: Admin) => Promise<T>,
): Promise<T> {
  const admin = await connect(context, options);
  try {
    return await unlessAborted(work(admin), context.signal);
  } catch (error) {
    context.signal.throwIfAborted();
    if (error instanceof CliError) throw error;
    const silent = error instanceof AdminError && (error.kind === 'unreachable' || error.kind === 'deadline');
    throw new CliError(silent ? EXIT.unreachable : EXIT.failed, messageOf(error));
  } finally {
    admin.close();
  }
}

/** The result of `work`, or the signal's reason as soon as it aborts: Ctrl-C does not wait for an answer. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

export function paintFor(context: Context, options: CommonOptions, output: Output): Paint {
  return options.color && wantsColour(context.env, output.isTerminal) ? coloured : plain;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
