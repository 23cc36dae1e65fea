// The clients of the demo and the benchmark against real servers: what they may call acknowledged, and where they go.
import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { writeHba } from '../../../src/postgres/hba.ts';
import { killRemaining } from '../../../src/postgres/processes.ts';
import type { Attempt } from '../../../harness/attempt.ts';
import { findReadWrite } from '../../../harness/connector.ts';
import type { Target } from '../../../harness/session.ts';
import {
  startStubbornWriter,
  startWriter,
  type Writer,
  type WriterSettings,
} from '../../../harness/writer.ts';
import {
  configure,
  openPlace,
  PROBE,
  REPLICATION,
  sql,
  startPrimary,
  TESTED_VERSION,
  type Instance,
  type Place,
} from '../postgres/instances.ts';

let place: Place;
let first: Instance;
let second: Instance;
let silent: Server;

const client = { user: 'app', password: 'app-password', database: 'postgres', connectTimeoutMs: 250 };
const common = {
  client,
  insert: 'INSERT INTO public.writes (id) VALUES ($1)',
  statementTimeoutMs: 1000,
  retryMs: 10,
  paceMs: 1,
};
const target = (instance: Instance): Target => ({
  node: instance.name,
  host: '127.0.0.1',
  port: instance.port,
});
const settings = (name: string): WriterSettings => ({ ...common, name });
const ofKind = (writer: Writer, outcome: Attempt['outcome']): Attempt[] =>
  writer.attempts.filter((each) => each.outcome === outcome);
const eventually = (what: string, condition: () => boolean | Promise<boolean>): Promise<true> =>
  until({ what, timeoutMs: 30_000, everyMs: 5 }, async () =>
    (await condition()) ? (true as const) : undefined,
  );

async function startServer(name: string): Promise<Instance> {
  const instance = await startPrimary(place, name);
  await allowApp(instance);
  await sql(instance, "CREATE ROLE app LOGIN PASSWORD 'app-password'");
  await sql(instance, 'CREATE TABLE public.writes (id text NOT NULL)');
  await sql(instance, 'GRANT ALL ON public.writes TO app');
  return instance;
}

async function allowApp(instance: Instance): Promise<void> {
  await writeHba({
    dataDirectory: instance.dataDirectory,
    owner: instance.user.owner,
    hba: {
      superuser: 'sentinel',
      replicationUser: REPLICATION.name,
      probeUser: PROBE.name,
      userNetworks: ['127.0.0.1/32'],
      memberNetworks: [],
      requireTls: false,
      extraLines: [],
    },
  });
  await sql(instance, 'SELECT pg_reload_conf()');
}

async function setReadOnly(instance: Instance, value: 'on' | 'off'): Promise<void> {
  await sql(instance, `ALTER SYSTEM SET default_transaction_read_only = ${value}`);
  await sql(instance, 'SELECT pg_reload_conf()');
}

const idsOn = async (instance: Instance): Promise<string[]> => {
  const rows = await sql<{ id: string }>(instance, 'SELECT id FROM public.writes');
  return rows.map(({ id }) => id);
};

beforeAll(async () => {
  const found = (await openPlace(TESTED_VERSION)) ?? (await openPlace(17));
  if (found === undefined) throw new Error('no PostgreSQL for these tests');
  place = found;
  [first, second] = await Promise.all([startServer('pg1'), startServer('pg2')]);
  // A host that accepts connections and never says a word, as a frozen one does.
  silent = createServer((socket) => socket.on('error', () => undefined));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
});

afterAll(async () => {
  silent?.close();
  await place?.close();
});

function silentTarget(): Target {
  const address = silent.address();
  return {
    node: 'silent',
    host: '127.0.0.1',
    port: typeof address === 'object' && address !== null ? address.port : 0,
  };
}

