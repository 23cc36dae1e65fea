// Whether the server that runs in this node's data directory is this node's at all: a wrong configuration may name the place of another sentineld's, and
// that one looks like ours from outside. Nobody here stops, configures or asks it. Changes nothing.
import type { Duty } from '../failover/duties.ts';
import { readMemberFile } from '../postgres/member.ts';
import { readSettings } from '../postgres/settings.ts';
import type { AgentContext } from './context.ts';
import type { DataDirectory } from './data-directory.ts';
import { isStartedByUs } from './foreign.ts';
import { mustHoldAll } from './left-directory.ts';
import { mustNotBeOther, noStandbyText, otherDatabaseText } from './other-database.ts';

/**
 * What is done with what is in the data directory: its duty is carried out, or what runs there is stopped. Throws where neither is to be done: nothing is to
 * be changed there, and no look may follow. `data` is undefined where it cannot be read.
 */
export async function useFor(
  context: AgentContext,
  duty: Exclude<Duty, { kind: 'none' }>,
  data: DataDirectory | undefined,
): Promise<'carry out' | 'stop'> {
  await mustBeThisNodes(context, data);
  if (data?.kind !== 'ready') return 'carry out';
  const { instance } = context;
  const postmaster = instance.postmaster();
  if (duty.kind === 'cut' || duty.kind === 'promote' || duty.kind === 'hand-over')
    mustNotBeOther(context, data);
  if ((duty.kind === 'cut' || duty.kind === 'hand-over') && postmaster === undefined)
    await mustHoldAll(context, {
      control: data.control,
      isLogs: false,
      otherwise: 'not reported where it stands',
    });
  if ((duty.kind !== 'primary' && duty.kind !== 'follow') || postmaster === undefined) return 'carry out';
  const other =
    duty.kind === 'follow' ? noStandbyText(context, data.control) : otherDatabaseText(context, data.control);
  if (other === undefined) return 'carry out';
  if (duty.kind === 'follow') throw new Error(other);
  // On the address of the primary it would pass for that, and nobody would take over. Nobody would anyway where a person has paused, or while the group is
  // being adopted.
  const isSomebodyElses = instance.isForeign() || isStartedByUs(postmaster.pid) === false;
  if (isSomebodyElses && !duty.isPaused && duty.isUnprotected !== true) return 'stop';
  throw new Error(`left alone: ${other}`);
}

/** Throws where another sentineld, or this one under another name, has started what runs here. */
export async function mustBeThisNodes(context: AgentContext, data: DataDirectory | undefined): Promise<void> {
  const { instance } = context;
  const pid = instance.postmaster()?.pid;
  // What somebody has started by hand, or with a copy of a member file, is what the duties are for.
  if (pid === undefined || instance.isForeign() || isStartedByUs(pid) === false) return;
  const { dataDirectory, node, clusterName } = instance.options;
  const named = await readMemberFile(dataDirectory);
  if (named === undefined) return;
  const isOther = data?.kind === 'ready' && otherDatabaseText(context, data.control) !== undefined;
  // The name of a cluster can be changed; that of a database cannot.
  const cluster = isOther ? (await readSettings(dataDirectory)).get('cluster_name') : undefined;
  if (named.node === node && (cluster === undefined || cluster === clusterName)) return;
  throw new Error(
    `left alone: the PostgreSQL that runs in ${dataDirectory} is node ${named.node}${cluster === undefined ? '' : ` of cluster ${cluster}`}, which another sentineld looks after; set node.data_directory to the place of ${node}, and restart sentineld (if ${node} was called so before: stop that PostgreSQL)`,
  );
}
