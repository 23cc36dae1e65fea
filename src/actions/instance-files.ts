// What an instance's options make of its files: their contents, and where the agent keeps what belongs to one node.
import { join } from 'node:path';
import type { NodeId } from '../base/ids.ts';
import { hbaLineDanger } from '../cluster/hba-rules.ts';
import type { HbaOptions } from '../postgres/hba.ts';
import {
  DEFAULT_SETTINGS,
  type InstanceSettings,
  type SynchronousStandbys,
  mayRestartAfterCrash,
} from '../postgres/settings.ts';
import { adoptedHba } from './foreign.ts';
import type { ClientAccess, InstanceOptions } from './instance-options.ts';

export function settingsOf(options: InstanceOptions, standbys: SynchronousStandbys): InstanceSettings {
  const maxSlotWalBytes = options.maxSlotWalBytes();
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
  };
}
