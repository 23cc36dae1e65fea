// The one PostgreSQL instance that an agent looks after: its paths, its users, its session and its watch, with the steps
// that all duties share. Decides nothing. PostgreSQL outlives this object.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DeadlineError, delay } from '../base/clock.ts';
import { readControlData } from '../postgres/control-data.ts';
import { type HbaOptions, firstExtraLine, isOnlyOurs, renderHba, writeHba } from '../postgres/hba.ts';
import {
  type PostmasterWatch,
  type RunningPostgres,
  type Stopped,
  reloadPostgres,
  startPostgres,
  stopPostgres,
  watchPostmaster,
} from '../postgres/lifecycle.ts';
import { makeDirectory } from '../postgres/own-directories.ts';
import {
  type PostmasterFile,
  allGone,
  createPostmasterFinder,
  killRemaining,
  type SharedMemoryId,
} from '../postgres/processes.ts';
import { type Role, readRole } from '../postgres/role.ts';
import { type QueryOptions, type Session, openSession } from '../postgres/session.ts';
import { type Effective, effectiveParameters, wantedParameters } from '../postgres/effective-parameters.ts';
import {
  READER_LIMIT,
  type SynchronousStandbys,
  changeParameters,
  changeSettings,
  otherSettings,
  readSettings,
  renderReaderLimit,
  renderSynchronousStandbys,
  settingsOfLog,
  writeSettings,
} from '../postgres/settings.ts';
import { removeStandbySignal, writeStandbySignal } from '../postgres/upstream.ts';
import { isForeignServer, movedSocketOf, socketOf } from './foreign.ts';
import { hbaOptions, readLogicalState, settingsOf } from './instance-files.ts';
import type { ClientAccess, InstanceOptions } from './instance-options.ts';
import { createRoleMemory } from './role-memory.ts';
import { type WrittenFiles, startDespiteSettings } from './start-despite-settings.ts';
import { type TakenSettings, type WrittenParameters, createTakenSettings } from './taken-settings.ts';

