// The data directories that this node had by an earlier configuration. What is in another place now may be an old copy: where
// the group waits for nobody a primary would be open at once without what was acknowledged since, and one that is cut off would be taken for all that it has
// acknowledged. Changes nothing there.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { formatLsn } from '../base/lsn.ts';
import { answers } from '../postgres/answering.ts';
import { type ControlData, readControlData } from '../postgres/control-data.ts';
import { readMemberFile } from '../postgres/member.ts';
import { findPostmaster, isSameDirectory } from '../postgres/processes.ts';
import type { AgentContext } from './context.ts';
import { rememberPlace, rememberedPlace } from './database-before.ts';

interface Here {
  readonly control: ControlData;
  /** It is on the timeline that the log has: one that is higher elsewhere was opened by hand. */
  readonly isLogs: boolean;
  readonly otherwise: string;
}

/**
 * Throws where this node's database runs as a primary in a data directory that it had before, or was left there with more than the control data of the
 * present one says, as far as the last checkpoints of both tell. It goes on there as it did: its guard hears of leases. `otherwise` is what is not done then.
 * Nothing is to run in the present one.
 */
export async function mustHoldAll(context: AgentContext, here: Here): Promise<void> {
  const { dataDirectory } = context.instance.options;
  // That the guard was told of the present one does not mean that it has run there since.
  for (const place of new Set([await context.guarding.place(), await rememberedPlace(context)]))
    if (place !== undefined && place !== dataDirectory) await mustNotOutrun(context, place, here);
}

async function mustNotOutrun(context: AgentContext, place: string, here: Here): Promise<void> {
  const { dataDirectory } = context.instance.options;
  if (!(await answers(place)))
    throw new Error(
      `${here.otherwise}: ${place}, which this node had before, does not answer, and may hold more than ${dataDirectory}; put that right (umount -f -l ${place}, where it is lost), or put node.data_directory back`,
    );
  if (isSameDirectory(place, dataDirectory)) {
    // By its own path it is not seen.
    if (findPostmaster(place) !== undefined) await refuseRunning(context, place, here.otherwise);
  } else await mustHoldNoMore(context, place, here);
}

async function mustHoldNoMore(
  context: AgentContext,
  place: string,
  { control: here, isLogs, otherwise }: Here,
): Promise<void> {
  const { dataDirectory } = context.instance.options;
  const there = await readControlData(place).catch(() => undefined);
  const named = await readMemberFile(place);
  // Another database or another node; and what was promoted since has a timeline of its own.
  if (there?.systemIdentifier !== here.systemIdentifier) return;
  const ahead = newestTimeline(there) - newestTimeline(here);
  if (ahead < 0 || (ahead > 0 && isLogs)) return;
  if (named === undefined || named.memberId !== context.registration()?.member) return;
  if (findPostmaster(place) !== undefined && !existsSync(join(place, 'standby.signal')))
    await refuseRunning(context, place, otherwise);
  const hasGoneOn = there.checkpoint === here.checkpoint && hasRunSince(here.state, there.state);
  if (ahead === 0 && there.checkpoint <= here.checkpoint && !hasGoneOn) return;
  await rememberPlace(context, place);
  throw new Error(
    `${otherwise}: ${place}, which node.data_directory had named before, ${hasGoneOn ? 'has run since, and may hold' : 'holds'} more (until ${formatLsn(there.checkpoint)}) than ${dataDirectory} (${formatLsn(here.checkpoint)}); put that back and restart sentineld. Where what was written since is to be lost: move ${place} away`,
  );
}

/** Started anew after the other was copied from it, and ended before its next checkpoint: no copy is in another state than what it was made of. */
const hasRunSince = (here: string, there: string): boolean =>
  (here === 'shut down' && ['in production', 'shutting down', 'in crash recovery'].includes(there)) ||
  (here === 'shut down in recovery' && there === 'in archive recovery');

async function refuseRunning(context: AgentContext, place: string, otherwise: string): Promise<never> {
  await context.guarding.attach();
  await rememberPlace(context, place);
  throw new Error(
    `${otherwise}: PostgreSQL runs in ${place} (process ${findPostmaster(place)?.pid ?? 'unknown'}), which node.data_directory had named before; put that back and restart sentineld. Where it is to go on in ${context.instance.options.dataDirectory}: stop it, and have that hold what it has then`,
  );
}

const newestTimeline = ({ checkpointTimeline, minRecoveryTimeline }: ControlData): number =>
  Math.max(checkpointTimeline, minRecoveryTimeline ?? 0);
