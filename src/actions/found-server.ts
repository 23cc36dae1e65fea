// What runs in the data directory of a node that is in no group yet, for `sentinelctl adopt`. Looks, every few seconds; changes nothing.
import { lstatSync } from 'node:fs';
import { timeline } from '../base/ids.ts';
import { shownHbaLine } from '../cluster/hba-rules.ts';
import type { FoundServer } from '../cluster/report.ts';
import {
  type ForeignSetting,
  hbaLines,
  isToDecode,
  keptSettings,
  replacedSettings,
  settingsOfCommandLine,
  unitOf,
} from '../postgres/foreign-server.ts';
import type { OsUser } from '../postgres/os-user.ts';
import { findLogicalSlots } from '../postgres/logical-slots.ts';
import { readControlData } from '../postgres/control-data.ts';
import { otherManagers, runningProcesses, stopItText } from '../postgres/other-managers.ts';
import { startOfOs, startOfRepmgrd } from '../postgres/os-start.ts';
import { readServerFile } from '../postgres/server-files.ts';
import { ourSettings } from '../postgres/settings.ts';
import { type AgentContext, query } from './context.ts';
import { type FoundFacts, type FoundRole, noticesOf, problemsOf, withinBudget } from './found-problems.ts';
import { settingsOf } from './instance-files.ts';
import { endTakenOver } from './taken-over.ts';

const LOOK_EVERY_MS = 2000;

export interface FoundWatch {
  /** Never throws but the signal's reason. */
  look(signal: AbortSignal): Promise<void>;
  /** Undefined where nothing runs, or what runs is ours. */
  latest(): FoundServer | undefined;
}

export function createFoundWatch(context: AgentContext): FoundWatch {
  let found: FoundServer | undefined;
  let lookedAtMs = -Infinity;
  let failure: string | undefined;
  return {
    latest() {
      if (context.group() !== undefined) return undefined;
      const postmaster = context.instance.postmaster();
      // Whose it is it says a moment after it has begun; before anybody knows that, no group is made of its data.
      const isUnknown = postmaster !== undefined && postmaster.status === undefined;
      if (!isUnknown && !context.instance.isForeign()) return undefined;
      return found ?? unreadable(context, 'not looked at yet');
    },
    async look(signal) {
      if (context.group() !== undefined || !context.instance.isForeign()) return;
      if (performance.now() - lookedAtMs < LOOK_EVERY_MS) return;
      lookedAtMs = performance.now();
      try {
        // Nobody adopts it before it was looked at.
        await endTakenOver(context.instance.options.adoptedHbaFile);
        found = await readFoundServer(context, signal);
        failure = undefined;
      } catch (error) {
        signal.throwIfAborted();
        const { message } = error as Error;
        if (message !== failure)
          context.log('warn', 'cannot look at the PostgreSQL that runs here', { error: message });
        failure = message;
        found = unreadable(context, message);
      }
    },
  };
}

/** So that nobody takes the node for one without a server. */
function unreadable(context: AgentContext, message: string): FoundServer {
  const { superuser, user } = context.instance.options;
  const postmaster = context.instance.postmaster();
  const hasNoSocket = postmaster?.status !== undefined && postmaster.socketDirectory === undefined;
  return {
    ...{ role: 'standby', version: '', timeline: timeline(1), upstream: undefined, freeSlots: 0 },
    ...{ kept: [], replaced: [], hba: [], notices: [] },
    problems: [
      hasNoSocket
        ? 'the server that runs here has no Unix socket, and can be asked by nothing else: set unix_socket_directories, with a restart'
        : `the server that runs here cannot be asked (${message}): ${user.name} of the operating system has to be let in as ${superuser} by its socket`,
    ],
  };
}

/**
 * Those settings that somebody has made, wherever. Not as they are in force: our own session runs with some of its own, and a role may have
 * some too.
 */
export async function foreignSettings(context: AgentContext, signal: AbortSignal): Promise<ForeignSetting[]> {
  const { session } = context.instance;
  const options = query(context, signal);
  // One that is in error is in force nowhere, but for those that only wait for a restart.
  const files = await session.query<{ name: string; value: string; file: string }>(
    `select distinct on (lower(f.name)) lower(f.name) as name, f.setting as value, f.sourcefile as file
     from pg_file_settings f left join pg_settings s on s.name = lower(f.name)
     where f.name is not null and f.setting is not null and (f.error is null or s.pending_restart)
     order by lower(f.name), f.seqno desc`,
    [],
    options,
  );
  const given = await session.query<{ name: string; value: string }>(
    `select name, current_setting(name) as value from pg_settings where source = 'command line' and context <> 'internal' order by name`,
    [],
    options,
  );
  const line = settingsOfCommandLine((await readServerFile(session, 'postmaster.opts', options)) ?? '');
  for (const { name, value } of given) if (!line.has(name)) line.set(name, value);
  return [
    ...files.filter(({ name }) => !line.has(name)).map((each) => ({ ...each, source: 'configuration file' })),
    ...[...line].map(([name, value]) => ({ name, value, source: 'command line', file: undefined })),
  ];
}

