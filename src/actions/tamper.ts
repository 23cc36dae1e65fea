// Notices what somebody else has done to our PostgreSQL: settings of ours that ALTER SYSTEM, a file or the command line overrides, a
// changed pg_hba.conf, a start behind our back. It says so and puts it right; what cannot be put right while it runs is stopped, and
// the duty starts it again as it should be. Runs between the passes of the agent's loop, never beside one.
import { readFile, readdir, realpath, stat } from 'node:fs/promises';
import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import pg from 'pg';
import type { Duty } from '../failover/duties.ts';
import { fsyncTree } from '../postgres/durable-files.ts';
import { renderHba, writeHba } from '../postgres/hba.ts';
import { reloadPostgres } from '../postgres/lifecycle.ts';
import {
  changeSettings,
  ensureIncluded,
  FORBIDDEN,
  ourSettings,
  overriddenSettings,
  readSettings,
  removeOverrides,
} from '../postgres/settings.ts';
import { type AgentContext, query } from './context.ts';
import { isStartedByUs } from './foreign.ts';
import { settingsOf } from './instance-files.ts';
import { type WatchedDuty, clientsDue, standbysDue, wrongSettings } from './tamper-settings.ts';

export interface TamperWatch {
  /**
   * Carries out a pass and throws what that throws. Before it, while PostgreSQL is stopped, takes overrides away that its next start
   * would read. After it looks where something has changed, and every ten seconds: also when the pass failed, for what somebody has
   * changed may be why. A database that is not the group's is left alone.
   */
  around(
    duty: Exclude<Duty, { kind: 'none' }>,
    signal: AbortSignal,
    pass: () => Promise<void>,
  ): Promise<void>;
  /** Why this node is no member to count on now: it does not keep what it acknowledges. */
  refusal(): string | undefined;
}

const LOOK_EVERY_MS = 1000;
const LOOK_LATEST_MS = 10_000;
/** Off, they make a member lose what it has acknowledged. */
const KEEPS_DATA = ['fsync', 'full_page_writes'];

