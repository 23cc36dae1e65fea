// What a change of the sync rule, and a promoted node's first commits, must get the better of: processes that take a reload late or
// never, and a connection that one side believes in and the other has left.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { signalProcess } from '../../../src/postgres/processes.ts';
import type { EventView } from '../../../src/transport/types.ts';
import type { Host } from '../../../harness/host.ts';
import { LIMIT_MS, openScene, sql, TEST_MS, type Load, type Scene } from './scene.ts';
import { allOf, processesOf, processOf, standStill, walSendersTo, walSenderTo } from './victims.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await openScene();
}, TEST_MS);
afterAll(async () => {
  await scene?.close();
});

/** Waits until the primary's agent has tried the change for a whole step in vain (`sign` in its log): it must not have been done. */
async function triedToChange(load: Load, begun: EventView, sign: RegExp): Promise<void> {
  const isDone = async (): Promise<boolean> => {
    const events = await load.events().catch(() => []);
    return events.some(({ kind, index }) => kind === 'commit-rule' && index > begun.index);
  };
  const what = `the change of the rule, or ${sign}`;
  await until({ what, timeoutMs: LIMIT_MS, everyMs: 50 }, async () => {
    return sign.test(load.logOf(load.primary)) || (await isDone());
  });
  expect(await isDone(), 'the rule has changed').toBe(false);
}

/** Both standbys' PostgreSQL frozen, one after the other left the rule, so that the primary runs alone. */
async function leaveAlone(load: Load): Promise<(() => void)[]> {
  const releases: (() => void)[] = [];
  for (const host of load.standbys) {
    releases.push(load.stop(...allOf(host)));
    await load.waitFor(`${host.node} to be out of the rule`, ({ rule, ruleChange }) => {
      return !rule.includes(host.node) && ruleChange === undefined;
    });
  }
  await load.moreAcks(20, [load.primary]);
  return releases;
}

const namesOn = (host: Host): Promise<{ names: string }[]> =>
  sql(host, "select current_setting('synchronous_standby_names') as names");

describe('changing the rule', () => {
  test(
    'waits for a walsender that has not taken it; until then both rules bind, also for a failover',
    async () => {
      const { primaries, why } = await scene.underLoad(async (load) => {
        const [staying, leaving] = load.standbys;
        const walSender = await walSenderTo(load.primary, leaving.node);
        load.stop(walSender);
        await standStill(walSender);
        // Its agent cannot be reached: it has to leave the rule.
        const { sentineldPid } = leaving;
        const releaseAgent = load.stop(sentineldPid ?? expect.fail('no sentineld'));
        const begun = await load.event('begin-rule-change', new RegExp(`1 of ${staying.node}$`));
        await load.moreAcks(100, [load.primary]);
        await triedToChange(load, begun, /every walsender to take the new sync rule: not so within/);
        // Every session has the new rule by now, and only that process has not.
        expect((await namesOn(load.primary))[0]?.names).toMatch(
          new RegExp(`^ANY 1 \\("${staying.node}_\\w+"\\)$`),
        );
        load.primary.killPostmaster();
        releaseAgent();
        await load.event('promoted');
        const kinds = (await load.events()).map(({ kind, text }) => `${kind} ${text.split(' ')[0]}`);
        // Either rule alone would be satisfied by one report.
        expect(kinds).toContain(`cut-report ${staying.node}`);
        expect(kinds).toContain(`cut-report ${leaving.node}`);
        expect(kinds.indexOf(`cut-report ${leaving.node}`)).toBeLessThan(
          kinds.findIndex((kind) => kind.startsWith('promote ')),
        );
      });
      expect(primaries, why).toHaveLength(2);
    },
    TEST_MS,
  );

  test(
    'from none to one counts only when a commit was seen to wait: not while the checkpointer stands still',
    async () => {
      const { primaries, why } = await scene.underLoad(async (load) => {
        const [release] = await leaveAlone(load);
        const [back] = load.standbys;
        const checkpointer = processOf(load.primary, 'checkpointer');
        const releaseCheckpointer = load.stop(checkpointer);
        await standStill(checkpointer);
        release?.();
        const begun = await load.event('begin-rule-change', new RegExp(`1 of ${back.node}`));
        await triedToChange(load, begun, /a commit to wait for standbys: not so within/);
        // Every session has been told to wait, and still commits wait for nobody.
        expect((await namesOn(load.primary))[0]?.names).toMatch(/^ANY 1 /);
        // What is acknowledged now is on the primary alone: the standby must not take over.
        load.stop(...(await walSendersTo(load.primary, back.node)));
        await load.moreAcks(50, [load.primary]);
        load.primary.killPostmaster();
        releaseCheckpointer();
        await load.moreAcks(50);
      });
      expect(primaries, why).toHaveLength(1);
    },
    TEST_MS,
  );
});

