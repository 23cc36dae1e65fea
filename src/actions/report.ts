// The agent's live report: what it finds its PostgreSQL to be right now. Never throws: what cannot be read is left out.
import type { Epoch, MemberId, PeerId, Timeline } from '../base/ids.ts';
import type {
  AgentReport,
  FoundServer,
  LogicalSlotReport,
  NodeCondition,
  ParameterReport,
  Upkeep,
} from '../cluster/report.ts';
import { type Role, standbyPosition } from '../postgres/role.ts';
import type { Instance } from './instance.ts';

const QUERY_TIMEOUT_MS = 1000;

export async function buildReport(options: {
  readonly instance: Instance;
  readonly peer: PeerId;
  readonly fenceEpoch: Epoch;
  readonly member: MemberId | undefined;
  readonly activity: { readonly condition: NodeCondition | undefined; readonly message: string | undefined };
  readonly parameters: ParameterReport | undefined;
  readonly sequence: number;
  readonly startedAtMs: number;
  /** A role that was read no longer ago than this is as good as one read now; 0 reads it anew. */
  readonly roleAgeMsMax: number;
  /** Whether a guard answers; undefined where none is to. */
  readonly isGuarded: boolean | undefined;
  readonly upkeep: Upkeep;
  readonly found: FoundServer | undefined;
  /** Empty where the log has none. */
  readonly logicalSlots: readonly LogicalSlotReport[];
  /** See {@link AgentReport.restores}. */
  readonly restores: boolean;
  /** See {@link AgentReport.strange}. */
  readonly strange: (timeline: Timeline | undefined) => Promise<string | undefined>;
}): Promise<AgentReport> {
  const { instance, activity } = options;
  const postmaster = instance.postmaster();
  const isRunning = postmaster !== undefined;
  const role = isRunning
    ? (instance.recentRole(options.roleAgeMsMax) ?? (await readRoleQuietly(instance)))
    : undefined;
  const found: NodeCondition = !isRunning
    ? options.member === undefined
      ? 'absent'
      : 'stopped'
    : (role?.kind ?? 'starting');
  const strange = await options.strange(role?.timeline).catch(() => undefined);
  return {
    node: instance.options.node,
    peer: options.peer,
    sequence: options.sequence,
    startedAtMs: options.startedAtMs,
    member: options.member,
    condition: activity.condition ?? found,
    fenceEpoch: options.fenceEpoch,
    timeline: role?.timeline,
    position:
      role === undefined ? undefined : role.kind === 'primary' ? role.flushLsn : standbyPosition(role),
    replayLsn: role?.kind === 'standby' ? role.replayLsn : undefined,
    streamingFrom: streamingFrom(role),
    ...sourceEnd(role),
    walSenders: (role?.replication ?? []).map(({ applicationName, state, syncState, flushLsn }) => ({
      applicationName,
      state,
      syncState,
      flushLsn,
    })),
    serverVersion: String(instance.options.binaries.version),
    message: activity.message,
    isGuarded: role?.kind === 'primary' ? options.isGuarded : undefined,
    upkeep: options.upkeep,
    ...(options.found === undefined ? {} : { found: options.found }),
    ...(options.restores ? { restores: true } : {}),
    ...(strange === undefined ? {} : { strange }),
    serverStartedAtS: postmaster?.startedAtS,
    ...(isRunning && options.parameters !== undefined ? { parameters: options.parameters } : {}),
    ...(isRunning && options.logicalSlots.length > 0 ? { logicalSlots: options.logicalSlots } : {}),
  };
}

async function readRoleQuietly(instance: Instance): Promise<Role | undefined> {
  try {
    return await instance.readRole({ timeoutMs: QUERY_TIMEOUT_MS });
  } catch {
    return undefined;
  }
}

function sourceEnd(role: Role | undefined): Pick<AgentReport, 'sourceEnd'> {
  const end = role?.kind === 'standby' ? role.walReceiver?.sourceEnd : undefined;
  return end === undefined || role?.kind !== 'standby' || role.walReceiver?.status !== 'streaming'
    ? {}
    : { sourceEnd: end };
}

function streamingFrom(role: Role | undefined): { readonly host: string; readonly port: number } | undefined {
  if (role?.kind !== 'standby' || role.walReceiver?.status !== 'streaming') return undefined;
  const { senderHost, senderPort } = role.walReceiver;
  return senderHost === undefined || senderPort === undefined
    ? undefined
    : { host: senderHost, port: senderPort };
}
