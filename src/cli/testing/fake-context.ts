// A cluster and a terminal that are not there: for tests of commands.
import type { EventView, FailoverOutcome, PeerChangeOutcome, StatusView } from '../../transport/types.ts';
import type { Admin, Context, Output } from '../context.ts';
import { runProgram } from '../program.ts';
import { EVENTS, HEALTHY, PEERS } from './views.ts';

export interface FakeOutput extends Output {
  readonly chunks: string[];
}

export function fakeOutput(
  options: { isTerminal?: boolean; columns?: number; rows?: number } = {},
): FakeOutput {
  const chunks: string[] = [];
  return {
    chunks,
    write: (text) => void chunks.push(text),
    isTerminal: options.isTerminal ?? false,
    size: () => ({ columns: options.columns ?? 80, rows: options.rows ?? 24 }),
    onResize: () => () => undefined,
  };
}

/** An admin service with the given answers; it records what was asked. */
export function fakeAdmin(
  answers: Partial<Admin> & { readonly shown?: StatusView; readonly log?: readonly EventView[] } = {},
): Admin & {
  readonly asked: unknown[];
} {
  const asked: unknown[] = [];
  return {
    asked,
    status: () => Promise.resolve(answers.shown ?? HEALTHY),
    watch: answers.watch ?? (() => Promise.resolve()),
    failover:
      answers.failover ??
      ((request) => {
        asked.push(request);
        const outcome: FailoverOutcome = {
          kind: 'done',
          group: 'main',
          from: 'pg1',
          to: 'pg2',
          epoch: 424,
          tookMs: 121,
        };
        return Promise.resolve(outcome);
      }),
    steer:
      answers.steer ??
      ((request) => {
        asked.push(request);
        return Promise.resolve({ kind: 'done', detail: `${request.kind} is done` });
      }),
    settings:
      answers.settings ?? (() => Promise.resolve({ kind: 'refused', reason: 'name the group: main, other' })),
    events:
      answers.events ??
      ((request) => {
        asked.push(request);
        return Promise.resolve((answers.log ?? EVENTS).slice(-request.limit));
      }),
    peers: answers.peers ?? fakePeers(asked),
    close: () => void asked.push('closed'),
  };
}

/** Does whatever it is asked, and records it. */
export function fakePeers(asked: unknown[], change: Partial<Admin['peers']> = {}): Admin['peers'] {
  const done =
    (kind: string) =>
    (request: object): Promise<PeerChangeOutcome> => {
      asked.push({ kind, ...request });
      return Promise.resolve({ kind: 'done', detail: `${kind} is done` });
    };
  return {
    list: () => Promise.resolve(PEERS),
    add: done('add'),
    promote: done('promote'),
    remove: done('remove'),
    move: done('move'),
    transfer: done('transfer'),
    recover: done('recover'),
    ...change,
  };
}

export interface Run {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `sentinelctl ARGS` against the admin service; an error in its place is thrown by `connect`. */
export async function run(
  args: readonly string[],
  options: { admin?: Admin | Error; context?: Partial<Context>; stdout?: FakeOutput } = {},
): Promise<Run> {
  const stdout = options.stdout ?? fakeOutput();
  const stderr = fakeOutput();
  const admin = options.admin ?? fakeAdmin();
  const context: Context = {
    stdout,
    stderr,
    ask: undefined,
    env: { PG_SENTINEL_PEERS: '10.0.0.1:7432' },
    signal: new AbortController().signal,
    connect: () => (admin instanceof Error ? Promise.reject(admin) : Promise.resolve(admin)),
    local: () => Promise.reject(new Error('nothing is done on this host')),
    setExitCode: () => undefined,
    ...options.context,
  };
  const exitCode = await runProgram(context, '0.1.0', args);
  return { exitCode, stdout: stdout.chunks.join(''), stderr: stderr.chunks.join('') };
}