async function readFoundServer(context: AgentContext, signal: AbortSignal): Promise<FoundServer> {
  const { instance } = context;
  const { options, session } = instance;
  const role = await instance.readRole(query(context, signal));
  const settings = await foreignSettings(context, signal);
  const inForce = await presentSettings(context, settings, signal);
  const value = (name: string): string => inForce.get(name)?.value ?? '';
  const slots = await session.query<{ name: string; isPhysical: boolean; isTemporary: boolean }>(
    `select slot_name::text as name, slot_type = 'physical' as "isPhysical", temporary as "isTemporary" from pg_replication_slots order by 1`,
    [],
    query(context, signal),
  );
  const logical = await findLogicalSlots(Number.parseInt(value('server_version'), 10), (text) =>
    session.query(text, [], query(context, signal)),
  );
  const logicalSlots = logical.slots.filter(({ isTemporary }) => !isTemporary);
  const roles = await session.query<FoundRole>(
    `select rolname::text as name, rolsuper as "isSuperuser", exists (
       select from pg_stat_activity where usesysid = r.oid and application_name not like 'pg\\_sentinel%') as "isInUse"
     from pg_roles r where rolname in ($1, $2) order by 1`,
    [options.replication.name, options.probe.name],
    query(context, signal),
  );
  const hbaFile = value('hba_file');
  const hba = hbaLines((await readServerFile(session, hbaFile, query(context, signal))) ?? '');
  const { isWalLogical } = await readControlData(options.dataDirectory);
  const present = {
    holdsLogicalSlot: logicalSlots.length > 0,
    syncsSlots: false,
    isAskedFor: isToDecode(settings, isWalLogical),
  };
  const ours = { ...ourSettings(settingsOf(options, { kind: 'nobody' }, present)) };
  // The log says what these are, from one moment to the next.
  for (const name of ['synchronous_standby_names', 'primary_conninfo', 'primary_slot_name'])
    delete ours[name];
  const pid = instance.postmaster()?.pid;
  const managers = await otherManagers(await runningProcesses(), options.dataDirectory);
  const facts: FoundFacts = {
    ...{ role, value, hba, roles, port: options.port, binaries: options.binaries },
    isStreaming: role.kind === 'standby' && role.walReceiver?.status === 'streaming',
    ourWalSenders: Number(ours['max_wal_senders']),
    isDelayed: options.parameters['recovery_min_apply_delay'] !== undefined,
    managers: managers.map((each) => stopItText(each)),
    repmgrdStart: /\brepmgr\b/.test(value('shared_preload_libraries'))
      ? await startOfRepmgrd(options.dataDirectory)
      : undefined,
    osStart: startOfOs({
      configFile: value('config_file'),
      unit: pid === undefined ? undefined : unitOf(pid),
    }),
    hbaFileProblem: role.kind === 'primary' ? hbaFileProblem(hbaFile, options.user) : undefined,
    physicalSlots: slots
      .filter(({ isPhysical, isTemporary }) => isPhysical && !isTemporary)
      .map(({ name }) => name),
    ...{ logicalSlots, otherNodeCount: options.slotOwners().length - 1 },
  };
  // Of what it has now and of what we give it, for it does not start with more slots than that.
  const slotCountMax = Math.min(
    Number(value('max_replication_slots')),
    Number(ours['max_replication_slots']),
  );
  return {
    role: role.kind,
    version: value('server_version'),
    timeline: role.timeline,
    upstream:
      role.kind === 'primary'
        ? undefined
        : { host: role.walReceiver?.senderHost ?? '', port: role.walReceiver?.senderPort ?? 0 },
    freeSlots: Math.max(0, slotCountMax - slots.length),
    ...withinBudget({
      problems: [...problemsOf(facts)],
      notices: [...noticesOf(facts)],
      replaced: replacedSettings(inForce, ours),
      hba: hba.kept.map(shownHbaLine),
      kept: keptSettings(settings).map((each) => `${each.name} = '${each.value}'`),
    }),
  };
}

interface Present {
  readonly name: string;
  readonly value: string;
  readonly isRestartNeeded: boolean;
}

/** All settings as they are in force for others: what our session or its role has set itself is as the files have it, else the default. */
async function presentSettings(
  context: AgentContext,
  settings: readonly ForeignSetting[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Present>> {
  const rows = await context.instance.session.query<Present & { isOfSession: boolean; initial: string }>(
    `select name, current_setting(name) as value, context = 'postmaster' as "isRestartNeeded", coalesce(boot_val, '') as initial,
       source in ('client', 'session', 'user', 'database', 'database user', 'global') as "isOfSession" from pg_settings`,
    [],
    query(context, signal),
  );
  const made = new Map(settings.map(({ name, value }) => [name, value]));
  return new Map(
    rows.map(({ isOfSession, initial, ...row }) => [
      row.name,
      isOfSession ? { ...row, value: made.get(row.name) ?? initial } : row,
    ]),
  );
}

/** Lines of ours have to stand in front of it, and nobody but its owner is to be asked for that. */
function hbaFileProblem(path: string, user: OsUser): string | undefined {
  try {
    const file = lstatSync(path);
    return file.isFile() && file.uid === user.uid
      ? undefined
      : `${path} has to be a regular file that belongs to ${user.name}: pg-sentinel puts lines in front of it`;
  } catch (error) {
    return `${path} cannot be looked at: ${(error as Error).message}`;
  }
}