describe('the connector', () => {
  test('finds the node that takes writes among one that is read-only, one that is silent and one that is not there', async () => {
    await setReadOnly(second, 'on');
    const session = await findReadWrite({
      targets: [target(second), silentTarget(), { node: 'gone', host: '127.0.0.1', port: 1 }, target(first)],
      settings: { ...client, applicationName: 'test' },
      retryMs: 10,
      signal: AbortSignal.timeout(20_000),
    });
    expect(session?.target.node).toBe('pg1');
    session?.destroy();
    await setReadOnly(second, 'off');
  });

  test('notices a node that becomes read-write while it looks, and gives up when told', async () => {
    await setReadOnly(first, 'on');
    const options = {
      targets: [target(first)],
      settings: { ...client, applicationName: 'test' },
      retryMs: 10,
    };
    expect(await findReadWrite({ ...options, signal: AbortSignal.timeout(100) })).toBeUndefined();
    const looking = findReadWrite({ ...options, signal: AbortSignal.timeout(20_000) });
    await setReadOnly(first, 'off');
    const session = await looking;
    expect(session?.target.node).toBe('pg1');
    session?.destroy();
  });
});

describe('the writer', () => {
  test('finds every write that was acknowledged there in the end', async () => {
    const writer = startWriter({ ...settings('plain'), targets: [target(first)] });
    await eventually('100 acknowledged writes', () => ofKind(writer, 'acked').length >= 100);
    await writer.stop();
    const there = new Set(await idsOn(first));
    expect(ofKind(writer, 'acked').filter(({ id }) => !there.has(id))).toEqual([]);
    expect(new Set(writer.attempts.map(({ id }) => id)).size).toBe(writer.attempts.length);
  });

  test('does not take a cancelled wait for replication for an acknowledgement', async () => {
    await configure(first, { synchronousStandbys: { kind: 'nobody' } });
    await allowApp(first);
    const writer = startWriter({
      ...settings('cancelled'),
      statementTimeoutMs: 20_000,
      targets: [target(first)],
    });
    await eventually('a commit that waits', async () => {
      const rows = await sql(
        first,
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'cancelled' AND wait_event = 'SyncRep'",
      );
      return rows.length > 0;
    });
    await eventually('the outcome of the cancelled one', () =>
      writer.attempts.some(({ reason }) => reason?.includes('canceling wait') === true),
    );
    await writer.stop();
    const cancelled = writer.attempts.find(({ reason }) => reason?.includes('canceling wait') === true);
    expect(cancelled?.outcome).toBe('unknown');
    expect(await idsOn(first)).toContain(cancelled?.id);
  });

  test('throws its connection away after a statement timeout and calls the outcome unknown', async () => {
    const writer = startWriter({ ...settings('timeout'), statementTimeoutMs: 100, targets: [target(first)] });
    await eventually('two timeouts', () => ofKind(writer, 'unknown').length >= 2);
    await configure(first, { synchronousStandbys: { kind: 'alone' } });
    await allowApp(first);
    await eventually('an acknowledgement', () => ofKind(writer, 'acked').length >= 1);
    await writer.stop();
    expect(ofKind(writer, 'unknown')[0]?.reason).toMatch(/no result within 100 ms/);
  });

  test('goes to the other node when its own is killed', async () => {
    await setReadOnly(second, 'on');
    const writer = startWriter({ ...settings('moving'), targets: [target(first), target(second)] });
    await eventually('writes on pg1', () => ofKind(writer, 'acked').length >= 20);
    killRemaining(first.dataDirectory);
    await setReadOnly(second, 'off');
    await eventually('writes on pg2', () =>
      writer.attempts.some(({ node, outcome }) => node === 'pg2' && outcome === 'acked'),
    );
    await writer.stop();
    const nodes = ofKind(writer, 'acked').map(({ node }) => node);
    expect(nodes.lastIndexOf('pg1')).toBeLessThan(nodes.indexOf('pg2'));
  });
});

test('the stubborn writer stays with its node and keeps its session through refusals', async () => {
  await setReadOnly(second, 'on');
  const writer = startStubbornWriter({
    ...settings('stubborn'),
    statementTimeoutMs: undefined,
    target: target(second),
  });
  await writer.connected(10_000);
  await eventually('refusals', () => ofKind(writer, 'failed').length >= 5);
  const sessions = await sql(
    second,
    "SELECT backend_start FROM pg_stat_activity WHERE application_name = 'stubborn'",
  );
  await setReadOnly(second, 'off');
  await eventually('an acknowledgement', () => ofKind(writer, 'acked').length >= 1);
  expect(
    await sql(second, "SELECT backend_start FROM pg_stat_activity WHERE application_name = 'stubborn'"),
  ).toEqual(sessions);
  expect(ofKind(writer, 'failed')[0]?.reason).toMatch(/read-only/);
  await writer.stop();
});
