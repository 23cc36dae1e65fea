// What a PostgreSQL instance is made of: its paths, users and settings, and whom to tell what becomes of it.
import type { NodeId } from '../base/ids.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import type { Account } from '../postgres/account.ts';
import type { Binaries } from '../postgres/binaries.ts';
import type { TablespaceMapping } from '../postgres/clone-room.ts';
import type { Limits } from '../postgres/effective-parameters.ts';
import type { InitSettings } from '../postgres/initdb-settings.ts';
import type { LogRotation } from '../postgres/log-rotation.ts';
import type { OsUser } from '../postgres/os-user.ts';
import type { RecoveryTarget } from '../postgres/recovery-target.ts';
import type { ProcessSettings } from '../postgres/process-settings.ts';
import type { PromoteCommand } from './promote-command.ts';
import type { SiteSource } from './site-source.ts';

/** The administrator's command that makes the first data directory of a group out of a backup, and how far that is recovered. */
export interface Bootstrap {
  /** The program, as an absolute path, and its arguments. */
  readonly command: readonly string[];
  readonly timeoutMs: number;
  readonly restoreCommand: string | undefined;
  readonly target: RecoveryTarget;
}

/** `kept-out`: only our own users may connect, until the rule was seen to be in force. */
export type ClientAccess = 'admitted' | 'kept-out';

export interface InstanceOptions {
  readonly node: NodeId;
  readonly clusterName: string;
  readonly listenAddresses: readonly string[];
  readonly port: number;
  readonly dataDirectory: string;
  /** Private, mode 0700: whoever can open the socket in it is superuser. */
  readonly socketDirectory: string;
  /** Private, holds nothing but this node's passfile. */
  readonly passfileDirectory: string;
  readonly logFile: string;
  /** Undefined: its size has no bound. */
  readonly logRotation?: LogRotation | undefined;
  readonly process?: ProcessSettings | undefined;
  /** For files of writes that the group went on without. */
  readonly divergedDirectory: string;
  /** Lines of pg_hba.conf that were taken over with an adopted server. */
  readonly adoptedHbaFile: string;
  /** Of whoever makes or replaces the data directory; see `lockDirectory`. */
  readonly lockDirectory: string;
  /** WAL of a data directory that is made here gets a directory of its own within this one; left out: within the data directory. */
  readonly walDirectory?: string | undefined;
  /** Where a clone puts tablespaces, by name or by their location on the source. */
  readonly tablespaces?: TablespaceMapping | undefined;
  /** What a clone may read from its source in a second; left out: as fast as it goes. */
  readonly cloneMaxRateBytes?: number | undefined;
  /** WAL that this node completed as primary and that is not in the archive yet. */
  readonly unarchivedDirectory: string;
  /** What initdb makes the first data directory of a group with; left out: its defaults. */
  readonly initdb?: InitSettings | undefined;
  /** How the first data directory of a group is restored from a backup; undefined: it is made by initdb. */
  readonly bootstrap?: Bootstrap | undefined;
  /** For what the bootstrap command says. */
  readonly restoreLogFile: string;
  /** What a promotion is carried out by; undefined: by ourselves. */
  readonly promoteCommand?: PromoteCommand | undefined;
  /** Which process that is, while it runs; in a directory that is ours alone. */
  readonly promoteRunFile: string;
  readonly binaries: Binaries;
  readonly user: OsUser;
  readonly superuser: string;
  readonly replication: Account;
  readonly probe: Account;
  /** Another site that this node can stream from; left out: none. */
  readonly source?: SiteSource | undefined;
  /** Of the node's own configuration file. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Of the log; they count before the node's own. */
  readonly groupParameters: () => ReadonlyMap<string, string>;
  /** Of the log: how much WAL a replication slot may keep; undefined until that is known. */
  readonly maxSlotWalBytes: () => number | undefined;
  /** Of the log; none of a standby that is never promoted. */
  readonly logicalSlots: () => readonly LogicalSlot[];
  /** It streams from another standby, by the log. */
  readonly isCascading: () => boolean;
  /** For `openSlotMemory`. */
  readonly logicalSlotsFile: string;
  /** Of the log: nodes that have, or had, a replication slot for each of their data directories. */
  readonly slotOwners: () => readonly NodeId[];
  /** See `effectiveParameters`. */
  readonly standbyLimits: () => readonly Limits[];
  /** Parameters for which the primary waits to be restarted, as far as is known. */
  readonly primaryPending: () => readonly string[];
  /** Of the node's own configuration file. */
  readonly hbaLines: readonly string[];
  /** Of the log; they come before the node's own. */
  readonly groupHba: () => readonly string[];
  /** For `createTakenSettings`. */
  readonly takenFile: string;
  /** Where it is written down which data directory held the group's database last; see database-before.ts. */
  readonly databaseFile: string;
  /** PostgreSQL did not start with what the log has for it, and was started without that. */
  readonly onRefused: (message: string) => void;
  /** PostgreSQL ended without this agent having stopped it; nothing of it is left. */
  readonly onUnexpectedEnd: () => void;
  /** Whether a server that we have not started is to be talked to as well. */
  readonly mayBeForeign: () => boolean;
  /** Something changed that a duty may depend on. */
  readonly onChange: () => void;
  /** PostgreSQL does not run, and is about to be started as a standby. */
  readonly beforeStandby: (signal: AbortSignal) => Promise<void>;
}
