// Servers that answer, but not as one would like: full, read-only, locked, without a standby, in recovery, on a full disk. What is the fault of
// nobody must never become down.
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import { epoch } from '../../../src/base/ids.ts';
import { hasPostgres, Instance, PROBE_USER } from './instance.ts';
import { observe, type Observed } from './observer.ts';

const OBSERVER_ROW = `select beat from pg_sentinel.heartbeat where peer = 'observer'`;

describe.skipIf(!hasPostgres)('a node that answers oddly', () => {
  let instance!: Instance;
  let observed: Observed | undefined;
  const clients: pg.Client[] = [];

  beforeEach(async () => {
    instance = await Instance.create({ max_connections: '20' });
  });
  afterEach(async () => {
    await observed?.close();
    observed = undefined;
    await Promise.all(clients.splice(0).map((client) => client.end().catch(() => undefined)));
    await instance.destroy();
  });

  async function watchUntilUp(options: Parameters<typeof observe>[1] = {}): Promise<Observed> {
    observed = observe(instance.port, options);
    await observed.becomes('up');
    return observed;
  }

  async function beats(): Promise<number> {
    const { rows } = await instance.sql(OBSERVER_ROW);
    return Number((rows[0] as { beat: string } | undefined)?.beat ?? 0);
  }

  function giveCertificate(): void {
    const [key, certificate] = [join(instance.data, 'server.key'), join(instance.data, 'server.crt')];
    const request = 'req -new -x509 -days 2 -nodes -subj /CN=x -keyout';
    execFileSync('openssl', [...request.split(' '), key, '-out', certificate], { stdio: 'ignore' });
    const { uid, gid } = statSync(instance.data);
    for (const file of [key, certificate]) chownSync(file, uid, gid);
    chmodSync(key, 0o600);
  }

  test('every probe of a primary writes this peer`s row', async () => {
    await watchUntilUp();
    const before = await beats();
    await until(
      { what: 'three more beats', timeoutMs: 5000, everyMs: 50 },
      async () => (await beats()) >= before + 3,
    );
  });

  test('a full server is not down, said as what it is, and up when there is room', async () => {
    const watch = await watchUntilUp();
    for (let count = 0; count < 30; count += 1) {
      const client = await instance.connect().catch(() => undefined);
      if (client === undefined) break;
      clients.push(client);
    }
    await clients[0]?.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${PROBE_USER}'`,
    );
    // Its slot may be given back to us before another takes it: an ordinary role does not get the reserved ones.
    await watch.noted(/too many connections: not down/);
    await delay(3000);
    expect(watch.judgement()).toMatchObject({ verdict: 'up', note: 'too many connections: not down' });
    expect(watch.wasDown()).toBe(false);
    await Promise.all(clients.splice(0).map((client) => client.end()));
    await until(
      { what: 'a session again', timeoutMs: 5000, everyMs: 20 },
      () => watch.judgement().note === 'answers',
    );
  });

  test('a full server that is killed is down nevertheless', async () => {
    await instance.sql(`alter role ${PROBE_USER} connection limit 0`);
    observed = observe(instance.port);
    await observed.becomes('up');
    await observed.noted(/too many connections/);
    instance.signal('SIGKILL');
    expect((await observed.becomes('down', 5000)).evidence).toBe('refused');
  });

  test('a wrong password is not down but noted, and fills no log', async () => {
    const startedMs = performance.now();
    observed = observe(instance.port, { password: 'wrong' });
    const judgement = await observed.becomes('up');
    expect(judgement.note).toMatch(/28P01\): not down/);
    await delay(4000);
    expect(observed.wasDown()).toBe(false);
    // One try every 5 s, however long all this took here.
    const triesMax = 1 + Math.floor((performance.now() - startedMs) / 5000);
    const tries = instance.log.match(/password authentication failed/g) ?? [];
    expect(tries.length).toBeGreaterThanOrEqual(1);
    expect(tries.length).toBeLessThanOrEqual(triesMax);
  });

  test('a wrong password does not hide a crash', async () => {
    observed = observe(instance.port, { password: 'wrong' });
    await observed.becomes('up');
    const killedMs = performance.now();
    instance.signal('SIGKILL');
    const judgement = await observed.becomes('down', 5000);
    console.log(`kill -9 seen without a login: ${Math.round(judgement.sinceMs - killedMs)} ms`);
    expect(judgement.evidence).toBe('refused');
  });

  test('read-only on purpose is not down', async () => {
    const watch = await watchUntilUp({ settings: { writeDownAfterMs: 1500 } });
    instance.configure({ default_transaction_read_only: 'on' });
    instance.signal('SIGHUP');
    await watch.noted(/read-only on purpose: not down/);
    await delay(2500);
    expect(watch.wasDown()).toBe(false);
    expect(instance.log.match(/cannot execute/g) ?? []).toHaveLength(1);
    instance.configure({ default_transaction_read_only: 'off' });
    instance.signal('SIGHUP');
    await until(
      { what: 'writes again', timeoutMs: 5000, everyMs: 20 },
      () => watch.judgement().note === 'answers',
    );
  });

  test('a lock on the row of another peer does not matter', async () => {
    await instance.sql(`insert into pg_sentinel.heartbeat (peer, beat) values ('other', 1)`);
    const holder = await instance.connect();
    clients.push(holder);
    await holder.query(`begin; update pg_sentinel.heartbeat set beat = 2 where peer = 'other'`);
    const watch = await watchUntilUp({ settings: { writeDownAfterMs: 1500 } });
    const before = await beats();
    await delay(2500);
    expect(await beats()).toBeGreaterThan(before + 2);
    expect(watch.wasDown()).toBe(false);
    expect(watch.judgement().note).toBe('answers');
  });

  test('a lock on the whole heartbeat is a lock timeout, not down', async () => {
    const watch = await watchUntilUp({ settings: { writeDownAfterMs: 3000 } });
    const holder = await instance.connect();
    clients.push(holder);
    await holder.query(`begin; lock table pg_sentinel.heartbeat in access exclusive mode`);
    await watch.noted(/lock timeout on the heartbeat: not down/);
    await delay(4500);
    expect(watch.wasDown()).toBe(false);
  });

  test('a heartbeat table that is missing or not ours is reported, not down', async () => {
    await instance.sql(`revoke all on pg_sentinel.heartbeat from ${PROBE_USER}`);
    const watch = await watchUntilUp({ settings: { writeDownAfterMs: 1000 } });
    expect(watch.judgement().note).toMatch(/no privilege on the heartbeat table/);
    await instance.sql('drop table pg_sentinel.heartbeat');
    await watch.noted(/heartbeat table is missing: not down/);
    expect(watch.wasDown()).toBe(false);
  });

  test('the write probe succeeds while every other commit waits for a standby that is gone', async () => {
    await instance.sql(`alter role ${PROBE_USER} set synchronous_commit = on`);
    const watch = await watchUntilUp({ settings: { writeDownAfterMs: 1500 } });
    instance.configure({ synchronous_standby_names: 'ANY 1 (nobody)' });
    instance.signal('SIGHUP');
    const stuck = await instance.connect();
    clients.push(stuck);
    await until({ what: 'the setting', timeoutMs: 5000, everyMs: 20 }, async () => {
      const { rows } = await stuck.query('show synchronous_standby_names');
      return (rows[0] as { synchronous_standby_names: string }).synchronous_standby_names !== '';
    });
    await stuck.query(`set statement_timeout = 0`);
    const commit = stuck.query('create table waits ()').then(
      () => 'done',
      () => 'ended',
    );
    const before = await beats();
    await delay(2500);
    expect(await Promise.race([commit, delay(1).then(() => 'waits')])).toBe('waits');
    expect(await beats()).toBeGreaterThan(before + 2);
    expect(watch.wasDown()).toBe(false);
    expect(watch.judgement().note).toBe('answers');
    instance.configure({ synchronous_standby_names: '' });
    instance.signal('SIGHUP');
    await commit;
  });

  test('checks of new connections leave no line in the log, neither with nor without ssl', async () => {
    giveCertificate();
    const watch = await watchUntilUp();
    await delay(2500);
    const before = instance.log;
    instance.configure({ ssl: 'on' });
    instance.signal('SIGHUP');
    await delay(3500);
    const lines = instance.log
      .slice(before.length)
      .split('\n')
      .filter((line) => !/SIGHUP|parameter "ssl"/.test(line) && line !== '');
    expect(lines).toEqual([]);
    expect(before).not.toMatch(/incomplete|SSL|GSS/);
    expect(watch.wasDown()).toBe(false);
  });

  test('a certificate that cannot be verified makes the observer abstain', async () => {
    giveCertificate();
    instance.configure({ ssl: 'on' });
    instance.signal('SIGHUP');
    await delay(200);
    observed = observe(instance.port, { tls: { rejectUnauthorized: true } });
    const watch = observed;
    await until({ what: 'abstention', timeoutMs: 5000, everyMs: 20 }, () =>
      /TLS/.test(watch.judgement().note),
    );
    await delay(3000);
    expect(watch.judgement().verdict).toBe('abstain');
    expect(watch.wasDown()).toBe(false);
  });

  test('a standby where a primary is expected is `in-recovery` after its time, and up once promoted', async () => {
    writeFileSync(join(instance.data, 'standby.signal'), '');
    instance.signal('SIGINT');
    await instance.ended();
    await instance.start();
    observed = observe(instance.port, {
      settings: { recoveryDownAfterMs: 1500 },
      target: { expect: 'standby' },
    });
    await observed.becomes('up');
    expect(observed.health.snapshot().nodes[0]?.inRecovery).toBe(true);
    observed.target({ expect: 'primary', epoch: epoch(9) });
    expect((await observed.becomes('down')).evidence).toBe('in-recovery');
    await instance.sql('select pg_promote()');
    await observed.becomes('up');
    expect(observed.health.snapshot().nodes[0]?.inRecovery).toBe(false);
  });

  test('a new epoch keeps the session and is told of at once', async () => {
    const watch = await watchUntilUp();
    const sessions = `select pid from pg_stat_activity where usename = '${PROBE_USER}'`;
    const before = (await instance.sql(sessions)).rows;
    const count = watch.edges.length;
    watch.target({ epoch: epoch(8) });
    expect(watch.edges).toHaveLength(count + 1);
    await delay(700);
    expect((await instance.sql(sessions)).rows).toEqual(before);
  });

  test('close() leaves no session and no socket, and breaks off no statement', async () => {
    const watch = await watchUntilUp();
    await instance.sql(`
      set allow_system_table_mods = on;
      create function pg_sentinel.slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.3); return new; end';
      create trigger slow before insert or update on pg_sentinel.heartbeat for each row execute function pg_sentinel.slow()`);
    await until({ what: 'a write under way', timeoutMs: 5000, everyMs: 5 }, async () => {
      const { rows } = await instance.sql(
        `select from pg_stat_activity where usename = '${PROBE_USER}' and state = 'active'`,
      );
      return rows.length === 1;
    });
    // Its answer lies unread: a connection that is broken off now is reset.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
    await watch.close();
    await until({ what: 'no session', timeoutMs: 3000, everyMs: 20 }, async () => {
      const { rows } = await instance.sql(`select from pg_stat_activity where usename = '${PROBE_USER}'`);
      return rows.length === 0;
    });
    const port = instance.port.toString(16).toUpperCase().padStart(4, '0');
    const ours = readFileSync('/proc/net/tcp', 'utf8')
      .split('\n')
      .filter((line) => new RegExp(`:${port} 01 `).test(line));
    expect(ours).toEqual([]);
    expect(instance.log).not.toMatch(/reset by peer|unexpected EOF/);
  });
});

