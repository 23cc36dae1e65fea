// What happens in the demo, in order: writes, the death of the primary, the failover, the return of the old primary, the
// count. Only measures and tells; every wait has a deadline whose message says what was last seen.
import type { NodeView, StatusView } from '../src/transport/types.ts';
import { until } from '../src/base/clock.ts';
import type { Attempt } from '../harness/attempt.ts';
import { INSERT, prepareClients, readBack } from '../harness/clients.ts';
import { GROUP } from '../harness/cluster-config.ts';
import { checkHistory, outageOf } from '../harness/history.ts';
import type { Host } from '../harness/host.ts';
import { isHealthy, type LocalCluster } from '../harness/local-cluster.ts';
import { CLIENT_DEFAULTS, startWriter, type Writer } from '../harness/writer.ts';
import { watchHint } from './keep.ts';
import type { Stage } from './stage.ts';
import { formatCount, formatMs, stepOfNode, stepsOfEvents } from './story.ts';

export interface DemoResult {
  readonly ok: true;
  readonly outageMs: number;
  readonly acked: number;
  readonly lost: number;
  readonly primaryBefore: string;
  readonly primaryAfter: string;
  readonly rejoinMs: number;
  readonly epoch: number;
  readonly ackedBeforeKill: number;
  readonly duplicates: number;
  /** Acknowledgements by the old primary after the new one had begun. */
  readonly doubles: number;
}

export interface Scene {
  readonly cluster: LocalCluster;
  readonly stage: Stage;
  readonly signal: AbortSignal;
  /** Told the monotonic time of the kill. */
  readonly onKill: (atMs: number) => void;
}

const START_TIMEOUT_MS = 120_000;
const WRITES_TIMEOUT_MS = 60_000;
const FAILOVER_TIMEOUT_MS = 60_000;
const REJOIN_TIMEOUT_MS = 90_000;
const ACKED_BEFORE_KILL_MIN = 500;
const WRITE_PACE_MS = 2;
const WRITING_BEFORE_KILL_MS = 2000;
const WRITING_AFTER_REJOIN_MS = 1000;
const EVENT_COUNT = 100;

/** Plays everything; throws with the reason when any of it does not come about. */
export async function play(scene: Scene): Promise<DemoResult> {
  const { cluster, stage, signal } = scene;
  const { version, user } = cluster.postgres;
  stage.tell(
    `${cluster.hosts.length} peers and as many PostgreSQL ${version} servers start (as user ${user})`,
  );
  const watching = new AbortController();
  const ending = AbortSignal.any([signal, watching.signal]);
  const story = followStory(scene, ending);
  let client: Client | undefined;
  try {
    const healthy = await cluster.waitUntilHealthy(START_TIMEOUT_MS);
    const old = await cluster.primary();
    const standbys = healthy.nodes.map(({ node }) => node).filter((node) => node !== old.node);
    stage.tell(`${old.node} is primary; each commit waits for one of ${standbys.join(' and ')}`);
    client = await startClient(scene, old);
    stage.tell('a client writes to whichever node is read-write');
    const startMs = performance.now();
    await client.wait(
      `more than ${ACKED_BEFORE_KILL_MIN} writes before the kill`,
      WRITES_TIMEOUT_MS,
      (acks) => {
        return acks.length > ACKED_BEFORE_KILL_MIN && performance.now() - startMs >= WRITING_BEFORE_KILL_MS;
      },
    );

    const ackedBeforeKill = client.acks.length;
    const killMs = story.kill(old);
    const first = await client.wait('a write acknowledged by another node', FAILOVER_TIMEOUT_MS, (acks) =>
      acks.find(({ node }) => node !== old.node),
    );
    stage.step({
      atMs: first.endMs - killMs,
      text: `${first.node} acknowledges the client's next write`,
      tone: 'good',
    });
    const group = await cluster.waitFor(`${old.node} back as a standby`, REJOIN_TIMEOUT_MS, (now) => {
      return now.primary !== old.node && isHealthy(now, cluster.hosts.length);
    });
    const rejoinMs = performance.now() - killMs;
    const primaryAfter = group.primary ?? '';
    stage.step({
      atMs: rejoinMs,
      text: `${old.node} is back: a standby of ${primaryAfter}, and commits may wait for it again`,
      tone: 'good',
    });
    const rejoined = performance.now();
    await client.wait(
      'writes after the return',
      WRITES_TIMEOUT_MS,
      () => performance.now() - rejoined >= WRITING_AFTER_REJOIN_MS,
    );

    await client.stop();
    const verdict = checkHistory({
      attempts: client.writer.attempts,
      readBack: await readBack(cluster.hostOf(primaryAfter)),
      primaries: [old.node, primaryAfter],
    });
    const outage = outageOf(client.writer.attempts, killMs);
    if (outage === undefined)
      throw new Error('the outage cannot be measured: no write was acknowledged before the kill');
    const figures = {
      outageMs: Math.round(outage.ms),
      acked: verdict.acked,
      lost: verdict.lost.length,
      primaryBefore: old.node,
      primaryAfter,
      rejoinMs: Math.round(rejoinMs),
      epoch: group.epoch,
      ackedBeforeKill,
      duplicates: verdict.duplicates.length,
      doubles: verdict.doubles.length,
    };
    stage.show({ result: resultLines(figures) });
    return accept(figures);
  } finally {
    watching.abort();
    await client?.stop();
    await story.done;
  }
}

