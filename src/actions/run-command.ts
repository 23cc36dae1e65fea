// Runs a command of the configuration: a program of the owner's with its arguments, without a shell. Must never outlive its deadline, and
// says "done" only where the program itself said so.
import { answers } from '../postgres/answering.ts';
import { type OsUser, runProgram } from '../postgres/os-user.ts';

/** As it stands in the configuration. */
export interface OwnersCommand {
  /** The program, as an absolute path, and its arguments. */
  readonly command: readonly string[];
  readonly timeoutMs: number;
}

/** `output`: the end of what it said, stdout and stderr together. */
export type CommandResult =
  | { readonly kind: 'done'; readonly output: string }
  | { readonly kind: 'failed'; readonly reason: string; readonly output: string };

const REASON_LENGTH_MAX = 200;

/** Ends it and all it has started (but what has left its process group) when `signal` aborts or its time is over; never throws. */
export async function runCommand(
  { command, timeoutMs }: OwnersCommand,
  options: {
    readonly user: OsUser;
    readonly environment: Readonly<Record<string, string>>;
    readonly signal: AbortSignal;
    /** Told once it runs: the id of its process, and of its process group. */
    readonly onStart?: ((pid: number) => void) | undefined;
  },
): Promise<CommandResult> {
  const [program = '', ...args] = command;
  const startedMs = performance.now();
  try {
    // To start it would hold this whole process up until its file system answers.
    if (!(await answers(program))) throw new Error(`the file system of ${program} does not answer`);
    if (options.signal.aborted) throw new Error('broken off before it was run');
    const {
      exitCode,
      signal: endedBy,
      output,
    } = await runProgram({ ...options, program, arguments: args, cwd: '/', timeoutMs });
    if (exitCode === 0) return { kind: 'done', output };
    const isLate = performance.now() - startedMs >= timeoutMs;
    const how =
      exitCode !== undefined
        ? `exit code ${exitCode}`
        : isLate
          ? `not finished within ${timeoutMs} ms`
          : (endedBy ?? 'killed');
    const last = output.trim().split('\n').at(-1) ?? '';
    const reason = (last === '' ? how : `${how}: ${last}`).slice(0, REASON_LENGTH_MAX);
    return { kind: 'failed', reason, output };
  } catch (error) {
    return { kind: 'failed', reason: (error as Error).message, output: '' };
  }
}
