// The data directories that this node had by an earlier configuration. A primary that is started in another place may be an old copy, and where the
// group waits for nobody it would be open at once, without what was acknowledged since. Changes nothing there.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Timeline } from '../base/ids.ts';
import { formatLsn } from '../base/lsn.ts';
import { answers } from '../postgres/answering.ts';
import { type ControlData, readControlData } from '../postgres/control-data.ts';
import { readMemberFile } from '../postgres/member.ts';
import { findPostmaster, isSameDirectory } from '../postgres/processes.ts';
import type { AgentContext } from './context.ts';
import { rememberedPlace } from './database-before.ts';

/**
 * Throws where this node's database runs as a primary in a data directory that it had before, or was left there with more than `here` holds. It goes on
 * there as it did: its guard hears of leases.
 */
export async function mustBeLatest(
  context: AgentContext,
  { control: here, timeline }: { readonly control: ControlData; readonly timeline: Timeline },
): Promise<void> {
  const { dataDirectory } = context.instance.options;
  const places = [await context.guarding.place(), await rememberedPlace(context)];
  for (const place of new Set(places)) {
    if (place === undefined || place === dataDirectory) continue;
    if (!(await answers(place)))
      throw new Error(
        `cannot start the primary: ${place}, which this node had before, does not answer, and may hold more than ${dataDirectory}; put that right, or put node.data_directory back`,
      );
    if (!isSameDirectory(place, dataDirectory)) await mustHoldNoMore(context, place, { here, timeline });
  }
}

async function mustHoldNoMore(
  context: AgentContext,
  place: string,
  { here, timeline }: { readonly here: ControlData; readonly timeline: Timeline },
): Promise<void> {
  const { dataDirectory } = context.instance.options;
  const there = await readControlData(place).catch(() => undefined);
  const named = await readMemberFile(place);
  // Another database or another node; and what the log has promoted since has a timeline of its own.
  if (there?.systemIdentifier !== here.systemIdentifier || newestTimeline(there) !== timeline) return;
  if (named === undefined || named.memberId !== context.registration()?.member) return;
  const running = findPostmaster(place);
  if (running !== undefined && !existsSync(join(place, 'standby.signal'))) {
    await context.guarding.attach();
    throw new Error(
      `cannot start the primary: it runs in ${place} (process ${running.pid}), which node.data_directory had named before; put that back and restart sentineld. Where it is to go on in ${dataDirectory}: stop it, and copy it there as it is then`,
    );
  }
  if (there.checkpoint > here.checkpoint)
    throw new Error(
      `cannot start the primary: ${place}, which node.data_directory had named before, holds more (until ${formatLsn(there.checkpoint)}) than ${dataDirectory} (${formatLsn(here.checkpoint)}); put that back and restart sentineld. Where what was written since is to be lost: move ${place} away`,
    );
}

const newestTimeline = ({ checkpointTimeline, minRecoveryTimeline }: ControlData): number =>
  Math.max(checkpointTimeline, minRecoveryTimeline ?? 0);
