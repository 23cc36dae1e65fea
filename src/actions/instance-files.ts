// What an instance's options make of its files: their contents, and where the agent keeps what belongs to one node.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { NodeId } from '../base/ids.ts';
import { hbaLineDanger } from '../cluster/hba-rules.ts';
import type { HbaOptions } from '../postgres/hba.ts';
import { isLogical } from '../postgres/foreign-server.ts';
import {
  DEFAULT_SETTINGS,
  type InstanceSettings,
  SLOT_SYNC,
  type SynchronousStandbys,
  mayRestartAfterCrash,
  parseSettings,
  readSettings,
} from '../postgres/settings.ts';
import { holdsLogicalSlot } from '../postgres/slot-files.ts';
import { adoptedHba } from './foreign.ts';
import type { ClientAccess, InstanceOptions } from './instance-options.ts';

/** What is in the data directory of logical slots, whatever the log says of them. */
export interface LogicalState {
  readonly holdsLogicalSlot: boolean;
  /** Its file has the synchronisation of slots on. */
  readonly syncsSlots: boolean;
  /** postgresql.conf itself has `wal_level = logical`: of an adopted server, or somebody has written it there. */
  readonly isAskedFor: boolean;
}

export async function readLogicalState(dataDirectory: string): Promise<LogicalState> {
  const [holds, settings, others] = await Promise.all([
    holdsLogicalSlot(dataDirectory),
    readSettings(dataDirectory),
    readFile(join(dataDirectory, 'postgresql.conf'), 'utf8').catch(() => ''),
  ]);
  return {
    holdsLogicalSlot: holds,
    syncsSlots: settings.get(SLOT_SYNC) === 'on',
    isAskedFor: isLogical(parseSettings(others).get('wal_level')),
  };
}

/** `present`: left out where nothing is written by it. */
export function settingsOf(
  options: InstanceOptions,
  standbys: SynchronousStandbys,
  present: LogicalState = { holdsLogicalSlot: false, syncsSlots: false, isAskedFor: false },
): InstanceSettings {
  const maxSlotWalBytes = options.maxSlotWalBytes();
  const hasLogicalSlots = options.logicalSlots().length > 0;
  const isToDecode = hasLogicalSlots || present.isAskedFor;
  return {
    ...DEFAULT_SETTINGS,
    version: options.binaries.version,
    listenAddresses: options.listenAddresses,
    port: options.port,
    socketDirectory: options.socketDirectory,
    clusterName: options.clusterName,
    parameters: options.parameters,
    synchronousStandbys: standbys,
    restartAfterCrash: mayRestartAfterCrash(options.binaries.version),
    // PostgreSQL does not start with a logical slot and less than that, nor, in some versions, synchronising slots.
    walLevel: isToDecode || present.holdsLogicalSlot || present.syncsSlots ? 'logical' : 'replica',
    // What a cascading standby has of slots is of no use, and is not to hold the primary's vacuum back.
    hotStandbyFeedback: (hasLogicalSlots && !options.isCascading()) || present.syncsSlots,
    holdsReadersBack: hasLogicalSlots,
    ...(maxSlotWalBytes === undefined ? {} : { maxSlotWalKeepSizeMb: Math.floor(maxSlotWalBytes / 2 ** 20) }),
  };
}

/** `groupLines`: of the log, as they are to be written. */
export function hbaOptions(
  options: InstanceOptions,
  clients: ClientAccess,
  groupLines: readonly string[],
): HbaOptions {
  return {
    superuser: options.superuser,
    replicationUser: options.replication.name,
    probeUser: options.probe.name,
    memberNetworks: ['0.0.0.0/0', '::/0'],
    userNetworks: [],
    requireTls: false,
    extraLines:
      clients === 'admitted'
        ? [...groupLines, ...options.hbaLines, ...adoptedLines(options.adoptedHbaFile)]
        : [],
  };
}

/** A person may have edited them: what must not be written is left out, or PostgreSQL could not be started any more. */
const adoptedLines = (path: string): string[] =>
  adoptedHba(path).filter((line) => hbaLineDanger(line) === undefined);

/** Where the agent keeps what belongs to one node, below the state directory. */
export function instancePaths(
  stateDirectory: string,
  node: NodeId,
): {
  fenceFile: string;
  guardDirectory: string;
  passfileDirectory: string;
  socketDirectory: string;
  logFile: string;
  restoreLogFile: string;
  divergedDirectory: string;
  adoptedHbaFile: string;
  unarchivedDirectory: string;
  takenFile: string;
  databaseFile: string;
  lockDirectory: string;
  logicalSlotsFile: string;
  promoteRunFile: string;
} {
  return {
    fenceFile: join(stateDirectory, `${node}.fence`),
    guardDirectory: join(stateDirectory, 'guard'),
    passfileDirectory: join(stateDirectory, 'passfile'),
    socketDirectory: join(stateDirectory, 'socket'),
    logFile: join(stateDirectory, 'postgresql', `${node}.log`),
    restoreLogFile: join(stateDirectory, 'postgresql', `${node}.restore.log`),
    divergedDirectory: join(stateDirectory, 'diverged'),
    adoptedHbaFile: join(stateDirectory, `${node}.adopted-hba`),
    unarchivedDirectory: join(stateDirectory, 'unarchived', node),
    takenFile: join(stateDirectory, 'postgresql', `${node}.taken.json`),
    databaseFile: join(stateDirectory, 'postgresql', `${node}.database.json`),
    lockDirectory: join(stateDirectory, 'local'),
    logicalSlotsFile: join(stateDirectory, 'postgresql', `${node}.logical-slots.json`),
    promoteRunFile: join(stateDirectory, `${node}.promote-command`),
  };
}
