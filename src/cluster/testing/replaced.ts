// A group that goes on with another database. Never used outside tests.
import { REPLACEMENT_FEATURE_LEVEL } from '../features.ts';
import { A, GROUP, type Log, newLog, running } from './example.ts';

/** It begins anew with it. */
export function replaced(): Log {
  const log = newLog({ ...running().state, featureLevel: REPLACEMENT_FEATURE_LEVEL });
  const base = { group: GROUP, epoch: log.epoch, primary: A, from: '77', to: '88' };
  log.must(
    { kind: 'pause', group: GROUP, node: undefined, isMaintenance: false, untilMs: undefined },
    { kind: 'replace-database', ...base },
  );
  return log;
}
