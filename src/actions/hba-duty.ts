// Rules for pg_hba.conf that the log gives, on the server that runs: written, read by PostgreSQL, and only then loaded. What it does not
// take is announced, and the file is as it was before. Must never touch the file while clients are kept out.
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

export function createHbaDuty(context: AgentContext): HbaDuty {
  const { instance } = context;
  let wasGroup: readonly string[] | undefined;
  let readPid: number | undefined;
  let others: string | undefined;
  let failure: string | undefined;

  const errorsOf = async (
    signal: AbortSignal,
  ): Promise<readonly { readonly at: number; readonly error: string }[]> =>
    instance.session.query<{ at: number; error: string }>(ERRORS, [], query(context, signal));

  const give = async (signal: AbortSignal): Promise<void> => {
    const { taken } = instance;
    const isWritten = await instance.writeHba('admitted');
    const errors = await errorsOf(signal);
    const ofGroup = errors.filter(({ at }) => instance.hbaLineOf(at) !== undefined);
    const [first] = ofGroup;
    if (first !== undefined) {
      const reason = `hba line ${instance.hbaLineOf(first.at)}: ${first.error}`;
      await taken.refuseHba(reason);
      await instance.writeHba('admitted');
      instance.reload();
      context.announce(
        `PostgreSQL does not take the rules for pg_hba.conf, those before are in force: ${reason}`,
      );
      return;
    }
    // PostgreSQL takes the whole file or nothing of it.
    const other = errors.map(({ at, error }) => `line ${at} of pg_hba.conf: ${error}`).at(0);
    if (other !== undefined && other !== others) context.announce(`pg_hba.conf cannot be loaded: ${other}`);
    others = other;
    if (other !== undefined) return;
    if (isWritten || !taken.isHbaProven()) instance.reload();
    await taken.proveHba();
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
