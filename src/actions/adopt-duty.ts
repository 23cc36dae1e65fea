// Servers that somebody else has made and started become ours (docs/decisions/0013-adopting.md). A standby is stopped and started again as
// one of ours, when its turn comes. A primary goes on as it is: accounts, slots and two blocks of pg_hba.conf are all that it gets. Must
// never stop a primary that is being adopted.
import { existsSync, realpathSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Duty } from '../failover/duties.ts';
import { type ControlData, isStoppedCleanly, readControlData } from '../postgres/control-data.ts';
import { writeFileDurably } from '../postgres/durable-files.ts';
import {
  hbaLines,
  hbaWithOurs,
  isLogical,
  isToDecode,
  takenOverConfiguration,
  withDecoding,
} from '../postgres/foreign-server.ts';
import { ourHbaLines } from '../postgres/hba.ts';
import { reloadPostgres } from '../postgres/lifecycle.ts';
import { writeNewMember } from '../postgres/member.ts';
import { overriddenSettings } from '../postgres/settings.ts';
import { readServerFile, writeAsUser } from '../postgres/server-files.ts';
import { revisionOfAccounts, setUpAccounts } from './accounts-duty.ts';
import { type AgentContext, query } from './context.ts';
import { foreignSettings } from './found-server.ts';
import { hbaOptions } from './instance-files.ts';
import { lookAfterSlots } from './slots.ts';
import { isTakenOver, writeTakenOver } from './taken-over.ts';

type DutyOf<K extends Duty['kind']> = Extract<Duty, { readonly kind: K }>;

const STOP_FAST_MS = 5000;
/** Its owner may go on changing its files until it is ours. */
const TAKE_OVER_EVERY_MS = 5000;
const LET_IN = 'let in';

