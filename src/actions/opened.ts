// Whether somebody has opened this node for writes while its group followed another site. Found out before PostgreSQL is started as a standby, after which
// its control file says nothing of it, and remembered.
import type { MemberId } from '../base/ids.ts';
import { readControlData } from '../postgres/control-data.ts';
import { endedAsStandby, isMarkedOpened, isUnstartedClone, markOpened } from '../postgres/opened-marker.ts';
import type { AgentContext } from './context.ts';

/** Of a PostgreSQL that runs only what was found earlier counts: stop one that takes writes first. */
export async function wasOpened(
  { instance }: Pick<AgentContext, 'instance'>,
  member: MemberId,
): Promise<boolean> {
  const { dataDirectory, user } = instance.options;
  if (await isMarkedOpened(dataDirectory, member)) return true;
  if (instance.postmaster() !== undefined) return false;
  if (endedAsStandby(await readControlData(dataDirectory)) || (await isUnstartedClone(dataDirectory)))
    return false;
  await markOpened({ dataDirectory, member, owner: user.owner });
  return true;
}
