// Registers the node in the log: where it is, which data directory it has, and what its configuration says of the part it takes. Repeats
// itself where one of them has changed, and no more often than needed: an idle cluster writes nothing.
import type { MemberId } from '../base/ids.ts';
import type { Command, NodeRegistration } from '../cluster/commands.ts';
import { NO_OPTIONS } from '../cluster/eligibility.ts';
import type { NodeState } from '../cluster/state.ts';
import type { PostmasterFile } from '../postgres/processes.ts';
import type { AgentContext } from './context.ts';
import type { DataDirectory } from './data-directory.ts';
import { createAddressFor } from './registered-address.ts';

export interface Registering {
  /** Resolves with whether the log has it as it is. */
  register(data: DataDirectory): Promise<boolean>;
  /** Why the log refused it the last time. */
  refusal(): string | undefined;
  /** A refusal is not waited for any longer. */
  retry(): void;
}

const REGISTER_AGAIN_MS = 2000;
const REGISTER_AGAIN_MS_MAX = 60_000;

export function createRegistering(options: {
  readonly wanted: () => Omit<NodeRegistration, 'member' | 'systemIdentifier'>;
  readonly registered: () => NodeState | undefined;
  readonly postmaster: () => PostmasterFile | undefined;
  /** Why it is not registered for the first time yet: what it is would not be understood. Left out: it may be. */
  readonly obstacle?: () => string | undefined;
  /** A person has taken the node out: to ask for it again and again would fill the log. */
  readonly isRemoved: () => boolean;
  /** Whether its PostgreSQL replays with a delay, or cannot be asked. */
  readonly isDelayed: () => Promise<boolean>;
  readonly propose: (
    command: Command,
  ) => Promise<{ readonly kind: 'applied' | 'refused' | 'unknown'; readonly reason?: string }>;
  readonly announce: AgentContext['announce'];
  readonly withdraw: AgentContext['withdraw'];
}): Registering {
  const addressFor = createAddressFor(options.wanted(), options);
  let refusal:
    | {
        readonly wish: string;
        readonly reason: string | undefined;
        readonly untilMs: number;
        readonly pauseMs: number;
      }
    | undefined;

  /** It is kept in the log until PostgreSQL has ended it: until then nothing may rest on the node. */
  const withPresentDelay = async (
    wanted: NodeRegistration['options'],
    present: NodeRegistration['options'],
  ): Promise<NodeRegistration['options']> => {
    const { applyDelayMs } = present ?? NO_OPTIONS;
    const isEnding = applyDelayMs > 0 && (wanted ?? NO_OPTIONS).applyDelayMs === 0;
    return isEnding && (await options.isDelayed()) ? { ...(wanted ?? NO_OPTIONS), applyDelayMs } : wanted;
  };

  return {
    async register(data) {
      if (options.isRemoved()) return false;
      const member = memberOf(data);
      const systemIdentifier = data.kind === 'ready' ? data.control.systemIdentifier : undefined;
      const known = options.registered();
      if (known === undefined && options.obstacle?.() !== undefined) return false;
      const { options: wantedOptions, ...wanted } = options.wanted();
      const nodeOptions = await withPresentDelay(wantedOptions, known?.options);
      const { priority } = wanted;
      const { host, port } = addressFor(known, options.postmaster());
      const said = JSON.stringify(nodeOptions);
      const isKnown =
        known !== undefined &&
        known.member === member &&
        known.systemIdentifier === systemIdentifier &&
        known.host === host &&
        known.port === port &&
        known.priority === priority &&
        JSON.stringify(known.options) === said;
      if (isKnown) return true;
      // A refusal stands until something changes: asking again and again would fill the log.
      const wish = `${host} ${port} ${priority} ${member} ${systemIdentifier} ${said}`;
      const earlier = refusal?.wish === wish ? refusal : undefined;
      if (earlier !== undefined && performance.now() < earlier.untilMs) return false;
      const outcome = await options.propose({
        kind: 'register-node',
        ...wanted,
        ...(nodeOptions === undefined ? {} : { options: nodeOptions }),
        host,
        port,
        member,
        systemIdentifier,
      });
      const isRepeated = earlier !== undefined && outcome.kind === 'refused';
      const pauseMs = isRepeated ? Math.min(2 * earlier.pauseMs, REGISTER_AGAIN_MS_MAX) : REGISTER_AGAIN_MS;
      refusal =
        outcome.kind === 'applied'
          ? undefined
          : { wish, reason: outcome.reason, untilMs: performance.now() + pauseMs, pauseMs };
      return outcome.kind === 'applied';
    },
    refusal: () => (options.registered() === undefined ? options.obstacle?.() : undefined) ?? refusal?.reason,
    retry() {
      refusal = undefined;
    },
  };
}

export function memberOf(data: DataDirectory): MemberId | undefined {
  return data.kind === 'ready' ? data.member?.memberId : undefined;
}

/** Whether its PostgreSQL replays with a delay; one that does not answer may. */
export async function isDelayed({
  instance,
  timing,
}: Pick<AgentContext, 'instance' | 'timing'>): Promise<boolean> {
  if (instance.postmaster() === undefined) return false;
  const rows = await instance.session
    .query<{ isDelayed: boolean }>(DELAY_QUERY, [], { timeoutMs: timing.queryTimeoutMs })
    .catch(() => []);
  return rows[0]?.isDelayed !== false;
}

const DELAY_QUERY = `
  select setting <> '0' as "isDelayed" from pg_settings where name = 'recovery_min_apply_delay'`;
