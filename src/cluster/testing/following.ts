// A group to test with that follows another site: a is the site leader, b and c stream from it. Never used outside tests.
import type { NodeId } from '../../base/ids.ts';
import type { Command } from '../commands.ts';
import { NO_OPTIONS } from '../eligibility.ts';
import { SITE_FEATURE_LEVEL } from '../features.ts';
import { A, B, C, GROUP, type Log, memberOfNode, newLog, registration } from './example.ts';

export const SITE_OPTIONS = { ...NO_OPTIONS, source: 'far1:5432,far2:5432' };
/** A node without data that knows the other site. */
export const known = (node: NodeId, more: object = {}): Command => ({
  ...registration(node),
  options: SITE_OPTIONS,
  ...more,
});
/** One that has been copied. */
export const withData = (node: NodeId, more: object = {}): Command =>
  known(node, { member: memberOfNode(node), systemIdentifier: '77', ...more });
export const BEGIN = {
  kind: 'lead-site',
  group: GROUP,
  epoch: undefined,
  node: A,
} as const satisfies Command;

export const emptyLog = (featureLevel = SITE_FEATURE_LEVEL): Log =>
  newLog({ ...newLog().state, featureLevel });

export function following(): Log {
  const log = emptyLog();
  log.must(known(A), known(B), known(C), BEGIN, withData(A), withData(B), withData(C));
  return log;
}
