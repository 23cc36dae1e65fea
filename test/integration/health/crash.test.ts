// What this peer judges when PostgreSQL is killed, frozen, restarted. Times are printed, not asserted, but for their order.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import { peerId } from '../../../src/base/ids.ts';
import { Network } from './network.ts';
import { hasPostgres, Instance, PROBE_USER } from './instance.ts';
import { observe, PG1, type Observed } from './observer.ts';

describe.skipIf(!hasPostgres)('a node that crashes, freezes or is restarted', () => {
  let instance!: Instance;
  let observed: Observed | undefined;

  beforeEach(async () => {
    instance = await Instance.create();
  });
  afterEach(async () => {
    await observed?.close();
    observed = undefined;
    await instance.destroy();
  });

  async function watchUntilUp(options: Parameters<typeof observe>[1] = {}): Promise<Observed> {
    observed = observe(instance.port, options);
    await observed.becomes('up');
    return observed;
  }

  test('kill -9 of the postmaster is `refused` within a moment', async () => {
    const watch = await watchUntilUp();
    const killedMs = performance.now();
    instance.signal('SIGKILL');
    const judgement = await watch.becomes('down', 5000);
    console.log(`kill -9 -> refused: ${Math.round(judgement.sinceMs - killedMs)} ms (${judgement.note})`);
    expect(judgement.evidence).toBe('refused');
    expect(watch.edges.at(-1)?.judgement.evidence).toBe('refused');
    await instance.ended();
    await delay(100);
    await instance.start();
    await watch.becomes('up');
  });

  test('kill -9 and the word of its host peer join at the first refusal', async () => {
    const watch = await watchUntilUp();
    watch.health.hostSaysGone(PG1);
    const killedMs = performance.now();
    instance.signal('SIGKILL');
    const judgement = await watch.becomes('down', 5000);
    console.log(`kill -9 -> joined: ${Math.round(judgement.sinceMs - killedMs)} ms (${judgement.note})`);
    expect(judgement.evidence).toBe('processes-gone');
  });

  test('an immediate shutdown is no clean one: `refused` at once', async () => {
    const watch = await watchUntilUp();
    instance.signal('SIGQUIT');
    expect((await watch.becomes('down', 5000)).evidence).toBe('refused');
  });

  test('its own agent is believed at once, and a down is taken back by a real answer only', async () => {
    const watch = await watchUntilUp({ target: { hostPeer: peerId('observer') } });
    watch.health.localProcessesGone(PG1);
    expect(watch.judgement()).toMatchObject({ verdict: 'down', evidence: 'processes-gone' });
    await delay(1200);
    expect(watch.judgement().verdict).toBe('down');
    watch.health.localProcessesBack(PG1);
    expect(watch.judgement().verdict).toBe('down');
    await watch.becomes('up');
  });

  test('a postmaster frozen alone is seen although the open session answers', async () => {
    const watch = await watchUntilUp();
    const frozenMs = performance.now();
    instance.signal('SIGSTOP');
    const judgement = await watch.becomes('down', 6000);
    console.log(
      `SIGSTOP of the postmaster -> no-answer: ${Math.round(judgement.sinceMs - frozenMs)} ms (${judgement.note})`,
    );
    expect(judgement.evidence).toBe('no-answer');
    expect(judgement.note).toMatch(/new connections hang/);
    expect(watch.health.snapshot().nodes[0]?.sessionOpen).toBe(true);
    instance.signal('SIGCONT');
    await watch.becomes('up');
  });

  test('a node frozen as a whole is `no-answer`', async () => {
    const watch = await watchUntilUp();
    const frozenMs = performance.now();
    instance.signalAll('SIGSTOP');
    const judgement = await watch.becomes('down', 6000);
    console.log(
      `SIGSTOP of everything -> no-answer: ${Math.round(judgement.sinceMs - frozenMs)} ms (${judgement.note})`,
    );
    expect(judgement.evidence).toBe('no-answer');
    instance.signalAll('SIGCONT');
    await watch.becomes('up');
  });

  test('a restart by an administrator within the grace is not down', async () => {
    const watch = await watchUntilUp();
    instance.signal('SIGINT');
    await instance.ended();
    await delay(1000);
    await instance.start();
    await delay(1000);
    await watch.becomes('up');
    expect(watch.wasDown()).toBe(false);
    expect(watch.notes.join('\n')).toMatch(/administrator/);
  });

  test('a clean shutdown that lasts beyond the grace is `refused`', async () => {
    const watch = await watchUntilUp({ settings: { restartGraceMs: 1500 } });
    const stoppedMs = performance.now();
    instance.signal('SIGINT');
    const judgement = await watch.becomes('down', 6000);
    expect(judgement.evidence).toBe('refused');
    expect(judgement.sinceMs - stoppedMs).toBeGreaterThan(1400);
  });

  test('backends that restart after one was killed are alive', async () => {
    const watch = await watchUntilUp();
    const victim = await instance.connect();
    const pid = (await victim.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid;
    process.kill(pid ?? 0, 'SIGKILL');
    await watch.noted(/killed|lost/);
    await instance.ready();
    await delay(1000);
    await watch.becomes('up');
    expect(watch.wasDown()).toBe(false);
  });

  test('our session ended by pg_terminate_backend is opened again, nothing more', async () => {
    const watch = await watchUntilUp();
    await instance.sql(
      `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${PROBE_USER}'`,
    );
    await watch.noted(/administrator/);
    await watch.noted(/answers/);
    await delay(300);
    expect(watch.wasDown()).toBe(false);
  });

  test('a node that is not up yet when the watch begins needs downAfterMs of refusals', async () => {
    instance.signal('SIGQUIT');
    await instance.ended();
    const startedMs = performance.now();
    observed = observe(instance.port);
    const judgement = await observed.becomes('down');
    expect(judgement.evidence).toBe('refused');
    expect(judgement.sinceMs - startedMs).toBeGreaterThan(2000);
  });

  test('a network that swallows everything is `no-answer`, and is got over by a new session', async () => {
    const network = await Network.to(instance.port);
    try {
      observed = observe(network.port);
      const watch = observed;
      await watch.becomes('up');
      const cutMs = performance.now();
      network.cut();
      const judgement = await watch.becomes('down', 6000);
      console.log(`partition -> no-answer: ${Math.round(judgement.sinceMs - cutMs)} ms (${judgement.note})`);
      expect(judgement.evidence).toBe('no-answer');
      network.heal();
      await watch.becomes('up');
      await delay(1500);
      expect(watch.judgement()).toMatchObject({ verdict: 'up', note: 'answers' });
    } finally {
      await observed?.close();
      await network.close();
    }
  });

  test('an observer that was stalled, or reaches no quorum, gives no down', async () => {
    const watch = await watchUntilUp();
    instance.signalAll('SIGSTOP');
    // An answer that was on its way would be the first news after the stall, and a good one.
    await delay(200);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4000);
    await until(
      { what: 'abstention', timeoutMs: 1000, everyMs: 1 },
      () => watch.judgement().verdict === 'abstain',
    );
    expect(watch.judgement().note).toMatch(/stalled/);
    watch.health.setQuorumReachable(false);
    await delay(4000);
    expect(watch.judgement().verdict).toBe('abstain');
    expect(watch.wasDown()).toBe(false);
    watch.health.setQuorumReachable(true);
    await watch.becomes('down', 6000);
    instance.signalAll('SIGCONT');
    await watch.becomes('up');
  });
});