/** One pass over a primary that goes on as it is. */
export async function carryOutUnprotected(
  context: AgentContext,
  duty: DutyOf<'primary'>,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  context.clearUnexpectedEnd();
  const role = await instance.readRole(query(context, signal));
  // It was handed over, and the group was given back to it before it ran again: it comes up as a standby of nobody then.
  if (role.kind === 'standby' && role.walReceiver === undefined && (await context.confirms('primary', duty)))
    return stopForeign(context, signal);
  if (role.kind !== 'primary' || role.timeline !== duty.timeline)
    throw new Error(
      `the server that is being adopted runs as a ${role.kind} on timeline ${role.timeline}; expected the primary on timeline ${duty.timeline}`,
    );
  // Before its member id, without which nobody switches over from it: the next start is with these files.
  await context.once('taken over', () => takeOverFiles(context, signal), TAKE_OVER_EVERY_MS);
  await makeMember(context);
  await context.once(LET_IN, () => letOursIn(context, signal), TAKE_OVER_EVERY_MS);
  await context.once(`accounts ${revisionOfAccounts(context)}`, () => setUpAccounts(context, signal));
  await lookAfterSlots(context, duty.slots, signal);
  const { slotProblem } = context.notes;
  context.activity(
    undefined,
    `${slotProblem === undefined ? '' : `${slotProblem}; `}being adopted: it runs with settings that are not ours until it is restarted or switched over`,
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

/**
 * Before a node whose turn has not come is cut: without a member id it could not report where it stands. Its settings are worth little
 * beside that.
 */
export async function takeOverForCut(context: AgentContext, signal: AbortSignal): Promise<void> {
  const data = await context.dataDirectory();
  if (data.kind !== 'ready') return;
  if (data.member !== undefined && data.member.memberId === context.registration()?.member) return;
  if (context.instance.isForeign()) {
    await takeOverFiles(context, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      const { message } = error as Error;
      context.log('warn', 'what the server had been set to could not be taken over', { error: message });
    });
  }
  await makeMember(context);
}

/**
 * Why the primary that is being adopted, and has ended, is left to its owner for now, who may be about to start it again, and who is at work on it
 * while the group is paused; undefined: it may be started as ours. What was handed over is none of his: nobody else would start it again.
 */
export function leftToOwner(
  context: AgentContext,
  duty: DutyOf<'primary'>,
  control: Pick<ControlData, 'state'>,
): string | undefined {
  const { timing, instance } = context;
  if (instance.isEnding()) return 'has just ended';
  const foundAtMs = context.foundStoppedAtMs();
  // A sentineld that was started just now knows of no end: its owner may have stopped it a moment before.
  const found = foundAtMs === undefined ? undefined : { atMs: foundAtMs, isClean: isStoppedCleanly(control) };
  const end = context.unexpectedEnd() ?? found;
  if (end === undefined || wasHandedOver(context)) return undefined;
  const what = end.isClean ? 'shut down cleanly by somebody' : 'crashed';
  if (duty.isPaused)
    return `${what}, and not ours yet; while it is paused it is left so: start it as it was started before, or sentinelctl resume has it started as ours`;
  const holdMs = timing.crashHoldMs + (end.isClean ? timing.restartGraceMs : 0);
  return performance.now() - end.atMs < holdMs
    ? `${what}; its owner may start it again: it is started as ours ${Math.round(holdMs / 1000)} s after it was seen to be stopped`
    : undefined;
}

/**
 * The primary that is being adopted has ended: its data directory is made known to the log where that has not happened, if what it had been set to is
 * taken over already. False while the log does not say so. Throws where its owner has to start it once more.
 */
export async function takeOverStopped(context: AgentContext): Promise<boolean> {
  const { adoptedHbaFile, dataDirectory } = context.instance.options;
  // It may have had a member id before the adoption.
  if (!isTakenOver(adoptedHbaFile) && !wasHandedOver(context))
    throw new Error(
      `the server that is being adopted ended before its settings were taken over: start it (${dataDirectory}) as it was started before`,
    );
  return context.registration()?.member === undefined ? makeMember(context) : true;
}

/**
 * Before `wal_level` is taken out of what ALTER SYSTEM has set, as one of ours: a server that is to decode, or has, goes on so, though it was set to that
 * after its settings were last taken over.
 */
export async function keepDecoding(context: AgentContext, control: ControlData): Promise<void> {
  const { dataDirectory, user } = context.instance.options;
  const set = await overriddenSettings({ dataDirectory, ours: ['wal_level'] });
  if (!control.isWalLogical && !isLogical(set.get('wal_level'))) return;
  const path = join(dataDirectory, 'postgresql.conf');
  const content = withDecoding(await readFile(path, 'utf8').catch(() => ''));
  if (content !== undefined) await writeFileDurably({ path, content, mode: 0o600, owner: user.owner });
}

/** Or it was started as a standby of ours: nobody but us starts it again. */
const wasHandedOver = ({ instance }: AgentContext): boolean =>
  existsSync(join(instance.options.dataDirectory, 'standby.signal'));

/** Somebody has started it with settings of his own, which neither keep the rule nor can be cut off. */
export async function stopForeign(
  context: AgentContext,
  signal: AbortSignal,
  why = 'starting it again',
): Promise<void> {
  const { instance } = context;
  const { socketDirectory } = instance.postmaster() ?? {};
  const where = socketDirectory === undefined ? 'without a socket' : `with its socket in ${socketDirectory}`;
  context.announce(`PostgreSQL was started by somebody else, ${where}; ${why}`);
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
  const read = (path: string): Promise<string | undefined> =>
    readServerFile(context.instance.session, path, query(context, signal));
  const files = await configurationFiles(context, signal);
  const path = join(dataDirectory, 'postgresql.conf');
  const present = (await read(path)) ?? '';
  const settings = await foreignSettings(context, signal);
  // Of a standby too, by the WAL of its primary: whoever is promoted goes on decoding.
  const { isWalLogical } = await readControlData(dataDirectory);
  const content = takenOverConfiguration({
    settings,
    decodes: isToDecode(settings, isWalLogical),
    configFile: files.config,
    isInside: isAt(files.config, path),
    present,
  });
  if (content !== undefined && content !== present)
    await writeFileDurably({ path, content, mode: 0o600, owner });
  const identPath = join(dataDirectory, 'pg_ident.conf');
  if (!isAt(files.ident, identPath)) {
    const ident = (await read(files.ident)) ?? '';
    await writeFileDurably({ path: identPath, content: ident, mode: 0o600, owner });
  }
  const hba = await read(files.hba);
  if (hba === undefined) throw new Error(`there is no ${files.hba}, where PostgreSQL says its rules are`);
  const { kept, problem } = hbaLines(hba);
  if (problem !== undefined) throw new Error(problem);
  // Last: with it all counts as taken over.
  await writeTakenOver(adoptedHbaFile, kept);
}

/** Our accounts, before any other line: what was there goes on for everybody else. */
async function letOursIn(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { session, options } = context.instance;
  const { hba } = await configurationFiles(context, signal);
  const present = await readServerFile(session, hba, query(context, signal));
  if (present === undefined) throw new Error(`there is no ${hba}, where PostgreSQL says its rules are`);
  const content = hbaWithOurs(present, ourHbaLines(hbaOptions(options, 'kept-out', [])));
  if (content !== present) await writeAsUser(options.user, hba, content);
  // The first time PostgreSQL is told in any case: what is there may be of a sentineld that ended before it could.
  else if (context.wasDone(LET_IN)) return;
  reloadPostgres(options.dataDirectory);
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

/** Whether that path is the file in the data directory; a link on the way to it may give it another name. */
function isAt(path: string, expected: string): boolean {
  try {
    return (
      basename(path) === basename(expected) && realpathSync(dirname(path)) === realpathSync(dirname(expected))
    );
  } catch {
    return false;
  }
}
