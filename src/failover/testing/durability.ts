// Groups of each durability, to test decisions with. Never used outside tests.
import type { GroupSettings, SyncRule } from '../../cluster/commands.ts';
import { SETTINGS_FEATURE_LEVEL } from '../../cluster/features.ts';
import { GROUP, type Log, P1, P2, at, newLog, running } from '../../cluster/testing/example.ts';
import { ALL_WELL, type SeenNodes } from './view.ts';

export const LEASED: SyncRule = { members: [], acks: 0, leased: true };
/** How long a promotion waits for a lease of 5 s. */
export const WAIT_MS = 6000;

/** a's last word is old. */
export const A_AT = (position: bigint): SeenNodes => ({
  ...ALL_WELL,
  a: { condition: 'primary', position, ageMs: 5000 },
});

/** Of which other settings are wanted from here on. */
export function wanting(log: Log, settings: Partial<GroupSettings>): Log {
  const wanted = newLog({ ...log.state, featureLevel: SETTINGS_FEATURE_LEVEL });
  wanted.must({
    kind: 'change-settings',
    group: GROUP,
    settings: { ...wanted.group.settings, ...settings },
  });
  return wanted;
}

/** a runs under a lease of 5 s. */
export function leased(settings: Partial<GroupSettings> = {}): Log {
  const log = wanting(running(), { durability: 'async', leaseMs: 5000, ...settings });
  log.must(at(log).change(LEASED));
  log.must(at(log).commitRule());
  return log;
}

/** A majority holds its primary for down, and the failover has begun. */
export function failed(log: Log): Log {
  log.must(at(log).down(P1), at(log).down(P2), at(log).begin());
  return log;
}
