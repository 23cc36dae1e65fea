// Rules for pg_hba.conf that the log gives, on the server that runs: written, read by PostgreSQL, and only then loaded. What it does not
// take is announced, and the file is as it was before. Must never touch the file while clients are kept out.
import { shownHbaError } from '../cluster/hba-rules.ts';
import type { ParameterReport } from '../cluster/report.ts';
import type { Duty } from '../failover/duties.ts';
import { type AgentContext, query } from './context.ts';
import { clientsDue } from './tamper-settings.ts';

/** What is reported of a node's parameters, with why the log's rules are not in force. */
export function withHba(
  report: ParameterReport | undefined,
  hbaProblem: string | undefined,
): ParameterReport | undefined {
  return report === undefined || hbaProblem === undefined ? report : { ...report, hbaProblem };
}

export interface HbaDuty {
  /** One look; called with each pass, and cheap where nothing has changed. Throws only the signal's reason. */
  look(duty: Duty, signal: AbortSignal): Promise<void>;
  /** Why the log's rules are not in force here; undefined where they are. */
  problem(): string | undefined;
}

const ERRORS =
  'select line_number as "at", error from pg_hba_file_rules where error is not null order by line_number';

/** PostgreSQL says so of hostssl without SSL, and takes the file all the same. */
const NEVER_MATCHES = /^host\w* record cannot match because /;

/** Announces what is the case when it has become so, and withdraws it when it is so no longer. */
function sayer(context: AgentContext): (text: string | undefined) => void {
  let said: string | undefined;
  return (text) => {
    if (text === said) return;
    if (said !== undefined) context.withdraw(said);
    said = text;
    if (text !== undefined) context.announce(text);
  };
}

export function createHbaDuty(context: AgentContext): HbaDuty {
  const { instance } = context;
  let wasGroup: readonly string[] | undefined;
  let readPid: number | undefined;
  let others: string | undefined;
  let failure: string | undefined;
  const [refusedNow, unloadedNow, idleNow] = [sayer(context), sayer(context), sayer(context)];

  const errorsOf = async (
    signal: AbortSignal,
  ): Promise<readonly { readonly at: number; readonly error: string }[]> => {
    const rows = await instance.session.query<{ at: number; error: string }>(
      ERRORS,
      [],
      query(context, signal),
    );
    // It stands in the status and the log.
    return rows.map(({ at, error }) => ({ at, error: shownHbaError(error) }));
  };

  const placeOf = (at: number): string => {
    const line = instance.hbaLineOf(at);
    return line === undefined ? `line ${at} of pg_hba.conf` : `hba line ${line}`;
  };

  const give = async (signal: AbortSignal): Promise<void> => {
    const { taken } = instance;
    const isWritten = await instance.writeHba('admitted');
    // The log may say something else by the time PostgreSQL has answered.
    const lines = instance.writtenHba() ?? [];
    const found = await errorsOf(signal);
    const idle = found.filter(({ error }) => NEVER_MATCHES.test(error));
    const idleText = idle.map(({ at, error }) => `${placeOf(at)}: ${error}`).join('; ');
    idleNow(idleText === '' ? undefined : `rules of pg_hba.conf that do nothing: ${idleText}`);
    const errors = found.filter((each) => !idle.includes(each));
    const first = errors.find(({ at }) => instance.hbaLineOf(at) !== undefined);
    if (first !== undefined) {
      const reason = `${placeOf(first.at)}: ${first.error}`;
      await taken.refuseHba(lines, reason);
      await instance.writeHba('admitted');
      instance.reload();
      // Other rules, it may be, with the same fault.
      refusedNow(undefined);
      refusedNow(`PostgreSQL does not take the rules for pg_hba.conf, those before are in force: ${reason}`);
      return;
    }
    // Those before are taken, whatever has been refused.
    if (taken.hbaRefusal() === undefined) refusedNow(undefined);
    // PostgreSQL takes the whole file or nothing of it.
    const other = errors.map(({ at, error }) => `${placeOf(at)}: ${error}`).at(0);
    unloadedNow(other && `pg_hba.conf cannot be loaded: ${other}`);
    others = other;
    if (other !== undefined) return;
    if (isWritten || !taken.isHbaProven(lines)) instance.reload();
    await taken.proveHba(lines);
  };

  return {
    problem() {
      const { taken } = instance;
      const refusal = taken.hbaRefusal();
      if (refusal !== undefined) return refusal;
      if (instance.options.groupHba().length > 0 && others !== undefined) return others;
      return taken.isHbaProven() ? undefined : 'not given to PostgreSQL yet';
    },
    async look(duty, signal) {
      const pid = instance.postmaster()?.pid;
      if (pid === undefined || (duty.kind !== 'primary' && duty.kind !== 'follow')) return;
      // Its file is its owner's until it is ours.
      if (instance.isForeign()) return;
      if (clientsDue(context, duty) !== 'admitted') return;
      const group = instance.options.groupHba();
      if (group === wasGroup && pid === readPid) return;
      try {
        await give(signal);
        [wasGroup, readPid] = [group, pid];
        failure = undefined;
      } catch (error) {
        signal.throwIfAborted();
        const { message } = error as Error;
        if (message !== failure)
          context.log('warn', 'cannot bring pg_hba.conf up to date', { error: message });
        failure = message;
      }
    },
  };
}