describe.skipIf(!hasPostgres)('writes that cannot be made', () => {
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

  test('a full disk is `write-failing` after its time, and up when there is room again', async ({ skip }) => {
    const point = mkdtempSync(join(tmpdir(), 'pg-sentinel-full-'));
    if (!mount(point)) {
      console.log('skipped: a full disk needs root, to mount a small tmpfs');
      skip();
    }
    try {
      const { uid, gid } = statSync(instance.data);
      chownSync(point, uid, gid);
      await instance.sql(`create tablespace small location '${point}'`);
      await instance.sql(
        'set allow_system_table_mods = on; alter table pg_sentinel.heartbeat set tablespace small',
      );
      const watch = observe(instance.port, { settings: { writeDownAfterMs: 2000 } });
      observed = watch;
      await watch.becomes('up');
      // An open snapshot keeps every old row version, so that each update needs new room.
      const holder = await instance.connect();
      await holder.query('begin isolation level repeatable read; select 1');
      const filling = `do $$ begin loop update pg_sentinel.heartbeat set beat = beat + 1; commit; end loop; end $$`;
      await expect(instance.sql(filling)).rejects.toMatchObject({ code: '53100' });
      const judgement = await watch.becomes('down', 20_000);
      console.log(`disk full: ${judgement.note}`);
      expect(judgement.evidence).toBe('write-failing');
      await holder.end();
      execFileSync('mount', ['-o', 'remount,size=16m', point]);
      await watch.becomes('up', 20_000);
      await watch.close();
      await instance.destroy();
    } finally {
      execFileSync('umount', ['-l', point]);
      rmSync(point, { recursive: true, force: true });
    }
  });

  test('writes that hang are `write-failing`, although reads and new connections are answered', async () => {
    observed = observe(instance.port, { settings: { writeDownAfterMs: 4000 } });
    await observed.becomes('up');
    await instance.sql(`
      set allow_system_table_mods = on;
      create function pg_sentinel.hang() returns trigger language plpgsql as 'begin perform pg_sleep(600); return new; end';
      create trigger hang before update on pg_sentinel.heartbeat for each row execute function pg_sentinel.hang()`);
    const hungMs = performance.now();
    const judgement = await observed.becomes('down', 10_000);
    console.log(`hung writes: ${Math.round(judgement.sinceMs - hungMs)} ms (${judgement.note})`);
    expect(judgement.evidence).toBe('write-failing');
    await instance.sql('alter table pg_sentinel.heartbeat disable trigger all');
    await observed.becomes('up');
    const { rows } = await instance.sql(`select from pg_stat_activity where usename = '${PROBE_USER}'`);
    expect(rows).toHaveLength(1);
  });

  test('a session that is dead while new ones work is replaced, and the node is not down', async () => {
    observed = observe(instance.port, { settings: { writeDownAfterMs: 4000 } });
    await observed.becomes('up');
    const { rows } = await instance.sql(`select pid from pg_stat_activity where usename = '${PROBE_USER}'`);
    const pid = (rows[0] as { pid: number }).pid;
    process.kill(pid, 'SIGSTOP');
    try {
      await until({ what: 'another session', timeoutMs: 10_000, everyMs: 50 }, async () => {
        const open = await instance.sql(
          `select from pg_stat_activity where usename = '${PROBE_USER}' and pid <> ${pid}`,
        );
        return open.rows.length === 1;
      });
      await delay(3000);
      expect(observed.judgement()).toMatchObject({ verdict: 'up', note: 'answers' });
      expect(observed.wasDown()).toBe(false);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await until({ what: 'the old session ended', timeoutMs: 5000, everyMs: 50 }, async () => {
      const open = await instance.sql(`select from pg_stat_activity where pid = ${pid}`);
      return open.rows.length === 0;
    });
  });
});

function mount(point: string): boolean {
  if (process.getuid?.() !== 0) return false;
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', point], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
