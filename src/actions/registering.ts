// Registers the node in the log: where it is, which data directory it has, and what its configuration says of the part it takes. Repeats
// itself where one of them has changed, and no more often than needed: an idle cluster writes nothing.
import type { MemberId } from '../base/ids.ts';
import type { Command, NodeRegistration } from '../cluster/commands.ts';
import type { NodeState } from '../cluster/state.ts';
import type { PostmasterFile } from '../postgres/processes.ts';
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
  readonly propose: (
    command: Command,
  ) => Promise<{ readonly kind: 'applied' | 'refused' | 'unknown'; readonly reason?: string }>;
  readonly announce: (message: string) => void;
}): Registering {
  const addressFor = createAddressFor(options.wanted(), options.announce);
  let refusal:
    | {
        readonly wish: string;
        readonly reason: string | undefined;
        readonly untilMs: number;
        readonly pauseMs: number;
      }
    | undefined;

  return {
    async register(data) {
      const member = memberOf(data);
      const systemIdentifier = data.kind === 'ready' ? data.control.systemIdentifier : undefined;
      const known = options.registered();
      const wanted = options.wanted();
      const { priority } = wanted;
      const { host, port } = addressFor(known, options.postmaster());
      const said = JSON.stringify(wanted.options);
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
    refusal: () => refusal?.reason,
    retry() {
      refusal = undefined;
    },
  };
}

export function memberOf(data: DataDirectory): MemberId | undefined {
  return data.kind === 'ready' ? data.member?.memberId : undefined;
}
