// Runs the promote command of the configuration in place of the promote file and SIGUSR1: a program of the owner's that has PostgreSQL
// promoted, on this host or over ssh. Only for a promotion that the log holds, on a node that is cut off. Its exit code says at most
// that it failed: whether the server was promoted, and to what, is read from the server (src/postgres/promote.ts).
import { rm } from 'node:fs/promises';
import { delay, withDeadline } from '../base/clock.ts';
import type { Duty } from '../failover/duties.ts';
import { readMoment } from '../guard/boot-clock.ts';
import { readOwnFile, writeNewFile } from '../postgres/durable-files.ts';
import { groupMembers, hasInEnvironment, processState } from '../postgres/processes.ts';
import type { AgentContext } from './context.ts';
import { type OwnersCommand, runCommand } from './run-command.ts';

export type PromoteCommand = OwnersCommand;
type PromoteDuty = Extract<Duty, { readonly kind: 'promote' }>;

const LOG_LINES = 20;
const ENDED_WITHIN_MS = 5000;
/** A state directory that hangs holds up neither a promotion nor this process. */
const FILE_MS = 2000;
const FILE_BYTES_MAX = 4096;
const PLACE_VARIABLE = 'PG_SENTINEL_DATA_DIRECTORY';

/** Whom to promote, to which timeline and at which epoch: what receives it over a network can keep the highest and refuse a lower one. */
function promoteEnvironment(
  { instance: { options }, registration }: Pick<AgentContext, 'instance' | 'registration'>,
  duty: PromoteDuty,
): Record<string, string> {
  return {
    PG_SENTINEL_CLUSTER_ID: options.clusterName,
    PG_SENTINEL_INCARNATION: String(duty.incarnation),
    PG_SENTINEL_EPOCH: String(duty.epoch),
    PG_SENTINEL_GROUP: duty.group,
    PG_SENTINEL_NODE: options.node,
    PG_SENTINEL_HOST: registration()?.host ?? '',
    PG_SENTINEL_PORT: String(options.port),
    [PLACE_VARIABLE]: options.dataDirectory,
    PG_SENTINEL_SOCKET_DIRECTORY: options.socketDirectory,
    PG_SENTINEL_BIN_DIRECTORY: options.binaries.directory,
    PG_SENTINEL_TIMELINE: String(duty.timeline),
  };
}

/** One promotion by the command. */
export interface PromoteRun {
  /**
   * Runs it. Resolves once it has ended well. Throws where it did not, or not within its time, and the signal's reason once that aborts; nothing of
   * its process group runs any more then.
   */
  begin(signal: AbortSignal): Promise<void>;
  /** The server was promoted: what a command that ended well has left running lives on, and is told of. Never throws. */
  leave(): Promise<void>;
  /** It was not: SIGKILL to what a command that ended well has left of its process group. Never throws. */
  end(): Promise<void>;
}

export function openPromoteRun(
  context: Pick<AgentContext, 'instance' | 'registration' | 'log'>,
  { command, duty }: { readonly command: PromoteCommand; readonly duty: PromoteDuty },
): PromoteRun {
  const { user, promoteRunFile, dataDirectory } = context.instance.options;
  const fields = { program: command.command[0], epoch: duty.epoch, timeline: duty.timeline };
  let run: Run | undefined;
  let noted: Promise<void> = Promise.resolve();
  const forget = async (): Promise<void> => {
    run = undefined;
    // A note that stays names nobody: it is looked at again when sentineld starts.
    await noted.then(() => removeNote(promoteRunFile)).catch(() => undefined);
  };
  return {
    async begin(signal) {
      context.log('info', 'the promote command is run', fields);
      const startedMs = performance.now();
      const result = await runCommand(command, {
        user,
        environment: promoteEnvironment(context, duty),
        signal,
        onStart(pid) {
          run = runOf(pid);
          noted = run === undefined ? noted : noteRun(promoteRunFile, run, context.log);
        },
      });
      const said = {
        ...fields,
        tookMs: Math.round(performance.now() - startedMs),
        output: result.output.trimEnd().split('\n').slice(-LOG_LINES).join('\n'),
      };
      if (result.kind === 'done' && !signal.aborted)
        return context.log('info', 'the promote command has ended well', said);
      await (result.kind === 'done' ? this.end() : forget());
      if (signal.aborted) {
        context.log('warn', 'the promote command was broken off', said);
        throw signal.reason as Error;
      }
      const reason = result.kind === 'failed' ? result.reason : '';
      context.log('error', 'the promote command failed', { ...said, reason });
      throw new Error(`the promote command failed (${reason})`);
    },
    async leave() {
      const left = run === undefined ? [] : membersOf(run, dataDirectory);
      if (left.length > 0)
        context.log('warn', 'the promote command has left processes running', { ...fields, processes: left });
      await forget();
    },
    async end() {
      const ending = run;
      if (ending === undefined) return;
      const onNote = (message: string): void => context.log('warn', message, fields);
      if (await endRun(ending, dataDirectory, onNote)) await forget();
    },
  };
}

