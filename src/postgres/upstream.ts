// Following an upstream, and being cut off from every upstream. The cut (DESIGN §4 step 2) is what a failover's promise
// rests on: once it returns, nothing more is acknowledged by this node, whatever is paused, blocked or just connecting.
import { access, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { delay } from '../base/clock.ts';
import { freeBytes } from './clone-room.ts';
import { clientSockets } from './client-sockets.ts';
import { fsyncDirectory, writeFileDurably, type Owner } from './durable-files.ts';
import {
  removePassfiles,
  renderConninfo,
  upstreamKeywords,
  writePassfile,
  type Upstream,
} from './conninfo.ts';
import { reloadPostgres } from './lifecycle.ts';
import {
  allGone,
  childProcesses,
  findPostmaster,
  killRemaining,
  readPostmasterFile,
  signalProcess,
  type ChildProcess,
  type SharedMemoryId,
} from './processes.ts';
import {
  SLOT_SYNC,
  ZERO_FILL,
  changeSettings,
  overriddenSettings,
  readSettings,
  removeOverrides,
} from './settings.ts';

const UPSTREAM_KEYS = ['primary_conninfo', 'primary_slot_name', 'restore_command', SLOT_SYNC];
/** The worker that synchronises slots asks its questions there. */
const SLOT_SYNC_DATABASE = 'postgres';

/**
 * Makes the node follow `upstream` through the slot: by reload where it runs as a standby, else from its next start on (standby.signal
 * is written). Throws when it runs without standby.signal, that is as a primary: stop it first. Does not wait for streaming.
 */
export async function followUpstream(options: {
  readonly dataDirectory: string;
  /** Private to this node; holds nothing but its passfile. */
  readonly passfileDirectory: string;
  readonly upstream: Upstream;
  readonly slotName: string;
  /** 17 and later can synchronise the upstream's logical slots: see {@link changeSlotSync}, which switches that on once it may be. */
  readonly canSyncSlots?: boolean;
  readonly owner: Owner | undefined;
}): Promise<'reloaded' | 'at next start'> {
  const { dataDirectory, passfileDirectory, owner, canSyncSlots = false } = options;
  // There in any case: a change of it later would break the stream off for a moment.
  const upstream = canSyncSlots ? { ...options.upstream, database: SLOT_SYNC_DATABASE } : options.upstream;
  const running = findPostmaster(dataDirectory) !== undefined;
  const isStandby = await hasStandbySignal(dataDirectory);
  if (running && !isStandby) {
    throw new Error(
      `cannot make ${dataDirectory} follow ${upstream.host}:${upstream.port}: it runs without standby.signal, as a primary; stop it first`,
    );
  }
  if (!isStandby) await writeStandbySignal(dataDirectory, owner);
  const passfile = await writePassfile({
    directory: passfileDirectory,
    user: upstream.user,
    password: upstream.password,
    owner,
  });
  const changes = {
    primary_conninfo: renderConninfo(upstreamKeywords(upstream, passfile)),
    primary_slot_name: options.slotName,
    restore_command: '',
    ...(canSyncSlots && { [SLOT_SYNC]: 'off' }),
  };
  await removeOverrides({ dataDirectory, keys: UPSTREAM_KEYS, owner });
  await changeSettings({ dataDirectory, changes, owner });
  await removePassfiles(passfileDirectory, passfile);
  return running && reloadPostgres(dataDirectory) ? 'reloaded' : 'at next start';
}

/**
 * Has a standby of 17 or later that follows synchronise logical slots, or no longer; false where it is so already, or it follows nobody: a cut
 * has its way. Reloads. Must not run beside a cut.
 */
export async function changeSlotSync(options: {
  readonly dataDirectory: string;
  readonly syncsSlots: boolean;
  readonly owner: Owner | undefined;
}): Promise<boolean> {
  const { dataDirectory, owner } = options;
  const present = await readSettings(dataDirectory);
  const conninfo = present.get('primary_conninfo') ?? '';
  const value = options.syncsSlots ? 'on' : 'off';
  const hasDatabase = / dbname=/.test(` ${conninfo}`);
  if (conninfo === '' || (present.get(SLOT_SYNC) === value && (hasDatabase || !options.syncsSlots)))
    return false;
  const changes = {
    [SLOT_SYNC]: value,
    ...(hasDatabase ? {} : { primary_conninfo: `${conninfo} dbname='${SLOT_SYNC_DATABASE}'` }),
  };
  await removeOverrides({ dataDirectory, keys: [SLOT_SYNC], owner });
  await changeSettings({ dataDirectory, changes, owner });
  return reloadPostgres(dataDirectory);
}

/** From its next start on, the node is a standby. */
export async function writeStandbySignal(dataDirectory: string, owner: Owner | undefined): Promise<void> {
  await writeFileDurably({ path: join(dataDirectory, 'standby.signal'), content: '', mode: 0o600, owner });
}

export const hasStandbySignal = (dataDirectory: string): Promise<boolean> =>
  access(join(dataDirectory, 'standby.signal')).then(
    () => true,
    () => false,
  );

/** From its next start on, a stopped node is a primary: only for the node that the log names. */
export async function removeStandbySignal(dataDirectory: string): Promise<void> {
  for (const name of ['standby.signal', 'recovery.signal'])
    await rm(join(dataDirectory, name), { force: true });
  await fsyncDirectory(dataDirectory);
}

export interface Cut {
  /** Walreceivers that were ended. */
  readonly ended: number;
  /** False: PostgreSQL does not run, and none of its processes is left. */
  readonly running: boolean;
  readonly tookMs: number;
}

const POLL_MS = 2;
/** A backend has its title after a moment; to read every connection of the host takes as long as a few scans. */
const SCANS_BEFORE_SOCKETS = 4;

/**
 * Cuts the node off from every upstream and returns once no walreceiver is left and none can connect any more. Safe to repeat.
 * Throws when one is still there after `timeoutMs` (it is frozen, or waits for DNS): stopping PostgreSQL is then the only cut.
 */
export async function cutUpstream(options: {
  readonly dataDirectory: string;
  readonly passfileDirectory: string;
  readonly owner: Owner | undefined;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}): Promise<Cut> {
  const { dataDirectory, owner } = options;
  const startedMs = performance.now();
  // First the password, then the scan: a walreceiver that the scan misses began after this, and cannot log in.
  // The two writes do not depend on each other, and each waits for the disk.
  await Promise.all([removePassfiles(options.passfileDirectory), blankUpstream(dataDirectory, owner)]);
  reloadPostgres(dataDirectory);

  const sharedMemoryId = readPostmasterFile(dataDirectory)?.sharedMemoryId;
  const ended = new Set<number>();
  let suspects: ReadonlySet<number> | undefined;
  for (let scan = 1; ; scan += 1) {
    options.signal?.throwIfAborted();
    // On a busy host the time may be over after one scan or two.
    const isLast = performance.now() - startedMs >= options.timeoutMs;
    const asksSockets = isLast || scan >= SCANS_BEFORE_SOCKETS;
    const left = upstreamProcesses(dataDirectory, sharedMemoryId, { suspects, asksSockets });
    suspects ??= new Set(left.kind === 'receivers' ? left.children.map(({ pid }) => pid) : []);
    if (left.kind === 'none')
      return { ended: ended.size, running: left.running, tookMs: performance.now() - startedMs };
    if (left.kind === 'orphans') killRemaining(dataDirectory);
    else for (const child of left.children) if (endReceiver(child, ended)) ended.add(child.pid);
    if (isLast) {
      const titles =
        left.kind === 'orphans'
          ? `processes ${left.pids.join(', ')} of a dead postmaster`
          : describe(left.children);
      throw new Error(
        `cannot cut ${dataDirectory} off from its upstream: ${titles} still there after ${options.timeoutMs} ms; stop PostgreSQL instead`,
      );
    }
    await delay(POLL_MS, options.signal);
  }
}

/**
 * A delayed standby has to replay what it holds, too. Whoever follows a promotion begins a segment of WAL on its timeline, and the first
 * commits wait for that: it is not filled with zeros and flushed before (docs/decisions/0012), unless a person's settings say how.
 */
async function cutChanges(dataDirectory: string): Promise<Record<string, string>> {
  const present = await readSettings(dataDirectory);
  const delayed = present.has('recovery_min_apply_delay') ? { recovery_min_apply_delay: '0' } : {};
  const isHasty = !present.has(ZERO_FILL) && (await hasRoomForWal(dataDirectory));
  const hasty = isHasty ? { [ZERO_FILL]: 'off' } : {};
  // A promotion waits until the worker that synchronises slots is gone, and that may be waiting for an upstream that is frozen.
  const unsynced = present.has(SLOT_SYNC) ? { [SLOT_SYNC]: 'off' } : {};
  return {
    ...{ primary_conninfo: '', primary_slot_name: '', restore_command: '' },
    ...{ ...unsynced, ...delayed, ...hasty },
  };
}

/** A walreceiver that finds no room while it fills ends and tries again; one that finds none while it writes takes its PostgreSQL along. */
const ROOM_BYTES_MIN = 128 * 2 ** 20;

const hasRoomForWal = async (dataDirectory: string): Promise<boolean> =>
  (await freeBytes(join(dataDirectory, 'pg_wal')).catch(() => 0)) >= ROOM_BYTES_MIN;

/** Takes back what {@link cutUpstream} has done to new segments of WAL, once no commit waits for one; `parameters` are a person's. */
export async function fillSegmentsAgain(options: {
  readonly dataDirectory: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const { dataDirectory, owner } = options;
  if (Object.keys(options.parameters).some((name) => name.toLowerCase() === ZERO_FILL)) return;
  if (!(await readSettings(dataDirectory)).has(ZERO_FILL)) return;
  await changeSettings({ dataDirectory, changes: { [ZERO_FILL]: undefined }, owner });
  reloadPostgres(dataDirectory);
}

async function blankUpstream(dataDirectory: string, owner: Owner | undefined): Promise<void> {
  const overrides = await overriddenSettings({ dataDirectory, ours: UPSTREAM_KEYS });
  await removeOverrides({ dataDirectory, keys: overrides.keys(), owner });
  await changeSettings({ dataDirectory, changes: await cutChanges(dataDirectory), owner });
}

type UpstreamProcesses =
  | { readonly kind: 'none'; readonly running: boolean }
  | { readonly kind: 'orphans'; readonly pids: readonly number[] }
  | { readonly kind: 'receivers'; readonly children: readonly ChildProcess[] };

/**
 * What may still receive WAL. A child without a title yet may be about to become a walreceiver, but not every one: clients keep
 * coming, and one that says nothing after connecting has no title for a minute. `suspects` are those that the first scan found; who is
 * newer began after the password was gone. Undefined: this is the first scan.
 */
function upstreamProcesses(
  dataDirectory: string,
  sharedMemoryId: SharedMemoryId | undefined,
  {
    suspects,
    asksSockets,
  }: { readonly suspects: ReadonlySet<number> | undefined; readonly asksSockets: boolean },
): UpstreamProcesses {
  const postmaster = findPostmaster(dataDirectory);
  if (postmaster !== undefined) {
    const { port } = postmaster;
    const sockets = port === undefined || !asksSockets ? undefined : clientSockets(postmaster.pid, port);
    const isHarmless = ({ pid, kind }: ChildProcess): boolean =>
      kind === 'unknown' &&
      ((suspects !== undefined && !suspects.has(pid)) || sockets?.servesClient(pid) === true);
    const children = childProcesses(postmaster.pid).filter(
      (child) => child.kind !== 'other' && child.kind !== 'startup' && !isHarmless(child),
    );
    if (children.length > 0) return { kind: 'receivers', children };
    // Its children change parents when it dies: what the scan did not show counts only if it still lives.
    if (findPostmaster(dataDirectory)?.pid === postmaster.pid) return { kind: 'none', running: true };
  }
  const gone = allGone({ dataDirectory, sharedMemoryId });
  return gone.gone ? { kind: 'none', running: false } : { kind: 'orphans', pids: gone.pids };
}

function endReceiver(child: ChildProcess, ended: ReadonlySet<number>): boolean {
  return child.kind !== 'unknown' && !ended.has(child.pid) && signalProcess(child.pid, 'SIGTERM');
}

const describe = (children: readonly ChildProcess[]): string =>
  children.map((child) => `process ${child.pid} (${child.kind}: "${child.title}")`).join(', ');
