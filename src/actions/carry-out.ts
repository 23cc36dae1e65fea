// Which step carries out which duty, and what of a duty makes a pass under way pointless when it changes.
import { unreachable } from '../base/assert.ts';
import type { Duty } from '../failover/duties.ts';
import { stopForeign } from './adopt-duty.ts';
import type { AgentContext } from './context.ts';
import type { DataDirectory } from './data-directory.ts';
import { carryOutCut, carryOutHandOver, carryOutPromote } from './failover-duties.ts';
import { carryOutFollow } from './follow-duty.ts';
import { carryOutHandsOff } from './hands-off-duty.ts';
import { carryOutCreate, carryOutPrimary } from './primary-duty.ts';
import { carryOutRemoved } from './removed-duty.ts';
import { refuseStranger } from './restore-duty.ts';
import { carryOutSite } from './site-duty.ts';
import { carryOutStopped } from './stopped-duty.ts';
import type { TamperWatch } from './tamper.ts';
import { useFor } from './whose-server.ts';

export async function carryOut(
  context: AgentContext,
  duty: Exclude<Duty, { kind: 'none' }>,
  signal: AbortSignal,
): Promise<void> {
  switch (duty.kind) {
    case 'create':
      return carryOutCreate(context, duty, signal);
    case 'primary':
      return carryOutPrimary(context, duty, signal);
    case 'hand-over':
      return carryOutHandOver(context, duty, signal);
    case 'cut':
      return carryOutCut(context, duty, signal);
    case 'promote':
      return carryOutPromote(context, duty, signal);
    case 'follow':
      return duty.upstream.site === undefined
        ? carryOutFollow(context, duty, signal)
        : carryOutSite(context, duty, signal);
    case 'hands-off':
      return carryOutHandsOff(context, duty, signal);
    case 'stopped':
      return carryOutStopped(context, duty, signal);
    case 'removed':
      return carryOutRemoved(context, duty, signal);
    default:
      return unreachable(duty);
  }
}

/** A pass over the duty with all that goes with it; nothing of that where what is in the data directory is not for it. */
export async function carryOutWithLooks(
  context: AgentContext,
  duty: Exclude<Duty, { kind: 'none' }>,
  options: {
    /** Undefined where it cannot be read: whoever is to be stopped is stopped then as well. */
    readonly data: DataDirectory | undefined;
    readonly tamper: Pick<TamperWatch, 'around'>;
    /** They throw nothing but the signal's reason. */
    readonly looks: readonly { look(duty: Duty, signal: AbortSignal): Promise<void> }[];
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { data, tamper, signal } = options;
  if (data !== undefined && (duty.kind === 'follow' || duty.kind === 'cut'))
    await refuseStranger(context, data);
  if ((await useFor(context, duty, data)) === 'stop')
    return stopForeign(context, signal, 'it holds another database than the group');
  const looks = options.looks.map((each) => () => each.look(duty, signal));
  await tamper.around(duty, signal, () =>
    thenLook({ pass: () => carryOut(context, duty, signal), looks, signal }),
  );
}

/** What makes a pass under way pointless when it changes; everything else is read from the duty as it goes. */
export function keyOf(duty: Duty): string {
  switch (duty.kind) {
    case 'none':
      return 'none';
    case 'follow':
      return `follow ${duty.incarnation} ${duty.epoch} ${duty.upstream.node} ${duty.upstream.host} ${duty.upstream.port} ${duty.upstream.timeline} ${duty.upstream.site ?? ''}`;
    case 'cut':
      return `cut ${duty.incarnation} ${duty.epoch}${fetchKey(duty)}`;
    case 'primary':
      return `primary ${duty.incarnation} ${duty.epoch} ${duty.next?.change ?? ''}`;
    case 'removed':
      return `removed ${duty.incarnation} ${duty.epoch} ${duty.leaving}`;
    default:
      return `${duty.kind} ${duty.incarnation} ${duty.epoch}`;
  }
}

function fetchKey({ fetch }: Extract<Duty, { readonly kind: 'cut' }>): string {
  if (fetch === undefined) return '';
  return fetch.kind === 'given-up' ? ' fetch given up' : ` fetch from ${fetch.source.node}`;
}

/** What people have set reaches PostgreSQL also where the pass fails, such as one that finds no upstream. Throws what that throws. */
export async function thenLook(options: {
  readonly pass: () => Promise<void>;
  /** They throw nothing but the signal's reason. */
  readonly looks: readonly (() => Promise<void>)[];
  readonly signal: AbortSignal;
}): Promise<void> {
  try {
    await options.pass();
  } finally {
    for (const look of options.looks) if (!options.signal.aborted) await look();
  }
}