export interface Instance {
  readonly options: InstanceOptions;
  readonly session: Session;
  postmaster(): PostmasterFile | undefined;
  /** Somebody else has started the server that runs, with settings of his own; see {@link isForeignServer}. */
  isForeign(): boolean;
  /** PostgreSQL has ended by itself, and {@link InstanceOptions.onUnexpectedEnd} is yet to be told: what it leaves behind is being ended. */
  isEnding(): boolean;
  readRole(options: QueryOptions): Promise<Role>;
  /** What {@link readRole} found last, if that is no older and was read from the PostgreSQL that runs now. */
  recentRole(ageMsMax: number): Role | undefined;
  /** Starts watching a postmaster that runs already, such as after a restart of sentineld. */
  attach(): void;
  /** Writes all settings and pg_hba.conf, for a start as what it is to be; no upstream. Does not reload. */
  writeConfiguration(
    standbys: SynchronousStandbys,
    clients?: ClientAccess,
    role?: 'primary' | 'standby',
  ): Promise<void>;
  /** Brings the parameters in the file to what the log and the node's own configuration say; reloads where that changed something. */
  applyParameters(role: 'primary' | 'standby'): Promise<boolean>;
  /** As they were last written or found right; undefined until then. */
  parameters(): Written | undefined;
  readonly taken: TakenSettings;
  /** Writes pg_hba.conf where it is not as it should be; true where it was not. Does not reload. */
  writeHba(clients: ClientAccess): Promise<boolean>;
  /** As it was last written; see {@link writeHba}. */
  hba(clients: ClientAccess): HbaOptions;
  /** The log's rules as they were last written; undefined until then. */
  writtenHba(): readonly string[] | undefined;
  /** Which of the log's rules stands in that line of pg_hba.conf as it was last written, from 1; undefined: none. */
  hbaLineOf(at: number): number | undefined;
  reload(): void;
  /** Whether pg_hba.conf is that of a start which keeps clients out, and there are clients to be let in. */
  keepsClientsOut(): Promise<boolean>;
  /** Lets clients in again after a start that kept them out. */
  admitClients(): Promise<void>;
  /**
   * Changes `synchronous_standby_names` and reloads, if it is not so already. It takes effect a moment later. `inForce`: what the
   * server has now; where that is right and was set from here, its file is not read again.
   */
  setSynchronousStandbys(standbys: SynchronousStandbys, inForce?: InForce): Promise<void>;
  startAs(
    role: 'primary' | 'standby',
    options: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<void>;
  stop(options: { readonly fastMs: number; readonly signal: AbortSignal }): Promise<Stopped>;
  close(): Promise<void>;
}

/** What the server has of the settings that enforce a rule. */
export type InForce = Pick<Role, 'synchronousStandbyNames' | 'readerLimit'>;

/** What was last written of all that the log decides. */
export interface Written extends Effective, WrittenParameters {
  /** Settings of our own, by name. */
  readonly ours: Readonly<Record<string, string>>;
}

/** A setting that was written and has not come into force since is put to PostgreSQL again after so long. */
const RELOAD_AGAIN_MS = 2000;
const IMMEDIATE_MS = 2000;
const KILL_MS = 10_000;

export function openInstance(options: InstanceOptions): Instance {
  const { dataDirectory, user } = options;
  let watchedPid: number | undefined;
  let watching: PostmasterWatch | undefined;
  let isStopping = false;
  let isFinishingOff = false;
  let isClosed = false;
  let lastReload: string | undefined;
  let reloadAgainMs = 0;
  let parameters: Written | undefined;
  let writtenFor: ClientAccess = 'admitted';
  /** The log's rules as they were last written. */
  let writtenHba: readonly string[] | undefined;
  const findPostmaster = createPostmasterFinder(dataDirectory);
  const taken = createTakenSettings({
    path: options.takenFile,
    owner: user.owner,
    groupParameters: options.groupParameters,
    groupHba: options.groupHba,
  });

  const isForeign = (): boolean => isForeignServer(findPostmaster(), options);

  const session = openSession({
    elsewhere: () => {
      const postmaster = findPostmaster();
      if (!isForeign()) return movedSocketOf(postmaster, options);
      return options.mayBeForeign() ? socketOf(postmaster, user) : undefined;
    },
    socketDirectory: options.socketDirectory,
    port: options.port,
    superuser: options.superuser,
    retryMs: 50,
    onConnected: options.onChange,
    onLost: () => {
      // The session ends a moment before the process table shows it: a killed postmaster is noticed here first.
      watching?.look();
      options.onChange();
    },
  });

  const roles = createRoleMemory({
    session,
    read: (queryOptions) => readRole(session, queryOptions),
    nowMs: () => performance.now(),
  });

  const attach = (): void => {
    // The watch tells when the one that is watched has ended.
    if (watchedPid !== undefined) return;
    const postmaster = findPostmaster();
    if (postmaster === undefined) return;
    watch(postmaster.pid, postmaster.sharedMemoryId, undefined);
  };

  const watch = (
    pid: number,
    sharedMemoryId: SharedMemoryId | undefined,
    child: Parameters<typeof watchPostmaster>[0]['postgres']['child'],
  ): void => {
    watching?.end();
    watchedPid = pid;
    watching = watchPostmaster({
      dataDirectory,
      postgres: { pid, sharedMemoryId, child },
      // Our backend ends with its postmaster, which closes the session.
      isCalm: () => session.connected,
      onExit: () => exited(pid),
    });
  };

  const exited = (pid: number): void => {
    if (watchedPid !== pid || isClosed) return;
    watchedPid = undefined;
    watching?.end();
    if (isStopping) return;
    isFinishingOff = true;
    const ended = (): void => {
      isFinishingOff = false;
      if (!isClosed && !isStopping) options.onUnexpectedEnd();
    };
    // What survives SIGKILL is said by the stop that a duty asks for.
    finishOff().then(ended, ended);
  };

  /** Backends of a killed postmaster live on for a moment and may still finish a commit: they are ended. */
  const finishOff = async (): Promise<void> => {
    const deadlineMs = performance.now() + KILL_MS;
    while (!allGone({ dataDirectory, sharedMemoryId: undefined }).gone && findPostmaster() === undefined) {
      killRemaining(dataDirectory);
      if (performance.now() > deadlineMs)
        throw new DeadlineError(`processes of ${dataDirectory} survive SIGKILL`);
      await delay(2);
    }
  };

  const effective = async (role: 'primary' | 'standby'): Promise<Written> => {
    const group = taken.parameters();
    const found = effectiveParameters({
      wanted: wantedParameters(options.parameters, group),
      role,
      control: await readControlData(dataDirectory).catch(() => undefined),
      otherwise: await otherSettings(dataDirectory),
      standbys: role === 'primary' ? options.standbyLimits() : [],
    });
    const present = await readLogicalState(dataDirectory);
    const ours = settingsOfLog(settingsOf(options, { kind: 'nobody' }, present));
    return { ...found, group, ours, held: [...found.held, ...taken.refusedParameters()] };
  };

  const hba = (clients: ClientAccess): HbaOptions =>
    hbaOptions(options, clients, writtenHba ?? taken.provenHba());

  /** True where the file was not so already. */
  const writeHbaFile = async (clients: ClientAccess): Promise<boolean> => {
    writtenHba = taken.hba();
    const due = hba(clients);
    const present = await readFile(join(dataDirectory, 'pg_hba.conf'), 'utf8').catch(() => '');
    if (present === renderHba(due)) return false;
    await writeHba({ dataDirectory, hba: due, owner: user.owner });
    return true;
  };

  /** True where the file was changed. */
  const writeParameters = async (role: 'primary' | 'standby'): Promise<boolean> => {
    const next = await effective(role);
    const { owner } = user;
    const isChanged = await changeParameters({ dataDirectory, parameters: next.parameters, owner });
    const isOursChanged = await changeOurs(next.ours);
    parameters = next;
    return isChanged || isOursChanged;
  };

  /** Only what the log has changed: what somebody else has is for the tamper watch to say. */
  const changeOurs = async (ours: Written['ours']): Promise<boolean> => {
    const written = parameters?.ours ?? {};
    if (Object.entries(ours).every(([name, value]) => written[name] === value)) return false;
    const present = await readSettings(dataDirectory);
    if (present.size === 0) return false;
    const changes = Object.entries(ours).filter(([name, value]) => present.get(name) !== value);
    if (changes.length === 0) return false;
    await changeSettings({ dataDirectory, changes: Object.fromEntries(changes), owner: user.owner });
    return true;
  };

  /** Of the log, in the files that a start reads. */
  const written = (): WrittenFiles => ({
    parameters: parameters ?? { group: new Map(), held: [] },
    hba: writtenFor === 'admitted' ? writtenHba : undefined,
  });

  const writeConfiguration = async (
    standbys: SynchronousStandbys,
    clients: ClientAccess = 'admitted',
    role: 'primary' | 'standby' = 'standby',
  ): Promise<void> => {
    const { owner } = user;
    const next = await effective(role);
    await writeSettings({
      dataDirectory,
      owner,
      settings: {
        ...settingsOf(options, standbys, await readLogicalState(dataDirectory)),
        parameters: next.parameters,
      },
    });
    parameters = next;
    writtenFor = clients;
    await writeHbaFile(clients);
  };

  /** With the rule, so that no reader of a logical slot is ever further than that. */
  const readerLimit = (standbys: SynchronousStandbys): Record<string, string> =>
    options.binaries.version < 17
      ? {}
      : { [READER_LIMIT]: renderReaderLimit(standbys, options.logicalSlots().length > 0) };

  return {
    options,
    session,
    postmaster: findPostmaster,
    isForeign,
    isEnding: () =>
      isFinishingOff || (watchedPid !== undefined && !isStopping && findPostmaster() === undefined),
    readRole: (queryOptions) => roles.read(queryOptions),
    recentRole: (ageMsMax) => roles.recent(ageMsMax),
    attach,
    writeConfiguration,
    async applyParameters(role) {
      const isChanged = await writeParameters(role);
      if (isChanged) reloadPostgres(dataDirectory);
      return isChanged;
    },
    parameters: () => parameters,
    taken,
    writeHba: writeHbaFile,
    hba,
    writtenHba: () => writtenHba,
    hbaLineOf(at) {
      const lines = writtenHba ?? [];
      const line = at - firstExtraLine(hba('admitted')) + 1;
      return line >= 1 && line <= lines.length ? line : undefined;
    },
    reload: () => void reloadPostgres(dataDirectory),
    async setSynchronousStandbys(standbys, inForce) {
      const value = renderSynchronousStandbys(standbys);
      const changes: Record<string, string> = {
        synchronous_standby_names: value,
        ...readerLimit(standbys),
      };
      const limit = changes[READER_LIMIT];
      // What the file says may never have been reloaded, if an earlier sentineld was killed in between.
      const taken = `${findPostmaster()?.pid} ${Object.values(changes).join(' ')}`;
      const isInForce =
        inForce?.synchronousStandbyNames === value && (limit === undefined || inForce.readerLimit === limit);
      if (isInForce && taken === lastReload) return;
      const present = await readSettings(dataDirectory);
      const isWritten = Object.entries(changes).every(([name, each]) => present.get(name) === each);
      // PostgreSQL refuses a list of slots that are not all there yet, and keeps the former one.
      const isAwaited = inForce === undefined || isInForce || performance.now() < reloadAgainMs;
      if (isWritten && taken === lastReload && isAwaited) return;
      if (!isWritten) await changeSettings({ dataDirectory, changes, owner: user.owner });
      reloadPostgres(dataDirectory);
      lastReload = taken;
      reloadAgainMs = performance.now() + RELOAD_AGAIN_MS;
    },
    async keepsClientsOut() {
      const present = await readFile(join(dataDirectory, 'pg_hba.conf'), 'utf8').catch(() => '');
      const admitted = hbaOptions(options, 'admitted', taken.hba());
      return admitted.extraLines.length > 0 && isOnlyOurs(present, admitted);
    },
    async admitClients() {
      writtenFor = 'admitted';
      await writeHbaFile('admitted');
      reloadPostgres(dataDirectory);
    },
    async startAs(role, { timeoutMs, signal }) {
      await makeDirectory(user, options.socketDirectory);
      if (role === 'standby') {
        if (findPostmaster() === undefined) await options.beforeStandby(signal);
        // A control file that came with a clone or a rewind, or was raised by what it replayed, may ask for more than the one before.
        if (findPostmaster() === undefined) await writeParameters('standby');
        await writeStandbySignal(dataDirectory, user.owner);
      } else await removeStandbySignal(dataDirectory);
      const start = (): Promise<RunningPostgres> =>
        startPostgres({
          binaries: options.binaries,
          user,
          dataDirectory,
          logFile: options.logFile,
          process: options.process,
          socketDirectory: options.socketDirectory,
          port: options.port,
          waitFor: 'accepting',
          timeoutMs,
          signal,
        });
      const { pid, sharedMemoryId, child } = await startDespiteSettings({
        ...{ taken, start, written, signal, onRefused: options.onRefused },
        async rewrite() {
          await writeParameters(role);
          await writeHbaFile(writtenFor);
        },
      });
      const taking = written().parameters;
      await taken.proveParameters(taken.unprovenParameters(taking), taking);
      watch(pid, sharedMemoryId, child);
      options.onChange();
    },
    async stop({ fastMs, signal }) {
      isStopping = true;
      try {
        return await stopPostgres({
          dataDirectory,
          fastMs,
          immediateMs: IMMEDIATE_MS,
          killMs: KILL_MS,
          signal,
        });
      } finally {
        isStopping = false;
        if (findPostmaster() === undefined) watchedPid = undefined;
        options.onChange();
      }
    },
    async close() {
      isClosed = true;
      watching?.end();
      await session.close();
    },
  };
}