test(
  'a promoted node whose checkpointer stands still since before its promotion acknowledges nothing alone',
  async () => {
    const { primaries, why } = await scene.underLoad(async (load) => {
      const releases: (() => void)[] = [];
      for (const host of load.standbys) {
        const checkpointer = processOf(host, 'checkpointer');
        releases.push(load.stop(checkpointer));
        await standStill(checkpointer);
      }
      load.primary.killPostmaster();
      const { text } = await load.event('promoted');
      const first = load.standbys.find(({ node }) => text.startsWith(`${node} `)) ?? expect.fail(text);
      await load.event('floor-passed');
      const walSenders = processesOf(first, 'walsender');
      load.stop(...walSenders);
      await standStill(...walSenders);
      // Its writers wait from now on; else what it goes on acknowledging is lost with its host.
      const before = acksOf(load, first);
      await until({ what: 'writers that wait', timeoutMs: LIMIT_MS, everyMs: 10 }, async () => {
        if (acksOf(load, first) > before + 50) return true;
        const rows = await sql(first, "select 1 from pg_stat_activity where wait_event = 'SyncRep'");
        return rows.length > 2;
      });
      // Nothing of it may run for another moment: what it has not sent is to stay with it.
      await first.stopSentineld();
      load.undo(() => first.startSentineld());
      for (const pid of allOf(first)) signalProcess(pid, 'SIGKILL');
      // The next one is alone, which takes effect only with its checkpointer.
      for (const release of releases) release();
      await load.event('promoted', new RegExp(`^(?!${first.node} )`));
      await load.moreAcks(50);
    });
    expect(primaries, why).toHaveLength(3);
  },
  TEST_MS,
);

const acksOf = (load: Load, host: Host): number =>
  load.acks().filter(({ node }) => node === host.node).length;

/** PostgreSQL's own log. */
const postgresLogOf = (host: Host): string =>
  readFileSync(`${host.directory}/state/postgresql/${host.node}.log`, 'utf8');

describe('a connection that its standby has left', () => {
  interface Connection {
    readonly pid: number;
    readonly port: number;
    readonly state: string;
  }
  const connectionsOf = (primary: Host, standby: Host): Promise<Connection[]> =>
    sql(
      primary,
      `select pid, client_port as port, state from pg_stat_replication where application_name ~ '^${standby.node}_[0-9a-f]{8}$'`,
    );
  /** The member must never count twice. */
  const streaming = async (primary: Host, standby: Host): Promise<Connection[]> => {
    const found = (await connectionsOf(primary, standby)).filter(({ state }) => state === 'streaming');
    expect(found.length).toBeLessThanOrEqual(1);
    return found;
  };
  const isSlotHeld = (standby: Host): boolean =>
    /replication slot .* is active for PID/.test(postgresLogOf(standby));

  test(
    'and whose walsender stands still holds the slot: the member counts once, and is not counted on in a failover',
    async () => {
      const { primaries, why } = await scene.underLoad(async (load) => {
        const [left, other] = load.standbys;
        const stale = await walSenderTo(load.primary, left.node);
        load.stop(stale);
        await standStill(stale);
        process.kill(processOf(left, 'walreceiver'), 'SIGTERM');
        await until({ what: 'the slot to be held', timeoutMs: LIMIT_MS, everyMs: 50 }, async () => {
          await streaming(load.primary, left);
          return isSlotHeld(left);
        });
        await load.moreAcks(50, [load.primary]);
        load.stop(await walSenderTo(load.primary, other.node));
        load.primary.killPostmaster();
        await load.event('promoted', new RegExp(`^${other.node} `));
      });
      expect(primaries, why).toHaveLength(2);
    },
    TEST_MS,
  );

  test.skipIf(!canFilter())(
    'half-open, as the network swallowed the end of it, is ended, and the member comes back (needs root and iptables)',
    async () => {
      const { primaries, why } = await scene.underLoad(async (load) => {
        const [left] = load.standbys;
        const [stale] = await streaming(load.primary, left);
        if (stale === undefined) throw new Error(`${load.primary.node} streams nothing to ${left.node}`);
        swallow(load, stale.port, load.primary.target.port);
        process.kill(processOf(left, 'walreceiver'), 'SIGTERM');
        await until({ what: 'the member to come back', timeoutMs: LIMIT_MS, everyMs: 50 }, async () => {
          const [now] = await streaming(load.primary, left);
          return now !== undefined && now.pid !== stale.pid;
        });
        expect((await connectionsOf(load.primary, left)).map(({ pid }) => pid)).not.toContain(stale.pid);
        await load.moreAcks(50, [load.primary]);
      });
      expect(primaries, why).toHaveLength(1);
    },
    TEST_MS,
  );
});

/** Packets between these two ports of this machine are lost from now on, in both directions, until the end of the test. */
function swallow(load: Load, one: number, two: number): void {
  for (const [from, to] of [
    [one, two],
    [two, one],
  ]) {
    const rule = ['OUTPUT', '-o', 'lo', '-p', 'tcp', '--sport', `${from}`, '--dport', `${to}`, '-j', 'DROP'];
    execFileSync('iptables', ['-w', '-I', ...rule]);
    load.undo(() => void execFileSync('iptables', ['-w', '-D', ...rule]));
  }
}

function canFilter(): boolean {
  if (process.getuid?.() !== 0) return false;
  try {
    execFileSync('iptables', ['-w', '-L', 'OUTPUT', '-n'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