export function createTamperWatch(context: AgentContext): TamperWatch {
  const { instance } = context;
  const { dataDirectory } = instance.options;
  // Anew each time: some of them the log decides, which may not have been read when this began.
  const settings = (): Record<string, string> =>
    ourSettings(settingsOf(instance.options, { kind: 'nobody' }));
  const ours = ourNames(context);
  // What was last written, so that a change of the log's settings under way is nobody's meddling.
  const expected = (): Record<string, string> => {
    const written = instance.parameters();
    const present = settings();
    // What these are to be goes by the data directory as well, which is read where they are written.
    if (written === undefined) for (const name of ['wal_level', 'hot_standby_feedback']) delete present[name];
    return { ...written?.parameters, ...present, ...written?.ours };
  };
  let lookedAtMs = -Infinity;
  let lookedFullyAtMs = -Infinity;
  let seen = '';
  let knownPid: number | undefined;
  let refusal: string | undefined;
  let hasUnflushed = false;
  let optOuts = '';
  let failure: string | undefined;
  let hasLooked = false;

  const isOfGroup = async (duty: Duty): Promise<boolean> => {
    const data = await context.dataDirectory().catch(() => undefined);
    if (data?.kind !== 'ready') return false;
    const systemIdentifier = context.group()?.systemIdentifier;
    if (systemIdentifier === undefined) return duty.kind === 'create' || data.member !== undefined;
    return data.control.systemIdentifier === systemIdentifier;
  };

  const look = async (duty: WatchedDuty, signal: AbortSignal): Promise<void> => {
    const found = await readFound(context, ours, signal);
    const foreign = foreignStart(found, await realpath(dataDirectory));
    if (foreign !== undefined) {
      context.announce(
        `PostgreSQL was started with ${foreign}, which overrides our settings; starting it again`,
      );
      // A primary that does not enforce its rule acknowledges what may be lost: no majority is needed to stop that.
      const isWeakened =
        duty.kind === 'primary' && !standbysDue(context, duty).includes(settingOf(found, RULE_SETTING));
      if (!isWeakened && !(await context.confirms(duty.kind, duty))) return;
      await instance.stop({ fastMs: STOP_FAST_MS, signal });
      return;
    }
    // An override that is not in force yet may be before it is gone.
    const isUnsafe = KEEPS_DATA.some(
      (name) => settingOf(found, name) === 'off' || !isOn(found.overrides.get(name) ?? 'on'),
    );
    if (isUnsafe && duty.kind === 'follow' && refusal === undefined) {
      refusal = 'refused as a member: its PostgreSQL runs with fsync or full_page_writes off';
      context.announce(refusal);
    }
    const repaired = await repair(context, { duty, found, expected: expected(), signal });
    if (repaired.length > 0) {
      reloadPostgres(dataDirectory);
      // At first they may be of a sentineld with another configuration.
      const why = hasLooked ? 'somebody had changed them' : 'they were not as the configuration has them';
      context.announce(`put right, ${why}: ${repaired.join(', ')}`);
      // Looked at again at once, to see that it is so.
      seen = '';
    }
    hasLooked = true;
    hasUnflushed ||= isUnsafe;
    if (isUnsafe || !hasUnflushed) return;
    // What it wrote meanwhile was never flushed.
    await flushAll(dataDirectory, signal);
    hasUnflushed = false;
    forgetRefusal();
  };

  const forgetRefusal = (): void => {
    if (refusal !== undefined) context.withdraw(refusal);
    refusal = undefined;
  };

  const announceOptOuts = async (signal: AbortSignal): Promise<void> => {
    const rows = await instance.session.query<{ text: string }>(OPT_OUTS, [], query(context, signal));
    const present = rows.map(({ text }) => text).join(', ');
    if (present === optOuts) return;
    if (optOuts !== '') context.withdraw(optOutText(optOuts));
    if (present !== '') context.announce(optOutText(present));
    optOuts = present;
  };

  const atRest = async (duty: Duty): Promise<void> => {
    if (instance.postmaster() !== undefined) return;
    forgetRefusal();
    // Its owner may be about to start it again, with what he has set.
    const isOwners = duty.kind === 'primary' && duty.isUnprotected === true;
    if (!isOwners) await takeOutOverrides(context, () => isOfGroup(duty));
  };

  /** Never throws but the signal's reason. */
  const whileRunning = async (duty: Duty, signal: AbortSignal): Promise<void> => {
    const postmaster = instance.postmaster();
    if (postmaster === undefined || (duty.kind !== 'primary' && duty.kind !== 'follow')) return;
    // Its duty stops it, or leaves it as it is while it is being adopted.
    if (instance.isForeign()) return;
    const nowMs = performance.now();
    if (nowMs - lookedAtMs < LOOK_EVERY_MS) return;
    lookedAtMs = nowMs;
    try {
      if (!(await isOfGroup(duty))) return;
      if (postmaster.pid !== knownPid) {
        // Another user's process, or gone: nothing to say.
        if (isStartedByUs(postmaster.pid) === false)
          context.announce('PostgreSQL was started by somebody else');
        knownPid = postmaster.pid;
        seen = '';
      }
      const present = await fingerprint(dataDirectory);
      if (present === seen && nowMs - lookedFullyAtMs < LOOK_LATEST_MS) return;
      seen = present;
      lookedFullyAtMs = nowMs;
      await look(duty, signal);
      if (duty.kind === 'primary') await announceOptOuts(signal);
      failure = undefined;
    } catch (error) {
      signal.throwIfAborted();
      seen = '';
      const { message } = error as Error;
      if (message !== failure)
        context.log('warn', 'cannot tell whether our settings are in force', { error: message });
      failure = message;
    }
  };

  return {
    refusal: () => refusal,
    async around(duty, signal, pass) {
      // Where a node is left to an administrator, so are its files.
      if (duty.kind !== 'hands-off') await atRest(duty);
      try {
        await pass();
      } finally {
        if (!signal.aborted) await whileRunning(duty, signal);
      }
    },
  };
}

