// What `sentineld --leave` tells: what was taken out, what stays, and every command that is left to a person. Pure; must never name a password.
import { join } from 'node:path';
import type { Binaries } from '../postgres/binaries.ts';
import type { OsUser } from '../postgres/os-user.ts';
import type { PostmasterFile } from '../postgres/processes.ts';
import type { Config, NodeConfig } from './config.ts';
import type { StateFiles } from './leave-files.ts';

/** What a server that runs has said of itself. */
export interface Asked {
  readonly isStandby: boolean;
  /** The file of its rules that is in force. */
  readonly hba: string;
  /** Those of members. */
  readonly slots: readonly string[];
  /** Of ours, those that are there. */
  readonly roles: readonly string[];
  readonly hasSchema: boolean;
}

export interface Server {
  readonly node: NodeConfig;
  readonly user: OsUser;
  readonly binaries: Pick<Binaries, 'directory'>;
  readonly postmaster: PostmasterFile | undefined;
  /** Undefined where it does not run or did not answer. */
  readonly asked: Asked | undefined;
  /** Something of ours was found in its directory. */
  readonly isOurs: boolean;
  /** It was started by somebody else, with settings of his own. */
  readonly isForeign: boolean;
  readonly slots: readonly string[];
  /** It must not begin to take writes. */
  readonly isStandby: boolean;
  /** Settings that stay in force, by name. */
  readonly kept: ReadonlyMap<string, string>;
  /** Files outside of the data directory that were changed. */
  readonly theirHba: readonly string[];
  /** For a person, one sentence each. */
  readonly notes: readonly string[];
}

export interface Report {
  readonly config: Config;
  /** Undefined where there is no PostgreSQL. */
  readonly server: Server | undefined;
  /** Name and address of the group's primary, as far as it is known. */
  readonly primary: string | undefined;
  readonly upstream: { readonly host: string; readonly port: number } | undefined;
  /** Of the decision, for a person. */
  readonly note: string | undefined;
  /** Of what is kept in the state directory for a person: writes and WAL that nobody else has. */
  readonly keepsakes: readonly string[];
  /** Of the state directory. */
  readonly files: StateFiles;
  readonly isRoot: boolean;
}

/** The lines, without a line break. `planned`: nothing was changed. */
export function reportOf(report: Report, what: 'planned' | 'done'): string[] {
  const { config, server } = report;
  const head =
    what === 'done'
      ? `done: host of peer ${config.peer} has left cluster ${config.cluster}; no sentineld starts here any more`
      : `nothing was changed; host of peer ${config.peer} would leave cluster ${config.cluster}:`;
  const steps = [...(server === undefined ? [] : stepsOf(server, report)), filesStep(report)];
  return [
    head,
    ...(server === undefined
      ? ['  there is no PostgreSQL to give back here']
      : (what === 'done' ? changes(server) : plans(server)).map((line) => `  ${line}`)),
    ...(report.note === undefined ? [] : [`  ${report.note}`]),
    'left to do:',
    ...steps.flatMap(([text, ...commands], at) => [
      `  ${at + 1}. ${text}`,
      ...commands.map((command) => `     ${command}`),
    ]),
  ];
}

function state({ node, postmaster, isStandby }: Server): string {
  const role = isStandby ? 'standby that follows nobody' : 'primary';
  return postmaster === undefined
    ? `PostgreSQL in ${node.dataDirectory} is stopped, and stays so until you start it, as a ${role}`
    : `PostgreSQL in ${node.dataDirectory} goes on running (process ${postmaster.pid}), as a ${role}; nobody starts it again, stops it or fails it over`;
}

const plans = (server: Server): string[] => [
  state(server),
  server.isOurs
    ? 'pg_sentinel.conf and the line that includes it, our lines of pg_hba.conf and the member id are taken out; addresses and parameters go to postgresql.auto.conf'
    : 'nothing in it is ours',
];

function changes(server: Server): string[] {
  const { isOurs, kept, theirHba, notes, user } = server;
  return [
    state(server),
    isOurs
      ? `taken out: pg_sentinel.conf and the line that includes it, our lines of pg_hba.conf, the member id, the guard; the superuser comes in by the Unix socket, as ${user.name} of the operating system`
      : 'nothing in it was ours (any more)',
    ...(kept.size === 0 ? [] : [`stays in force, in postgresql.auto.conf: ${[...kept.keys()].join(', ')}`]),
    ...theirHba.map((path) => `our lines were taken out of ${path}`),
    ...notes,
  ];
}

