// Servers that somebody else has made and started become ours (docs/decisions/0013-adopting.md). A standby is stopped and started again as
// one of ours, when its turn comes. A primary goes on as it is: accounts, slots and two blocks of pg_hba.conf are all that it gets. Must
// never stop a primary that is being adopted.
import { readFile, stat } from 'node:fs/promises';
import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Duty } from '../failover/duties.ts';
import { writeFileDurably } from '../postgres/durable-files.ts';
import { hbaLines, hbaWithOurs, takenOverConfiguration } from '../postgres/foreign-server.ts';
import { ourHbaLines } from '../postgres/hba.ts';
import { reloadPostgres } from '../postgres/lifecycle.ts';
import { writeNewMember } from '../postgres/member.ts';
import { revisionOfAccounts, setUpAccounts } from './accounts-duty.ts';
import { type AgentContext, query } from './context.ts';
import { foreignSettings } from './found-server.ts';
import { hbaOptions } from './instance-files.ts';
import { lookAfterSlots } from './slots.ts';

type DutyOf<K extends Duty['kind']> = Extract<Duty, { readonly kind: K }>;

const STOP_FAST_MS = 5000;
/** Its owner may go on changing its files until it is ours. */
const TAKE_OVER_EVERY_MS = 5000;

/** One pass over a primary that goes on as it is. */
export async function carryOutUnprotected(
  context: AgentContext,
  duty: DutyOf<'primary'>,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  context.clearUnexpectedEnd();
  const role = await instance.readRole(query(context, signal));
  if (role.kind !== 'primary' || role.timeline !== duty.timeline)
    throw new Error(
      `the server that is being adopted runs as a ${role.kind} on timeline ${role.timeline}; expected the primary on timeline ${duty.timeline}`,
    );
  await makeMember(context);
  await context.once('taken over', () => takeOverFiles(context, signal), TAKE_OVER_EVERY_MS);
  await context.once('let in', () => letOursIn(context, signal), TAKE_OVER_EVERY_MS);
  await context.once(`accounts ${revisionOfAccounts(context)}`, () => setUpAccounts(context, signal));
  await lookAfterSlots(context, duty.slots, signal);
  context.activity(
    undefined,
    'being adopted: it runs with settings that are not ours until it is restarted or switched over',
  );
}

/** What it had is written down, it gets a member id, and it is stopped: the next pass starts it as one of ours. */
export async function takeOverStandby(
  context: AgentContext,
  duty: DutyOf<'follow'>,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  const role = await instance.readRole(query(context, signal));
  if (role.kind !== 'standby')
    throw new Error('the server that is being adopted as a standby is none; stop it, and it is made one');
  await takeOverFiles(context, signal);
  if (!(await makeMember(context))) return;
  if (!(await context.confirms('follow', duty))) return;
  context.activity('stopping', 'being adopted: it is started again with settings of pg-sentinel');
  context.log('info', 'taking over a standby: stopping it');
  await instance.stop({ fastMs: STOP_FAST_MS, signal });
}

/** Somebody has started it with settings of his own, which neither keep the rule nor can be cut off. */
export async function stopForeign(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { instance } = context;
  context.announce(
    `PostgreSQL was started by somebody else, with its socket in ${instance.postmaster()?.socketDirectory}; starting it again`,
  );
  await instance.stop({ fastMs: STOP_FAST_MS, signal });
}

/** The server runs with our settings now. */
export async function confirmAdopted(
  context: AgentContext,
  duty: DutyOf<'primary'> | DutyOf<'follow'>,
): Promise<void> {
  const { node } = context.instance.options;
  await context.propose({ kind: 'node-adopted', group: duty.group, epoch: duty.epoch, node });
}

async function makeMember(context: AgentContext): Promise<boolean> {
  const { dataDirectory, node, user } = context.instance.options;
  const data = await context.dataDirectory();
  if (data.kind !== 'ready') throw new Error(`cannot adopt ${dataDirectory}: it is ${data.kind}`);
  if (data.member === undefined) {
    const { systemIdentifier } = data.control;
    await writeNewMember({ dataDirectory, node, systemIdentifier, owner: user.owner });
  } else if (data.member.memberId === context.registration()?.member) return true;
  return context.registerAgain();
}

/** Its settings go to the data directory, its pg_hba.conf to ours, its pg_ident.conf beside them; none of it is in force before its restart. */
async function takeOverFiles(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { dataDirectory, user, adoptedHbaFile } = context.instance.options;
  const { owner } = user;
  const files = await configurationFiles(context, signal);
  const path = join(dataDirectory, 'postgresql.conf');
  const present = await readFile(path, 'utf8').catch(() => '');
  const content = takenOverConfiguration({
    settings: await foreignSettings(context, signal),
    configFile: files.config,
    isInside: isIn(files.config, dataDirectory),
    present,
  });
  if (content !== undefined && content !== present)
    await writeFileDurably({ path, content, mode: 0o600, owner });
  if (!isIn(files.ident, dataDirectory)) {
    const ident = await readFile(files.ident, 'utf8').catch(() => '');
    await writeFileDurably({
      path: join(dataDirectory, 'pg_ident.conf'),
      content: ident,
      mode: 0o600,
      owner,
    });
  }
  const { kept, problem } = hbaLines(await readFile(files.hba, 'utf8'));
  if (problem !== undefined) throw new Error(problem);
  const lines = ['# Taken over from an adopted server; may be edited.', ...kept, ''];
  await writeFileDurably({ path: adoptedHbaFile, content: lines.join('\n'), mode: 0o600, owner: undefined });
}

/** Our accounts, before any other line: what was there goes on for everybody else. */
async function letOursIn(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { hba } = await configurationFiles(context, signal);
  const present = await readFile(hba, 'utf8');
  const content = hbaWithOurs(present, ourHbaLines(hbaOptions(context.instance.options, 'kept-out', [])));
  if (content === present) return;
  const { mode, uid, gid } = await stat(hba);
  await writeFileDurably({ path: hba, content, mode: mode & 0o777, owner: { uid, gid } });
  reloadPostgres(context.instance.options.dataDirectory);
}

async function configurationFiles(
  context: AgentContext,
  signal: AbortSignal,
): Promise<{ readonly config: string; readonly hba: string; readonly ident: string }> {
  const [files] = await context.instance.session.query<{ config: string; hba: string; ident: string }>(
    `select current_setting('config_file') as config, current_setting('hba_file') as hba, current_setting('ident_file') as ident`,
    [],
    query(context, signal),
  );
  if (files === undefined) throw new Error('PostgreSQL did not say where its configuration files are');
  return files;
}

function isIn(path: string, dataDirectory: string): boolean {
  try {
    return realpathSync(dirname(path)) === realpathSync(dataDirectory);
  } catch {
    return false;
  }
}