/**
 * Before PostgreSQL is started as ours, where `isOfGroup`: what ALTER SYSTEM has set of our settings, and the start would read, is taken out of
 * postgresql.auto.conf.
 */
export async function takeOutOverrides(
  context: AgentContext,
  isOfGroup: () => Promise<boolean> = () => Promise.resolve(true),
): Promise<void> {
  const { options } = context.instance;
  const { dataDirectory } = options;
  const overrides = await overriddenSettings({ dataDirectory, ours: ourNames(context) });
  if (overrides.size === 0 || !(await isOfGroup())) return;
  await removeOverrides({ dataDirectory, keys: overrides.keys(), owner: options.user.owner });
  context.announce(`taken out of postgresql.auto.conf, they are ours: ${[...overrides.keys()].join(', ')}`);
}

const optOutText = (settings: string): string =>
  `commits that do not wait for a standby may be lost in a failover: ${settings}`;

const ourNames = ({ instance: { options } }: AgentContext): readonly string[] => [
  ...Object.keys(ourSettings(settingsOf(options, { kind: 'nobody' }))),
  ...FORBIDDEN,
];

const RULE_SETTING = 'synchronous_standby_names';
const STOP_FAST_MS = 2000;

const OPT_OUTS = `
  select setting || ' for ' || coalesce('role ' || quote_ident(rolname), 'all roles') || ' in ' || coalesce('database ' || quote_ident(datname), 'all databases') as text
  from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole left join pg_database d on d.oid = s.setdatabase, unnest(s.setconfig) setting
  where setting ~ '^synchronous_commit=(off|local|remote_write|0|no|false)$' order by 1`;

const isOn = (value: string): boolean => ['on', 'true', 'yes', '1'].includes(value.toLowerCase());

interface Found {
  readonly settings: readonly { readonly name: string; readonly setting: string; readonly source: string }[];
  /** The file whose word counts at the next reload, by setting. */
  readonly files: ReadonlyMap<string, string>;
  /** By ALTER SYSTEM; read last. */
  readonly overrides: ReadonlyMap<string, string>;
}

async function readFound(
  context: AgentContext,
  ours: readonly string[],
  signal: AbortSignal,
): Promise<Found> {
  const { session } = context.instance;
  const settings = await session.query<Found['settings'][number]>(
    "select name, setting, source from pg_settings where name = any ($1) or name in ('config_file', 'hba_file')",
    [ours],
    query(context, signal),
  );
  const files = await session.query<{ name: string; file: string }>(
    'select lower(name) as name, sourcefile as file from pg_file_settings where lower(name) = any ($1) order by seqno',
    [ours],
    query(context, signal),
  );
  const { dataDirectory } = context.instance.options;
  const overrides = await overriddenSettings({ dataDirectory, ours });
  return { settings, files: new Map(files.map(({ name, file }) => [name, file])), overrides };
}

const settingOf = (found: Found, name: string): string =>
  found.settings.find((each) => each.name === name)?.setting ?? '';

/** What only another start can put right. */
function foreignStart(found: Found, realDirectory: string): string | undefined {
  const configFile = settingOf(found, 'config_file');
  const hbaFile = settingOf(found, 'hba_file');
  const isOurs = (path: string, name: string): boolean => path.endsWith(`/${name}`);
  if (!isOurs(configFile, 'postgresql.conf') || !isWithin(configFile, realDirectory))
    return `config_file ${configFile}`;
  if (!isOurs(hbaFile, 'pg_hba.conf') || !isWithin(hbaFile, realDirectory)) return `hba_file ${hbaFile}`;
  const given = found.settings.filter(
    ({ name, source }) => source === 'command line' && !STARTED_WITH.has(name),
  );
  return given.length === 0 ? undefined : given.map(({ name, setting }) => `${name} = ${setting}`).join(', ');
}

