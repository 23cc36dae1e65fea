// `sentinelctl node restart --at`, `--in` and `--cancel`: a restart is put into the log, which has it carried out whatever becomes of the
// peer that was asked.
import { SCHEDULED_RESTART_FEATURE_LEVEL } from '../cluster/features.ts';
import { RESTART_VALID_MS } from '../failover/decide-restarts.ts';
import type { SteerOutcome, SteerRequest } from '../transport/types.ts';
import { findGroup } from './failover-watch.ts';
import { planned } from './pauses.ts';
import { type SteerOptions, proposeAndSay, refused } from './steering.ts';

/** Whoever schedules further ahead has mistyped. */
const AHEAD_MS_MAX = 366 * 24 * 3_600_000;

export async function scheduleRestart(
  options: SteerOptions,
  request: Extract<SteerRequest, { readonly kind: 'schedule-restart' }>,
): Promise<SteerOutcome> {
  const { node: name, atMs, inPlace, dryRun } = request;
  const state = options.state();
  if (state.featureLevel < SCHEDULED_RESTART_FEATURE_LEVEL)
    return refused('not every peer understands this yet: upgrade all of them first');
  const node = state.nodes.get(name);
  if (node === undefined)
    return refused(`there is no node ${name}; there are: ${[...state.nodes.keys()].join(', ') || 'none'}`);
  const group = findGroup(state, node.group);
  if (typeof group === 'string') return refused(group);
  const known = group.restarts.find((restart) => restart.node === name);
  const base = { kind: 'schedule-restart', group: group.id, node: name } as const;
  if (atMs === undefined) {
    if (known === undefined) return refused(`no restart of ${name} is scheduled`);
    const detail = `no restart of ${name} is scheduled any more`;
    return dryRun ? planned(detail) : proposeAndSay(options, { ...base, at: undefined }, detail);
  }
  const at = new Date(atMs).toISOString();
  const { wallMs } = options.view();
  if (atMs <= wallMs) return refused(`${at} is past`);
  if (atMs - wallMs > AHEAD_MS_MAX) return refused(`${at} is more than a year ahead`);
  if (group.phase.primary === name && !inPlace)
    return refused(
      `${name} is the primary of group ${group.id}: switch over first (sentinelctl failover), or give --in-place, with which writes wait while it restarts`,
    );
  const until = new Date(atMs + RESTART_VALID_MS).toISOString();
  const instead =
    known === undefined ? '' : `, in the place of the one for ${new Date(known.atMs).toISOString()}`;
  const detail = `${name} is restarted at ${at}${instead}; where something stands against it then, it is tried again until ${until}`;
  if (dryRun) return planned(detail);
  return proposeAndSay(options, { ...base, at: { atMs, inPlace } }, detail);
}
