// The levels of what the log may hold. A level is used only once every member is known to understand it, so that a rolling
// upgrade never stops a peer that has not been upgraded yet. Must never be lowered: the log holds what a level brought.
import type { ClusterState } from './state.ts';

/** By level, beginning at 1: what the log may hold from then on. */
const LEVELS: readonly string[] = [
  'sessions, membership changes, snapshots, recovered groups', // 1
  'settings of groups, leases, fenced nodes, forced and scheduled failovers', // 2
  'pauses of groups and nodes, maintenance', // 3
  'parameters of PostgreSQL, history of settings', // 4
  'replication slots of absent members', // 5
  'options of nodes, sites of peers, failback', // 6
  'rules for pg_hba.conf', // 7
  'removed nodes', // 8
  'adopted groups', // 9
  'formations, declared hosts, watched servers', // 10
  'upstreams of cascading standbys, WAL fetched from another standby', // 11
  'groups that begin with a restored data directory', // 12
  'scheduled restarts', // 13
  'logical slots', // 14
  'groups that follow another site', // 15
  'groups whose database is replaced by another one', // 16
];

/** The highest level this version understands. */
export const FEATURES = LEVELS.length;

export const FIRST_FEATURE_LEVEL = 1;
export const SETTINGS_FEATURE_LEVEL = 2;
export const PAUSE_FEATURE_LEVEL = 3;
export const PARAMETERS_FEATURE_LEVEL = 4;
export const SLOTS_FEATURE_LEVEL = 5;
export const CANDIDATES_FEATURE_LEVEL = 6;
export const HBA_FEATURE_LEVEL = 7;
export const REMOVAL_FEATURE_LEVEL = 8;
export const ADOPTION_FEATURE_LEVEL = 9;
export const FORMATIONS_FEATURE_LEVEL = 10;
export const CASCADE_FEATURE_LEVEL = 11;
export const RESTORE_FEATURE_LEVEL = 12;
export const SCHEDULED_RESTART_FEATURE_LEVEL = 13;
export const LOGICAL_SLOTS_FEATURE_LEVEL = 14;
export const SITE_FEATURE_LEVEL = 15;
export const REPLACEMENT_FEATURE_LEVEL = 16;

/** Why the level cannot be `level` now, or undefined where it can. */
export function featureLevelRefusal(state: ClusterState, level: number): string | undefined {
  if (level !== state.featureLevel + 1)
    return `the feature level is ${state.featureLevel}: the next is not ${level}`;
  const { voters, learners } = state.membership;
  const behind = [...voters, ...learners].filter((peer) => (state.peers.get(peer)?.features ?? 0) < level);
  if (behind.length === 0) return undefined;
  return `not known to understand feature level ${level}: ${behind.join(', ')}`;
}