/** Writers and servers that lose, double or duplicate a write make the demo fail: that is what it is there to show. */
function accept(figures: Omit<DemoResult, 'ok'>): DemoResult {
  const { lost, duplicates, doubles } = figures;
  if (lost + duplicates + doubles > 0) {
    throw new Error(
      `the promise is broken: ${lost} acknowledged writes lost, ${duplicates} there twice, ${doubles} acknowledged by two nodes at once`,
    );
  }
  return { ok: true, ...figures };
}

function resultLines(figures: Omit<DemoResult, 'ok'>): string[] {
  const { primaryBefore, primaryAfter } = figures;
  const rows = [
    [
      'outage',
      formatMs(figures.outageMs),
      `from the last write by ${primaryBefore} to the first by ${primaryAfter}`,
    ],
    [
      'acknowledged',
      formatCount(figures.acked),
      `writes, ${formatCount(figures.ackedBeforeKill)} of them before the kill`,
    ],
    ['lost', formatCount(figures.lost), `counted by reading all of them back from ${primaryAfter}`],
  ] as const;
  return rows.map(([name, figure, text]) => `  ${name.padEnd(12)}  ${figure.padStart(8)}  ${text}`);
}

interface Client {
  readonly writer: Writer;
  readonly acks: readonly Attempt[];
  stop(): Promise<void>;
  wait<T>(
    what: string,
    timeoutMs: number,
    condition: (acks: readonly Attempt[]) => T | undefined | false,
  ): Promise<T>;
}

async function startClient({ cluster, stage, signal }: Scene, primary: Host): Promise<Client> {
  const acks: Attempt[] = [];
  const ackedAtMs: number[] = [];
  let node: string | undefined;
  let isStopping = false;
  const writer = startWriter({
    ...CLIENT_DEFAULTS,
    name: 'client',
    client: await prepareClients(primary),
    insert: INSERT,
    paceMs: WRITE_PACE_MS,
    targets: cluster.hosts.map(({ target }) => target),
    onAttempt(attempt) {
      if (isStopping) return;
      node = attempt.outcome === 'acked' ? attempt.node : undefined;
      if (attempt.outcome === 'acked') {
        acks.push(attempt);
        ackedAtMs.push(attempt.endMs);
      }
      stage.show({ client: { acked: acks.length, node, ackedAtMs } });
    },
  });
  return {
    writer,
    acks,
    stop() {
      isStopping = true;
      return writer.stop();
    },
    wait: (what, timeoutMs, condition) =>
      until({ what, timeoutMs, everyMs: 5, signal }, () => condition(acks)),
  };
}

interface Story {
  /** Kills the postmaster and begins to tell; returns the monotonic time of the kill. */
  kill(host: Host): number;
  readonly done: Promise<void>;
}

/** Hands every status to the stage, and after the kill every log entry and every change of the old primary. */
function followStory({ cluster, stage, onKill }: Scene, ending: AbortSignal): Story {
  let killed: { readonly node: string; readonly monoMs: number; readonly wallMs: number } | undefined;
  let applied = 0;
  let told = 0;
  let former: NodeView | undefined;
  let asking: Promise<void> = Promise.resolve();

  const tellEvents = async (): Promise<void> => {
    if (killed === undefined) return;
    const steps = stepsOfEvents(await cluster.admin.events(EVENT_COUNT).catch(() => []), killed.wallMs);
    for (const step of steps.slice(told)) stage.step(step);
    told = Math.max(told, steps.length);
  };
  let isFirst = true;
  const take = (status: StatusView): void => {
    if (isFirst) stage.show({ hint: watchHint(cluster, status.answeredBy) });
    isFirst = false;
    const group = status.groups.find((each) => each.group === GROUP);
    if (group !== undefined) stage.show({ group });
    if (killed !== undefined && status.appliedIndex > applied) asking = asking.then(tellEvents);
    applied = Math.max(applied, status.appliedIndex);
    const now = group?.nodes.find(({ node }) => node === killed?.node);
    if (now === undefined || killed === undefined || group?.primary === killed.node) return;
    const step = stepOfNode(former, now, performance.now() - killed.monoMs);
    former = now;
    if (step !== undefined) stage.step(step);
  };
  const done = cluster.admin.watch(take, ending).then(() => asking);
  return {
    done,
    kill(host) {
      const wallMs = Date.now();
      const monoMs = performance.now();
      const pid = host.killPostmaster();
      killed = { node: host.node, monoMs, wallMs };
      onKill(monoMs);
      stage.step({ atMs: 0, text: `kill -9 ${pid}, the postmaster of ${host.node}`, tone: 'bad' });
      return monoMs;
    },
  };
}