/** The data directory itself comes by `-D`, from whoever starts PostgreSQL. */
const STARTED_WITH = new Set(['data_directory', 'config_file', 'hba_file']);

function isWithin(path: string, realDirectory: string): boolean {
  try {
    return realpathSync(dirname(path)) === realDirectory;
  } catch {
    return false;
  }
}

async function repair(
  context: AgentContext,
  options: {
    readonly duty: WatchedDuty;
    readonly found: Found;
    readonly expected: Readonly<Record<string, string>>;
    readonly signal: AbortSignal;
  },
): Promise<string[]> {
  const { instance } = context;
  const { dataDirectory, user } = instance.options;
  const repaired: string[] = [];
  for (const [name, value] of options.found.overrides) {
    await resetSystem(context, name, options.signal);
    repaired.push(`${name} = '${value}' (ALTER SYSTEM)`);
  }
  const wrong = wrongSettings({
    present: await readSettings(dataDirectory),
    expected: options.expected,
    inForce: new Map(options.found.settings.map(({ name, setting }) => [name, setting])),
    standbys: standbysDue(context, options.duty),
  });
  if (Object.keys(wrong).length > 0) {
    await changeSettings({ dataDirectory, changes: wrong, owner: user.owner });
    repaired.push(...Object.keys(wrong).map((name) => `${name} (pg_sentinel.conf)`));
  }
  const isElsewhere = Object.keys(options.expected).some((name) => {
    const file = options.found.files.get(name);
    return file !== undefined && !/\/(pg_sentinel|postgresql\.auto)\.conf$/.test(file);
  });
  if ((await ensureIncluded({ dataDirectory, owner: user.owner })) || isElsewhere)
    repaired.push('the last line of postgresql.conf');
  const clients = clientsDue(context, options.duty);
  if (clients === undefined) return repaired;
  const hba = instance.hba(clients);
  if ((await readFile(join(dataDirectory, 'pg_hba.conf'), 'utf8').catch(() => '')) !== renderHba(hba)) {
    await writeHba({ dataDirectory, hba, owner: user.owner });
    repaired.push('pg_hba.conf');
  }
  return repaired;
}

/** By the server; by the file where that refuses (`allow_alter_system = off`). */
async function resetSystem(context: AgentContext, name: string, signal: AbortSignal): Promise<void> {
  const { session, options } = context.instance;
  await session
    .query(`alter system reset ${pg.escapeIdentifier(name)}`, [], query(context, signal))
    .catch(async (error: unknown) => {
      signal.throwIfAborted();
      context.log('warn', `ALTER SYSTEM RESET ${name} failed; its line is taken out of the file`, {
        error: (error as Error).message,
      });
      await removeOverrides({
        dataDirectory: options.dataDirectory,
        keys: [name],
        owner: options.user.owner,
      });
    });
}

/** Changes whenever one of the files does that settings come from. */
async function fingerprint(dataDirectory: string): Promise<string> {
  const names = ['postgresql.conf', 'postgresql.auto.conf', 'pg_sentinel.conf', 'pg_hba.conf'];
  const marks = await Promise.all(
    names.map((name) =>
      stat(join(dataDirectory, name)).then(
        ({ mtimeMs, size, ino }) => `${mtimeMs} ${size} ${ino}`,
        () => 'missing',
      ),
    ),
  );
  return marks.join(', ');
}

async function flushAll(dataDirectory: string, signal: AbortSignal): Promise<void> {
  await fsyncTree(dataDirectory, signal);
  for (const name of await readdir(join(dataDirectory, 'pg_tblspc')))
    await fsyncTree(await realpath(join(dataDirectory, 'pg_tblspc', name)), signal);
}