type Step = readonly [text: string, ...commands: string[]];

function stepsOf(server: Server, report: Report): Step[] {
  const { postmaster, isStandby, isForeign } = server;
  const restart: Step = [
    'restart PostgreSQL when it suits you (clients wait that long): until then its socket and its log are among the files of pg-sentinel',
    control(server, report, 'restart'),
  ];
  const start: Step = [
    'start PostgreSQL, by hand or by what your operating system has for that',
    control(server, report, 'start'),
  ];
  return [
    ...(postmaster === undefined ? [start] : []),
    ...slotStep(server, report),
    ...(isStandby ? followStep(server, report) : rolesStep(server, report)),
    ...(postmaster === undefined || isForeign ? [] : [restart]),
  ];
}

const asUser = ({ user }: Server, { isRoot }: Report): string =>
  isRoot ? `runuser -u ${user.name} -- ` : '';

function control(server: Server, report: Report, what: 'start' | 'restart'): string {
  const { dataDirectory } = server.node;
  const program = quoted(join(server.binaries.directory, 'pg_ctl'));
  const log = quoted(join(dataDirectory, 'server.log'));
  return `${asUser(server, report)}${program} ${what} -w -D ${quoted(dataDirectory)} -l ${log}`;
}

function psql(server: Server, report: Report, statements: readonly string[]): string {
  const { socketDirectory, port } = server.postmaster ?? {};
  const host = socketDirectory === undefined ? '' : ` -h ${quoted(socketDirectory)}`;
  const commands = statements.map((statement) => ` -c ${quoted(statement)}`).join('');
  const { name } = report.config.users.superuser;
  return `${asUser(server, report)}psql${host} -p ${port ?? server.node.port} -U ${name} -d postgres${commands}`;
}

/** Of nobody any more, they would keep WAL until the disk is full. */
function slotStep(server: Server, report: Report): Step[] {
  if (server.slots.length === 0) return [];
  const names = server.slots.map((slot) => `'${slot}'`).join(', ');
  return [
    [
      'drop the replication slots of other members, or they keep WAL until the disk is full',
      psql(server, report, [
        `select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name in (${names})`,
      ]),
    ],
  ];
}

function rolesStep(server: Server, report: Report): Step[] {
  const { replication, probe } = report.config.users;
  const names = server.asked?.roles ?? [...(replication === undefined ? [] : [replication.name]), probe.name];
  const roles = names.map((name) => `"${name}"`).join(', ');
  const statements = [
    ...(server.asked?.hasSchema === false ? [] : ['drop schema if exists pg_sentinel cascade']),
    ...(names.length === 0 ? [] : [`drop owned by ${roles}`, `drop role ${roles}`]),
  ];
  if (statements.length === 0) return [];
  return [['drop the roles and the heartbeat table of pg-sentinel', psql(server, report, statements)]];
}

function followStep(server: Server, report: Report): Step[] {
  const { primary, upstream } = report;
  const { host = 'HOST', port = 'PORT' } = upstream ?? {};
  const conninfo = `host=${host} port=${port} user=ROLE password=PASSWORD`;
  return [
    [
      `it is a standby: to have it follow ${primary ?? 'a primary'} make a role with REPLICATION and a line of pg_hba.conf there, then here`,
      psql(server, report, [`alter system set primary_conninfo = '${conninfo}'`, 'select pg_reload_conf()']),
    ],
  ];
}

function filesStep({ config, server, keepsakes, files }: Report): Step {
  const { replication, probe } = config.users;
  const secrets = [replication?.file, probe.file].flatMap((path) => path ?? []);
  const paths = [...files.paths, config.path, ...secrets].map(quoted);
  const needed =
    files.needed.length === 0
      ? ''
      : ` (not all of ${config.stateDirectory}: PostgreSQL needs ${files.needed.join(' and ')} in there)`;
  const keep =
    keepsakes.length === 0
      ? ''
      : ` (look at ${keepsakes.join(' and ')} before: writes and WAL that nobody else may have)`;
  const after = server?.postmaster === undefined || server.isForeign ? '' : ', once PostgreSQL was restarted';
  return [
    `remove the files of pg-sentinel${after}${keep}${needed}`,
    `rm -r ${[...new Set(paths)].join(' ')}`,
  ];
}

/** For a shell. */
function quoted(text: string): string {
  return /^[\w/.:=,@-]+$/.test(text) ? text : `"${text.replaceAll(/["$`\\]/g, '\\$&')}"`;
}
