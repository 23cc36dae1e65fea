// Parameters that people set, on the server that runs: brought into its file and reloaded, and what it takes only at its next start is
// told. Must never restart PostgreSQL: when that is done is for people to say.
import type { ParameterReport } from '../cluster/report.ts';
import type { Duty } from '../failover/duties.ts';
import { STANDBY_LIMIT_NAMES, wantedParameters } from '../postgres/effective-parameters.ts';
import { PENDING_RESTART } from '../postgres/pending-restart.ts';
import { type AgentContext, query } from './context.ts';

export interface ParameterDuty {
  /** One look; called with each pass, and cheap where nothing has changed. Throws only the signal's reason. */
  look(duty: Duty, signal: AbortSignal): Promise<void>;
  /** What was found last; undefined where nothing was, or PostgreSQL does not run. */
  report(): ParameterReport | undefined;
}

const WRITE_EVERY_MS = 1000;
const READ_EVERY_MS = 5000;
/** After a change, until it is certain that the server has read its files. */
const CHANGED_MS = 3000;
/** Of a report, which travels several times a second. */
const NAME_COUNT_MAX = 50;

const FOUND = `
  select name, setting, (${PENDING_RESTART}) as "isPending" from pg_settings s
  where pending_restart or name = any ($1) order by name`;

const NOT_TAKEN = `
  select lower(name) as name from pg_file_settings where lower(name) = any ($1) and error is not null
  union select lower(name) from pg_settings where lower(name) = any ($1) and pending_restart`;

/**
 * Of what a node holds back for others, that which people have a part in: what they want otherwise, or have unset, for which the primary has to
 * be restarted first. Configuration files that differ from node to node hold something back for ever.
 */
export function heldForOthers(options: {
  readonly held: readonly string[];
  readonly wanted: Readonly<Record<string, string>>;
  readonly primaryPending: readonly string[];
}): readonly string[] {
  const { held, wanted, primaryPending } = options;
  return held.filter((name) => Object.hasOwn(wanted, name) || primaryPending.includes(name));
}

export function createParameterDuty(context: AgentContext): ParameterDuty {
  const { instance } = context;
  const { options } = instance;
  let found: ParameterReport | undefined;
  let wasGroup: ReadonlyMap<string, string> | undefined;
  let wasMaxSlotWalBytes: number | undefined;
  let writtenAtMs = -Infinity;
  let readAtMs = -Infinity;
  let changedAtMs = -Infinity;
  let readPid: number | undefined;
  let failure: string | undefined;

  const read = async (signal: AbortSignal): Promise<ParameterReport> => {
    const rows = await instance.session.query<{ name: string; setting: string; isPending: boolean }>(
      FOUND,
      [STANDBY_LIMIT_NAMES],
      query(context, signal),
    );
    const pending = rows.filter(({ isPending }) => isPending).map(({ name }) => name);
    const limits = rows.filter(({ name }) => STANDBY_LIMIT_NAMES.includes(name));
    // What waits for other nodes waits for a restart here as well.
    const held = heldForOthers({
      held: instance.parameters()?.held ?? [],
      wanted: wantedParameters(options.parameters, options.groupParameters()),
      primaryPending: options.primaryPending(),
    });
    return {
      pendingRestart: [...new Set([...pending, ...held])].sort().slice(0, NAME_COUNT_MAX),
      overridden: overriddenHere().slice(0, NAME_COUNT_MAX),
      limits: new Map(limits.map(({ name, setting }) => [name, Number(setting)])),
    };
  };

  /** What runs is what the next start may be made with. */
  const prove = async (signal: AbortSignal): Promise<void> => {
    const { taken } = instance;
    const written = instance.parameters();
    if (written === undefined) return;
    const unproven = taken.unprovenParameters(written);
    if (unproven.length === 0) return;
    const rows = await instance.session.query<{ name: string }>(
      NOT_TAKEN,
      [unproven],
      query(context, signal),
    );
    const open = new Set(rows.map(({ name }) => name));
    // That one no longer in the file needs a restart shows only once the server has read it.
    const isRead = performance.now() - changedAtMs >= CHANGED_MS;
    const isTaken = (name: string): boolean => !open.has(name) && (isRead || written.group.has(name));
    await taken.proveParameters(unproven.filter(isTaken), written);
  };

  const overriddenHere = (): string[] => {
    const group = options.groupParameters();
    return Object.entries(options.parameters)
      .map(([name, value]) => [name.toLowerCase(), value] as const)
      .filter(([name, value]) => group.has(name) && group.get(name) !== value)
      .map(([name]) => name)
      .sort();
  };

  return {
    report: () => (instance.postmaster()?.pid === readPid ? found : undefined),
    async look(duty, signal) {
      const pid = instance.postmaster()?.pid;
      if (pid === undefined || (duty.kind !== 'primary' && duty.kind !== 'follow')) return;
      // It reads no file of ours, and what it runs with says nothing of what ours can be started with.
      if (instance.isForeign()) return;
      const nowMs = performance.now();
      const group = options.groupParameters();
      const maxSlotWalBytes = options.maxSlotWalBytes();
      const isNew = group !== wasGroup || maxSlotWalBytes !== wasMaxSlotWalBytes || pid !== readPid;
      try {
        if (isNew || nowMs - writtenAtMs >= WRITE_EVERY_MS) {
          writtenAtMs = nowMs;
          const role = duty.kind === 'primary' ? 'primary' : 'standby';
          if ((await instance.applyParameters(role)) || isNew) changedAtMs = nowMs;
          wasGroup = group;
          wasMaxSlotWalBytes = maxSlotWalBytes;
        }
        const everyMs = nowMs - changedAtMs < CHANGED_MS ? 0 : READ_EVERY_MS;
        if (nowMs - readAtMs < everyMs && pid === readPid) return;
        readAtMs = nowMs;
        found = await read(signal);
        await prove(signal);
        readPid = pid;
        failure = undefined;
      } catch (error) {
        signal.throwIfAborted();
        const { message } = error as Error;
        if (message !== failure)
          context.log('warn', 'cannot bring the parameters up to date', { error: message });
        failure = message;
      }
    },
  };
}
