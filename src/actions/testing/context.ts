// An agent's context over a directory, without PostgreSQL: the session answers from what the test says, a stop is only noted.
// Never used outside tests.
import { epoch, groupId, makeMemberId, nodeId, timeline } from '../../base/ids.ts';
import { DEFAULT_GROUP_SETTINGS } from '../../cluster/apply-settings.ts';
import { FEATURES } from '../../cluster/features.ts';
import type { ControlData } from '../../postgres/control-data.ts';
import type { AgentContext } from '../context.ts';
import { ALL_PROTECTIONS, DEFAULT_AGENT_TIMING } from '../context.ts';
import type { QueryOptions } from '../../postgres/session.ts';
import type { ClientAccess, InstanceOptions } from '../instance-options.ts';
import { hbaOptions } from '../instance-files.ts';
import type { WatchedDuty } from '../tamper-settings.ts';

const NODE = nodeId('a');
export const STANDBY = makeMemberId(nodeId('b'), '00000001');
const SYSTEM = '7710476986005549374';

type PrimaryDuty = Extract<WatchedDuty, { readonly kind: 'primary' }>;

/** Of a primary that waits for {@link STANDBY}. */
export const PRIMARY: PrimaryDuty = {
  kind: 'primary',
  group: groupId('main'),
  incarnation: 1,
  epoch: epoch(3),
  slots: [],
  timeline: timeline(1),
  rule: { members: [STANDBY], acks: 1 },
  next: undefined,
  floor: undefined,
  isPaused: false,
};

/** Of a standby that is out of the rule; nobody answers at its upstream. */
export const FOLLOW: Extract<WatchedDuty, { readonly kind: 'follow' }> = {
  ...PRIMARY,
  kind: 'follow',
  branches: [],
  isCounted: false,
  upstream: {
    node: nodeId('b'),
    host: '127.0.0.1',
    port: 1,
    timeline: timeline(1),
    from: undefined,
    isReady: true,
  },
};

export interface FakeContext extends AgentContext {
  readonly announced: string[];
  readonly withdrawn: string[];
  /** The `fastMs` of every stop. */
  readonly stops: number[];
  /** What the log says to whoever asks; undefined: nobody answers. */
  isConfirmed: boolean;
  systemIdentifier: string;
  isRunning: boolean;
  readonly doneKeys: Set<string>;
}

export function fakeContext(options: {
  readonly dataDirectory: string;
  readonly instance?: Partial<InstanceOptions>;
  /** Answers a statement with rows. */
  readonly query?: (
    text: string,
    values: readonly unknown[],
    signal: AbortSignal | undefined,
  ) => readonly object[] | Promise<readonly object[]>;
}): FakeContext {
  const { dataDirectory } = options;
  const postmaster = { pid: process.pid, sharedMemoryId: undefined, status: 'ready' };
  const instanceOptions = {
    node: NODE,
    clusterName: 'a',
    listenAddresses: ['127.0.0.1'],
    port: 1,
    dataDirectory,
    socketDirectory: `${dataDirectory}.socket`,
    passfileDirectory: `${dataDirectory}.passfile`,
    lockDirectory: `${dataDirectory}.local`,
    logFile: `${dataDirectory}.log`,
    divergedDirectory: `${dataDirectory}.diverged`,
    adoptedHbaFile: `${dataDirectory}.adopted-hba`,
    unarchivedDirectory: `${dataDirectory}.unarchived`,
    binaries: { version: 15, directory: '/nowhere', has: { pgRewind: true, pgBasebackup: true } },
    user: { owner: undefined },
    superuser: 'postgres',
    replication: { name: 'replicator', password: 'secret' },
    probe: { name: 'probe', password: 'secret' },
    parameters: {},
    groupParameters: () => new Map<string, string>(),
    maxSlotWalBytes: () => undefined,
    logicalSlots: () => [],
    isCascading: () => false,
    logicalSlotsFile: `${dataDirectory}.logical-slots.json`,
    slotOwners: () => [NODE, nodeId('b'), nodeId('c')],
    standbyLimits: () => [],
    primaryPending: () => [],
    hbaLines: [],
    groupHba: () => [],
    takenFile: `${dataDirectory}.taken.json`,
    databaseFile: `${dataDirectory}.database.json`,
    promoteRunFile: `${dataDirectory}.promote-command`,
    ...options.instance,
  };
  const context = {
    announced: [] as string[],
    withdrawn: [] as string[],
    stops: [] as number[],
    isConfirmed: true,
    systemIdentifier: SYSTEM,
    isRunning: true,
    doneKeys: new Set(['admit']),
    notes: {
      cut: undefined,
      failedFollows: undefined,
      followed: undefined,
      isUnproven: false,
      streaming: undefined,
    },
    timing: DEFAULT_AGENT_TIMING,
    protections: ALL_PROTECTIONS,
    instance: {
      options: instanceOptions,
      session: {
        query: async (text: string, values: readonly unknown[], given?: QueryOptions) =>
          (await options.query?.(text, values, given?.signal)) ?? [],
      },
      isForeign: () => false,
      isEnding: () => false,
      postmaster: () => (context.isRunning ? postmaster : undefined),
      stop: ({ fastMs }: { fastMs: number }) => {
        context.stops.push(fastMs);
        context.isRunning = false;
        return Promise.resolve();
      },
      writeConfiguration: () => Promise.resolve(),
      hba: (clients: ClientAccess) => hbaOptions(instanceOptions as unknown as InstanceOptions, clients, []),
      applyParameters: () => Promise.resolve(false),
      parameters: () => ({ parameters: instanceOptions.parameters, held: [], ours: {} }),
    },
    archiveLeftovers: () => undefined,
    clearUnexpectedEnd: () => undefined,
    foundStoppedAtMs: () => undefined,
    activity: () => undefined,
    announce: (message: string) => context.announced.push(message),
    withdraw: (message: string) => context.withdrawn.push(message),
    confirms: () => Promise.resolve(context.isConfirmed),
    group: () => ({
      ...{ systemIdentifier: SYSTEM, settings: DEFAULT_GROUP_SETTINGS, toAdopt: [] },
      phase: { kind: 'running', primary: FOLLOW.upstream.node, timeline: FOLLOW.upstream.timeline },
    }),
    featureLevel: () => FEATURES,
    dataDirectory: () =>
      Promise.resolve({
        kind: 'ready',
        control: { systemIdentifier: context.systemIdentifier } as ControlData,
        member: undefined,
      }),
    wasDone: (key: string) => context.doneKeys.has(key),
    log: () => undefined,
  };
  return context as unknown as FakeContext;
}
