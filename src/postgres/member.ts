// Which member a data directory is: a node together with an id made anew whenever the directory is (initdb, clone,
// rewind, restore). A file that names another node came with a copy and is not ours.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isName, makeMemberId, memberId, nodeId, type MemberId, type NodeId } from '../base/ids.ts';
import { removeFileDurably, writeFileDurably, type Owner } from './durable-files.ts';

export const MEMBER_FILE = 'pg_sentinel_member.json';

export interface Member {
  readonly node: NodeId;
  readonly memberId: MemberId;
  readonly systemIdentifier: string;
}

/** The member that a data directory says it is; undefined where the file is missing, unreadable, or of another node or system. */
export async function readMember(options: {
  readonly dataDirectory: string;
  readonly node: NodeId;
  readonly systemIdentifier: string;
}): Promise<Member | undefined> {
  const member = await readMemberFile(options.dataDirectory);
  return member?.node === options.node && member.systemIdentifier === options.systemIdentifier
    ? member
    : undefined;
}

/** What the member file says, whosever it is: of a data directory that is damaged nothing else can be asked. */
export async function readMemberFile(dataDirectory: string): Promise<Member | undefined> {
  const text = await readFile(join(dataDirectory, MEMBER_FILE), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : parseMember(text);
}

function parseMember(text: string): Member | undefined {
  try {
    const raw = JSON.parse(text) as Partial<Record<keyof Member, unknown>>;
    const { node, memberId: id, systemIdentifier } = raw;
    if (
      typeof node !== 'string' ||
      !isName(node) ||
      typeof id !== 'string' ||
      typeof systemIdentifier !== 'string'
    )
      return undefined;
    return { node: nodeId(node), memberId: memberId(id), systemIdentifier };
  } catch {
    return undefined;
  }
}

/** Gives a data directory a new member id. After initdb, clone and rewind, before its first start. */
export async function writeNewMember(options: {
  readonly dataDirectory: string;
  readonly node: NodeId;
  readonly systemIdentifier: string;
  readonly owner: Owner | undefined;
}): Promise<Member> {
  const { node, systemIdentifier } = options;
  const member: Member = {
    node,
    memberId: makeMemberId(node, randomBytes(4).toString('hex')),
    systemIdentifier,
  };
  const path = join(options.dataDirectory, MEMBER_FILE);
  await writeFileDurably({ path, content: `${JSON.stringify(member)}\n`, mode: 0o600, owner: options.owner });
  return member;
}

/** Takes the id away: a directory that is about to be changed behind the rule's back is no member. */
export const removeMember = (dataDirectory: string): Promise<void> =>
  removeFileDurably(join(dataDirectory, MEMBER_FILE));
