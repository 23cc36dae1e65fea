// One member's process: started in a directory of its own (by which the reaper finds it), killed, started again. Its output
// goes to a file there, whose end is quoted when it ends unasked.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { until } from '../../src/base/clock.ts';

export interface ProgramPlan {
  readonly name: string;
  readonly command: string;
  readonly commandArguments: readonly string[];
  readonly directory: string;
  readonly environment: NodeJS.ProcessEnv;
  /** True: the program is Node and takes messages by `process.on('message')`. */
  readonly takesMessages: boolean;
}

export interface Program {
  readonly pid: number | undefined;
  start(): void;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Sends a message and waits for the next one that comes back. */
  ask(request: object, timeoutMs: number): Promise<unknown>;
  /** Throws when it ended without having been killed from here. */
  assertRunning(): void;
}

const KILL_TIMEOUT_MS = 10_000;
const QUOTED_BYTES = 2000;

export function createProgram(plan: ProgramPlan): Program {
  const logFile = `${plan.directory}/output.log`;
  let child: ChildProcess | undefined;
  let failure: string | undefined;
  let requestCount = 0;

  const start = (): void => {
    const log = openSync(logFile, 'a');
    // A session of its own: a Ctrl-C in the terminal is for the benchmark, which ends this one in order.
    const started = spawn(plan.command, [...plan.commandArguments], {
      cwd: plan.directory,
      detached: true,
      env: plan.environment,
      stdio: plan.takesMessages ? ['ignore', log, log, 'ipc'] : ['ignore', log, log],
    });
    closeSync(log);
    child = started;
    failure = undefined;
    const ended = (how: string): void => {
      if (child !== started) return;
      child = undefined;
      failure = `${plan.name} ended by itself (${how}): ${lastWords(logFile)}`;
    };
    started.once('exit', (code, signal) => ended(signal ?? `exit code ${code}`));
    started.once('error', (error) => ended(error.message));
  };

  return {
    get pid() {
      return child?.pid;
    },
    start,
    async kill() {
      const killed = child;
      child = undefined;
      if (killed === undefined) return;
      killed.kill('SIGKILL');
      const what = `${plan.name} (pid ${killed.pid}) to end on SIGKILL`;
      await until(
        { what, timeoutMs: KILL_TIMEOUT_MS, everyMs: 1 },
        () => killed.exitCode !== null || killed.signalCode !== null,
      );
    },
    ask(request, timeoutMs) {
      const asked = child;
      if (asked === undefined) return Promise.reject(new Error(`cannot ask ${plan.name}: it does not run`));
      requestCount += 1;
      const id = requestCount;
      return new Promise((resolve, reject) => {
        const finish = (): void => {
          clearTimeout(timer);
          asked.off('message', listener);
        };
        const listener = (message: unknown): void => {
          const answer = message as { readonly id?: number; readonly value?: unknown };
          if (answer.id !== id) return;
          finish();
          resolve(answer.value);
        };
        const timer = setTimeout(() => {
          finish();
          reject(new Error(`${plan.name} did not answer ${JSON.stringify(request)} within ${timeoutMs} ms`));
        }, timeoutMs);
        asked.on('message', listener);
        asked.send({ ...request, id });
      });
    },
    assertRunning() {
      if (failure !== undefined) throw new Error(failure);
    },
  };
}

/** Empty where the file is gone: then everything is being removed. */
function lastWords(file: string): string {
  try {
    return readFileSync(file, 'utf8').slice(-QUOTED_BYTES);
  } catch {
    return '';
  }
}

/** The program of that member. Throws where there is none. */
export function programOf(programs: ReadonlyMap<string, Program>, member: string): Program {
  const program = programs.get(member);
  if (program === undefined) throw new RangeError(`there is no member ${member}`);
  return program;
}
