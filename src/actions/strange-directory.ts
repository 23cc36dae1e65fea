// A data directory that holds the group's database and yet is not this node's: a copy of it, such as a promoted one for reports or a restored one, which a wrong
// configuration names. Its system identifier is the group's, so that a rewind or a clone would take away what somebody needs. Changes nothing.
import { holdsOurs } from '../postgres/give-back.ts';
import { MEMBER_FILE, readMemberFile } from '../postgres/member.ts';
import type { AgentContext } from './context.ts';

/**
 * Why no standby is made of a data directory without this node's member id; undefined where it may be. Our own rewinds take the id away, too, and may be
 * broken off then: but whatever this node has run on has its settings and its pg_hba.conf.
 */
export async function strangeText({ instance }: Pick<AgentContext, 'instance'>): Promise<string | undefined> {
  const { dataDirectory, node, user } = instance.options;
  const named = await readMemberFile(dataDirectory);
  const isOthers = named !== undefined && named.node !== node;
  if (!isOthers && (await holdsOurs(dataDirectory, user.owner))) return undefined;
  const whose = isOthers
    ? `is that of node ${named.node}, or a copy of it, by its ${MEMBER_FILE}`
    : 'holds a copy of the database that pg-sentinel has not made';
  return `cannot make a standby: ${dataDirectory} ${whose}, and is left as it is: move it away, or have node.data_directory name another place; where nobody needs it, sentinelctl node reinit ${node} has it replaced by a clone`;
}