/** A process for good: its id alone goes over to another one. */
interface Run {
  readonly pid: number;
  readonly startTicks: number;
  readonly bootId: string;
}

function runOf(pid: number): Run | undefined {
  const startTicks = processState(pid)?.startTicks;
  return startTicks === undefined ? undefined : { pid, startTicks, bootId: readMoment().bootId };
}

/** For the next sentineld, should this one be killed. What cannot be written down, as on a full disk, holds up no promotion. */
async function noteRun(path: string, run: Run, log: AgentContext['log']): Promise<void> {
  const content = JSON.stringify(run);
  const writing = writeNewFile({ path, content, mode: 0o600, owner: undefined, sync: false });
  await withDeadline(`writing ${path}`, FILE_MS, writing).catch((error: unknown) => {
    log('warn', 'it could not be written down that the promote command runs', {
      error: (error as Error).message,
    });
  });
}

const removeNote = (path: string): Promise<void> =>
  withDeadline(`removing ${path}`, FILE_MS, rm(path, { force: true }));

/**
 * Those of its process group that live. The group may outlive its first process, by whose number it goes; while any of it is there, a zombie too,
 * that number is nobody else's.
 */
function membersOf(run: Run, dataDirectory: string): number[] {
  if (run.bootId !== readMoment().bootId) return [];
  const first = processState(run.pid);
  if (first !== undefined && first.startTicks !== run.startTicks) return [];
  const members = groupMembers(run.pid);
  // Else the number may have gone over to another group, which has lost its first process as well.
  return first === undefined
    ? members.filter((pid) => hasInEnvironment(pid, `${PLACE_VARIABLE}=${dataDirectory}`))
    : members;
}

/** SIGKILL to all of its process group; false where something of it does not end, which is told. */
async function endRun(run: Run, dataDirectory: string, onNote: (message: string) => void): Promise<boolean> {
  let left = membersOf(run, dataDirectory);
  if (left.length === 0) return true;
  onNote(`a promote command that was left running (process ${run.pid}) is ended`);
  const deadlineMs = performance.now() + ENDED_WITHIN_MS;
  for (; left.length > 0; left = membersOf(run, dataDirectory)) {
    if (performance.now() > deadlineMs) {
      onNote(`processes ${left.join(', ')} of a promote command that was left running do not end`);
      return false;
    }
    try {
      process.kill(-run.pid, 'SIGKILL');
    } catch {
      // They have ended just now, or may not be signalled: they are waited for all the same.
    }
    await delay(10);
  }
  return true;
}

/**
 * Ends the promote command, with its process group, that a sentineld which was killed has left running: nobody holds it to its
 * deadline, and it must not run beside the next one, nor at a later epoch. One that does not end is told of, and tried again at the next start: the
 * node has to be cut off and started all the same. Never throws.
 */
export async function endLeftPromoteCommand(
  { promoteRunFile, dataDirectory }: { readonly promoteRunFile: string; readonly dataDirectory: string },
  onNote: (message: string) => void,
): Promise<void> {
  try {
    const run = await readRun(promoteRunFile, onNote);
    if (run === undefined || (await endRun(run, dataDirectory, onNote))) await removeNote(promoteRunFile);
  } catch (error) {
    onNote((error as Error).message);
  }
}

/** Undefined where there is none, one that was not written to its end, or one that somebody else has put there. */
async function readRun(path: string, onNote: (message: string) => void): Promise<Run | undefined> {
  const own = { uid: process.getuid?.() ?? -1, gid: process.getgid?.() ?? -1 };
  const reading = readOwnFile(path, own, FILE_BYTES_MAX);
  let text: string | undefined;
  try {
    text = await withDeadline(`reading ${path}`, FILE_MS, reading);
  } catch (error) {
    onNote(`no promote command is looked for that was left running: ${(error as Error).message}`);
    return undefined;
  }
  try {
    const run = JSON.parse(text ?? '') as Run;
    return Number.isInteger(run.pid) && run.pid > 1 ? run : undefined;
  } catch {
    return undefined;
  }
}
