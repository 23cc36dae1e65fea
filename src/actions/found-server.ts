// What runs in the data directory of a node that is in no group yet, for `sentinelctl adopt`. Looks, every few seconds; changes nothing.
import { readFile } from 'node:fs/promises';
import { timeline } from '../base/ids.ts';
import type { FoundServer } from '../cluster/report.ts';
import {
  type ForeignSetting,
  commandLines,
  hbaLines,
  keptSettings,
  otherManagers,
  replacedSettings,
  unitOf,
} from '../postgres/foreign-server.ts';
import { ourSettings } from '../postgres/settings.ts';
import { type AgentContext, query } from './context.ts';
import { settingsOf } from './instance-files.ts';

const LOOK_EVERY_MS = 2000;
const LIST_COUNT_MAX = 200;
const TEXT_LENGTH_MAX = 300;

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
    latest: () => (context.group() === undefined && context.instance.isForeign() ? found : undefined),
    async look(signal) {
      if (context.group() !== undefined || !context.instance.isForeign()) return;
      if (performance.now() - lookedAtMs < LOOK_EVERY_MS) return;
      lookedAtMs = performance.now();
      try {
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
  return {
    ...{ role: 'standby', version: '', timeline: timeline(1), upstream: undefined, freeSlots: 0 },
    ...{ kept: [], replaced: [], hba: [], notices: [] },
    problems: [
      `the server that runs here cannot be asked (${message}): ${user.name} of the operating system has to be let in as ${superuser} by its socket`,
    ],
  };
}

/** Those settings that somebody has made, wherever. */
export async function foreignSettings(context: AgentContext, signal: AbortSignal): Promise<ForeignSetting[]> {
  return context.instance.session.query<{
    name: string;
    value: string;
    source: string;
    file: string | undefined;
    isRestartNeeded: boolean;
  }>(
    `select name, current_setting(name) as value, source, sourcefile as file, context = 'postmaster' as "isRestartNeeded"
     from pg_settings where source in ('configuration file', 'command line') and context <> 'internal' order by name`,
    [],
    query(context, signal),
  );
}

async function readFoundServer(context: AgentContext, signal: AbortSignal): Promise<FoundServer> {
  const { instance } = context;
  const { options } = instance;
  const role = await instance.readRole(query(context, signal));
  const rows = await instance.session.query<{ name: string; value: string; isRestartNeeded: boolean }>(
    `select name, current_setting(name) as value, context = 'postmaster' as "isRestartNeeded" from pg_settings`,
    [],
    query(context, signal),
  );
  const present = new Map(rows.map((row) => [row.name, row]));
  const value = (name: string): string => present.get(name)?.value ?? '';
  const [slots] = await instance.session.query<{ count: number; names: string[]; roles: string[] }>(
    `select (select count(*)::int from pg_replication_slots) as count,
       array(select slot_name::text from pg_replication_slots where slot_type = 'physical' and not temporary order by 1) as names,
       array(select rolname::text from pg_roles where rolname in ($1, $2) order by 1) as roles`,
    [options.replication.name, options.probe.name],
    query(context, signal),
  );
  const hba = hbaLines(await readFile(value('hba_file'), 'utf8'));
  const settings = await foreignSettings(context, signal);
  const upstream =
    role.kind === 'primary'
      ? undefined
      : { host: role.walReceiver?.senderHost ?? '', port: role.walReceiver?.senderPort ?? 0 };
  const ours = { ...ourSettings(settingsOf(options, { kind: 'nobody' })) };
  // The log says what these are, from one moment to the next.
  for (const name of ['synchronous_standby_names', 'primary_conninfo', 'primary_slot_name'])
    delete ours[name];
  const pid = instance.postmaster()?.pid;
  const unit = pid === undefined ? undefined : unitOf(pid);
  const managers = otherManagers(commandLines());
  const isDelayed = options.parameters['recovery_min_apply_delay'] !== undefined;
  const major = Number.parseInt(value('server_version'), 10);
  const problems = [
    ...managers.map((name) => `${name} runs on this host: stop it, and keep it from being started again`),
    ...(hba.problem === undefined ? [] : [hba.problem]),
    ...(major === options.binaries.version
      ? []
      : [
          `it is version ${value('server_version')}, and the programs in ${options.binaries.directory} are of version ${options.binaries.version}: set node.bin_directory`,
        ]),
    ...(Number(value('port')) === options.port
      ? []
      : [`it listens on port ${value('port')}, and node.address says ${options.port}`]),
    ...(value('synchronous_standby_names') === '' || role.kind === 'standby'
      ? []
      : [
          `synchronous_standby_names is '${value('synchronous_standby_names')}': writes would wait while its standbys are restarted; set it to '' first (ALTER SYSTEM SET synchronous_standby_names = '', then pg_reload_conf())`,
        ]),
    ...(Number(value('max_wal_senders')) <= Number(ours['max_wal_senders'])
      ? []
      : [
          `max_wal_senders is ${value('max_wal_senders')}, and pg-sentinel sets ${ours['max_wal_senders']}, which must not be lower on a standby: lower it on the primary first`,
        ]),
    ...(['0', ''].includes(value('recovery_min_apply_delay')) || isDelayed
      ? []
      : [
          `recovery_min_apply_delay is ${value('recovery_min_apply_delay')}, and its node has no apply_delay: set node.apply_delay, or it to 0`,
        ]),
    ...(value('wal_level') === 'minimal'
      ? ['wal_level is minimal: it has to be replica, with a restart']
      : []),
    ...(value('fsync') === 'on' && value('full_page_writes') === 'on'
      ? []
      : ['fsync or full_page_writes is off: it does not keep what it acknowledges']),
    ...(role.kind === 'standby' && role.walReceiver?.status !== 'streaming' ? ['it does not stream'] : []),
  ];
  const notices = [
    ...(unit === undefined
      ? []
      : [
          `systemd starts it by itself (${unit}): systemctl disable ${unit}, for pg-sentinel starts it from now on`,
        ]),
    ...(value('data_checksums') === 'on' || value('wal_log_hints') === 'on'
      ? []
      : [
          'neither data checksums nor wal_log_hints are on: it cannot be rewound, only cloned, until it was restarted',
        ]),
    ...hba.left.map((line) => `left out of pg_hba.conf, pg-sentinel's accounts replicate: ${line}`),
    ...(slots?.names ?? []).map((name) => `replication slot ${name} keeps WAL: drop it once nobody uses it`),
    ...(role.kind === 'primary' ? (slots?.roles ?? []) : []).map(
      (name) => `role ${name} exists: it gets the password of the configuration`,
    ),
  ];
  return {
    role: role.kind,
    version: value('server_version'),
    timeline: role.timeline,
    upstream,
    freeSlots: Math.max(0, Number(value('max_replication_slots')) - (slots?.count ?? 0)),
    kept: shortened(keptSettings(settings).map((each) => `${each.name} = '${each.value}'`)),
    replaced: shortened(replacedSettings(present, ours)),
    hba: shortened(hba.kept),
    notices: shortened(notices),
    problems: shortened(problems),
  };
}

const shortened = (texts: readonly string[]): string[] =>
  texts.slice(0, LIST_COUNT_MAX).map((text) => text.slice(0, TEXT_LENGTH_MAX));
