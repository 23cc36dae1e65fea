// What a person asks of groups and nodes, and failovers that may lose writes: refused with a reason, or proposed and answered for.
import { describe, expect, test } from 'vitest';
import { logIndex, nodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import {
  CANDIDATES_FEATURE_LEVEL,
  HBA_FEATURE_LEVEL,
  LOGICAL_SLOTS_FEATURE_LEVEL,
  PARAMETERS_FEATURE_LEVEL,
  SETTINGS_FEATURE_LEVEL,
  SLOTS_FEATURE_LEVEL,
} from '../cluster/features.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  P1,
  type Log,
  at,
  newLog,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { ALL_WELL, type SeenNodes, WALL_MS, viewOf } from '../failover/testing/view.ts';
import type { ParameterRow } from '../postgres/parameter-values.ts';
import { decodeSettingsOutcome, encodeSettingsOutcome } from '../transport/settings-view-codec.ts';
import type { FailoverRequest, SteerRequest } from '../transport/types.ts';
import type { ProposalOutcome } from './replica.ts';
import type { NodeCommandOptions } from './node-commands.ts';
import { settingsView } from './settings.ts';
import type { DescribeParameters } from './parameter-check.ts';
import { steer } from './steer.ts';
import type { SteerOptions } from './steering.ts';
import { switchOver } from './switchover.ts';

const upgraded = (log: Log = running()): Log =>
  newLog({ ...log.state, featureLevel: SETTINGS_FEATURE_LEVEL });
const WITHOUT_A: SeenNodes = { ...ALL_WELL, a: undefined };
const LOST_A: SeenNodes = { ...ALL_WELL, a: { condition: 'primary', position: 612n, ageMs: 20_000 } };
const REFUSED = (reason: RegExp) => ({ kind: 'refused', reason: expect.stringMatching(reason) as unknown });
const DONE = (detail: RegExp) => ({ kind: 'done', detail: expect.stringMatching(detail) as unknown });

/** `next` plays what the cluster does once a command of that kind is in the log. */
function world(
  log: Log,
  seen: SeenNodes = ALL_WELL,
  next: Partial<Record<Command['kind'], () => void>> = {},
  more: Partial<SteerOptions> = {},
) {
  const proposed: string[] = [];
  const options: SteerOptions & NodeCommandOptions = {
    self: P1,
    agent: () => undefined,
    state: () => log.state,
    view: () => viewOf(log, 0, seen),
    propose(command): Promise<ProposalOutcome> {
      proposed.push(command.kind);
      const reason = log.commit(command);
      if (reason !== undefined) return Promise.resolve({ kind: 'refused', reason });
      const index = log.state.appliedIndex;
      next[command.kind]?.();
      return Promise.resolve({ kind: 'applied', index });
    },
    signal: new AbortController().signal,
    ...more,
  };
  return {
    proposed,
    ask: (request: SteerRequest) => steer(options, request),
    failOver: (request: Partial<FailoverRequest>) =>
      switchOver({ ...options, request: { group: undefined, to: undefined, ...request } }),
  };
}

test('nothing is proposed that an older peer could not read', async () => {
  const { ask, failOver, proposed } = world(runningAlone(), WITHOUT_A);
  expect(await ask({ kind: 'fence', node: B })).toEqual(REFUSED(/upgrade all of them/));
  expect(await failOver({ acceptDataLoss: true })).toEqual(REFUSED(/upgrade all of them/));
  expect(proposed).toEqual([]);
});

describe('fence', () => {
  test('answers once the agent says that PostgreSQL is stopped', async () => {
    const { ask, proposed } = world(upgraded(), { ...ALL_WELL, b: { condition: 'stopped' } });
    expect(await ask({ kind: 'fence', node: B })).toEqual(DONE(/b is fenced: its PostgreSQL is stopped/));
    expect(proposed).toEqual(['fence-node']);
    expect(await ask({ kind: 'unfence', node: B })).toEqual(DONE(/no longer fenced/));
    expect(await ask({ kind: 'unfence', node: B })).toEqual(REFUSED(/not fenced$/));
    for (const kind of ['fence', 'unfence'] as const)
      expect(await ask({ kind, node: nodeId('d') })).toEqual(REFUSED(/no node d; there are: a, b, c$/));
  });

  test('switches a primary over first', async () => {
    const log = upgraded();
    const { ask, proposed } = world(
      log,
      { ...ALL_WELL, a: { condition: 'stopped', position: 100n } },
      {
        'begin-failover'() {
          log.must(at(log).cut(A, 120, { stopped: true }), at(log).cut(B, 120));
          log.must(at(log).promote(B, 2, ALONE));
          log.must(at(log).promoted(B, 2, 120));
        },
      },
    );
    expect(await ask({ kind: 'fence', node: A })).toEqual(DONE(/a is fenced/));
    expect(proposed).toEqual(['begin-failover', 'fence-node']);
    expect(log.group).toMatchObject({ fenced: [A], phase: { primary: B } });
  });

  test('leaves a primary alone that cannot be switched over', async () => {
    const { ask, proposed } = world(upgraded(runningAlone()));
    expect(await ask({ kind: 'fence', node: A })).toEqual(REFUSED(/a is the primary.*not fenced: .*alone/));
    expect(proposed).toEqual([]);
  });
});

describe('settings', () => {
  test('are changed one by one, the others stay', async () => {
    const log = upgraded();
    const { ask } = world(log);
    expect(await ask({ kind: 'settings', group: GROUP, change: { acks: 2 } })).toEqual(
      DONE(/quorum, 2 acknowledgements/),
    );
    await ask({ kind: 'settings', group: undefined, change: { durability: 'strict' } });
    expect(log.group.settings).toMatchObject({ durability: 'strict', acks: 2, leaseMs: 5000 });
  });

  test('that are so already are said to be', async () => {
    const { ask } = world(newLog({ ...running().state, featureLevel: PARAMETERS_FEATURE_LEVEL }));
    const set = (change: object) => ask({ kind: 'settings', group: GROUP, change });
    await set({ acks: 2 });
    expect(await set({ acks: 2 })).toEqual(DONE(/^group main has all of it already/));
    const unset = { change: {}, parameters: [{ name: 'work_mem', value: undefined }] };
    expect(await ask({ kind: 'settings', group: GROUP, ...unset })).toEqual(
      DONE(/^group main has all of it already$/),
    );
  });

  test('are changed by two at a time without taking back what the other has changed', async () => {
    const log = upgraded();
    const before = log.state;
    const other: Command = { kind: 'change-settings', group: GROUP, settings: { acks: 2 } };
    const options: SteerOptions & NodeCommandOptions = {
      self: P1,
      agent: () => undefined,
      state: () => before,
      view: () => viewOf(log, 0),
      propose(command) {
        log.must(other, command);
        return Promise.resolve({ kind: 'applied', index: log.state.appliedIndex });
      },
      signal: new AbortController().signal,
    };
    await steer(options, { kind: 'settings', group: GROUP, change: { durability: 'strict' } });
    expect(log.group.settings).toMatchObject({ durability: 'strict', acks: 2 });
  });

  test('that a strict group cannot have with its standbys are taken, with a warning', async () => {
    const { ask } = world(newLog({ ...running().state, featureLevel: PARAMETERS_FEATURE_LEVEL }));
    const set = (change: object) => ask({ kind: 'settings', group: GROUP, change });
    expect(await set({ durability: 'strict', acks: 3 })).toEqual(
      DONE(/warning: strict durability is to wait for 3 standbys, and the group has 2/),
    );
    expect(await set({ acks: 2 })).toMatchObject({
      detail: expect.not.stringContaining('warning') as unknown,
    });
  });

  test('acknowledgements that a quorum group cannot have are taken, with a warning', async () => {
    const { ask } = world(newLog({ ...running().state, featureLevel: PARAMETERS_FEATURE_LEVEL }));
    const set = (change: object) => ask({ kind: 'settings', group: GROUP, change });
    expect(await set({ acks: 5 })).toEqual(
      DONE(
        /warning: commits are to wait for 5 standbys, and the group has 2 that may be counted: they wait for 2 at most, and status says degraded .* set acks=2 or less/,
      ),
    );
    expect(await set({ acks: 2 })).toMatchObject({
      detail: expect.not.stringContaining('warning') as unknown,
    });
  });

  test('rules for pg_hba.conf are refused by line, and until every peer understands them', async () => {
    const hba = ['local all all peer', 'host all all 10.0.0.0/99 md5'];
    const log = newLog({ ...running().state, featureLevel: HBA_FEATURE_LEVEL });
    const set = (at: typeof log, rules: readonly string[]) =>
      world(at).ask({ kind: 'settings', group: GROUP, change: {}, hba: rules });
    expect(await set(log, hba)).toEqual(REFUSED(/^hba line 2, address: "10\.0\.0\.0\/99"/));
    expect(await set(log, ['host all all all trust'])).toEqual(
      DONE(/hba: 1 rule; hba line 1 lets clients in/),
    );
    const older = newLog({ ...running().state, featureLevel: HBA_FEATURE_LEVEL - 1 });
    expect(await set(older, hba.slice(0, 1))).toEqual(REFUSED(/upgrade all of them/));
    expect(settingsView({ state: log.state, view: viewOf(log, 0), group: undefined })).toMatchObject({
      view: { hba: ['host all all all trust'], hbaPending: expect.any(Array) as unknown },
    });
  });

  test('one that was unset is shown for as long as a node waits for a restart', () => {
    const log = running();
    const view = viewOf(log, 0);
    const reports = new Map(view.reports);
    const seen = reports.get(B);
    const parameters = { pendingRestart: ['max_connections'], overridden: [], limits: new Map() };
    if (seen !== undefined) reports.set(B, { ...seen, report: { ...seen.report, parameters } });
    const shown = settingsView({ state: log.state, view: { ...view, reports }, group: undefined });
    const pendingOthers = [{ name: 'max_connections', nodes: [B] }];
    expect(shown).toMatchObject({ view: { parameters: [], pendingOthers } });
    expect(decodeSettingsOutcome(encodeSettingsOutcome(shown))).toMatchObject({ view: { pendingOthers } });
  });

  test('a logical slot is refused until every peer understands it, and by a version that could not keep it', async () => {
    const set = (featureLevel: number, serverVersion: string, isTwoPhase: boolean) =>
      world(newLog({ ...running().state, featureLevel }), {
        ...ALL_WELL,
        a: { ...ALL_WELL['a'], serverVersion },
      }).ask({
        ...{ kind: 'settings', group: GROUP, change: {} },
        logicalSlots: [{ name: 'cdc', wanted: { database: 'app', plugin: 'pgoutput', isTwoPhase } }],
      });
    const level = LOGICAL_SLOTS_FEATURE_LEVEL;
    expect(await set(level - 1, '17', false)).toEqual(REFUSED(/upgrade all of them/));
    expect(await set(level, '17', true)).toEqual(
      REFUSED(/^logical_slots\.cdc: PostgreSQL 17 does not keep a slot with two_phase/),
    );
    expect(await set(level, '17', false)).toEqual(DONE(/logical slot cdc app:pgoutput/));
    for (const version of ['16', '18.1'])
      expect(await set(level, version, true)).toEqual(DONE(/logical slot cdc app:pgoutput:two_phase/));
  });

  test.each([
    ['slot_retention', SLOTS_FEATURE_LEVEL, { slotRetentionMs: 3_600_000 }],
    ['max_slot_wal', SLOTS_FEATURE_LEVEL, { maxSlotWalBytes: 2 ** 30 }],
    ['site_policy', CANDIDATES_FEATURE_LEVEL, { sitePolicy: 'prefer' }],
  ] as const)('%s is refused as a whole until every peer understands it', async (_, level, come) => {
    const set = (featureLevel: number) => {
      const { ask, proposed } = world(newLog({ ...running().state, featureLevel }));
      return ask({ kind: 'settings', group: GROUP, change: { acks: 2, ...come } }).then((outcome) => ({
        outcome,
        proposed,
      }));
    };
    expect(await set(level - 1)).toEqual({ outcome: REFUSED(/upgrade all of them/), proposed: [] });
    expect(await set(level)).toMatchObject({ outcome: DONE(/./) });
  });

  test('with parameters, or against a revision, are refused until every peer understands that', async () => {
    const { ask, proposed } = world(upgraded());
    const request = { kind: 'settings', group: GROUP, change: {} } as const;
    const parameters = [{ name: 'jit', value: 'off' }];
    expect(await ask({ ...request, parameters })).toEqual(REFUSED(/upgrade all of them/));
    expect(await ask({ ...request, onlyRevision: logIndex(0) })).toEqual(REFUSED(/upgrade all of them/));
    expect(proposed).toEqual([]);
  });

  test('are recorded with who asked, and compared with the revision that was shown', async () => {
    const log = newLog({ ...running().state, featureLevel: PARAMETERS_FEATURE_LEVEL });
    const { ask, proposed } = world(log);
    const request = { kind: 'settings', group: GROUP, change: { acks: 2 }, by: 'ann@db1' } as const;
    expect(await ask({ ...request, onlyRevision: logIndex(0) })).toEqual(DONE(/2 acknowledgements/));
    expect(await ask({ ...request, change: { acks: 3 }, onlyRevision: logIndex(0) })).toEqual(
      REFUSED(/changed meanwhile/),
    );
    expect(log.group.settingsHistory).toMatchObject([{ by: 'ann@db1' }]);
    expect(proposed).toEqual(['configure', 'configure']);
    expect(settingsView({ state: log.state, view: viewOf(log, 0), group: undefined })).toMatchObject({
      view: { revision: log.group.settingsRevision, settings: { acks: 2 }, history: [{ by: 'ann@db1' }] },
    });
  });

  describe('with parameters of PostgreSQL', () => {
    const row = (name: string, more: Partial<ParameterRow>): ParameterRow => ({
      ...{ name, vartype: 'integer', context: 'user', unit: null, min: '1', max: '1000', words: null },
      ...more,
    });
    const asking = (describeParameters: DescribeParameters) => {
      const log = newLog({ ...running().state, featureLevel: PARAMETERS_FEATURE_LEVEL });
      const { ask, proposed } = world(log, ALL_WELL, {}, { describeParameters });
      const set = (name: string, value: string | undefined) =>
        ask({ kind: 'settings', group: undefined, change: {}, parameters: [{ name, value }] });
      return { log, set, proposed };
    };
    const answering = asking.bind(undefined, () =>
      Promise.resolve([row('max_connections', { context: 'postmaster' }), row('jit', { vartype: 'bool' })]),
    );

    test('they are compared with what the primary takes', async () => {
      const { log, set, proposed } = answering();
      expect(await set('jit', 'off')).toEqual({ kind: 'done', detail: 'group main: jit = off' });
      expect(await set('max_connections', '200')).toEqual(
        DONE(/at its next start.* restart the standbys first/),
      );
      expect(await set('max_connections', '2000')).toEqual(
        REFUSED(/^postgresql\.max_connections: "2000" is given; expected a whole number from 1 to 1000/),
      );
      expect(await set('work_memm', '1')).toEqual(REFUSED(/postgresql\.work_memm: .* no such parameter/));
      expect(proposed).toHaveLength(2);
      expect([...log.group.parameters.keys()]).toEqual(['jit', 'max_connections']);
    });

    test('one of ours is refused with the reason', async () => {
      const { set, proposed } = answering();
      expect(await set('fsync', 'off')).toEqual(
        REFUSED(/fsync itself \(an acknowledged commit must survive/),
      );
      expect(proposed).toEqual([]);
    });

    test('where the primary cannot be asked they are taken, and it is said', async () => {
      const { set } = asking(() => Promise.reject(new Error('connection refused')));
      expect(await set('jit', 'off')).toEqual(
        DONE(/not compared .* a could not be asked \(connection refused\)/),
      );
    });
  });

  test('are refused by name, with what would be right, before anything is proposed', async () => {
    const { ask, proposed } = world(upgraded());
    expect(await ask({ kind: 'settings', group: undefined, change: { leaseMs: 10 } })).toEqual(
      REFUSED(/lease is 10 ms; it must be a whole number from 1000/),
    );
    expect(await ask({ kind: 'settings', group: 'other', change: {} })).toEqual(REFUSED(/no group other/));
    expect(proposed).toEqual([]);
  });
});

test('a switchover is scheduled, and called off', async () => {
  const log = upgraded();
  const { ask } = world(log);
  const later = { atMs: WALL_MS + 60_000, to: B };
  expect(await ask({ kind: 'schedule', group: undefined, at: later })).toEqual(DONE(/to b begins at 2027/));
  expect(log.group.scheduled).toEqual(later);
  expect(await ask({ kind: 'schedule', group: undefined, at: { ...later, atMs: WALL_MS } })).toEqual(
    REFUSED(/is past/),
  );
  expect(await ask({ kind: 'schedule', group: undefined, at: undefined })).toEqual(DONE(/any more/));
  expect(await ask({ kind: 'acknowledge', group: undefined })).toEqual(REFUSED(/no failover to acknowledge/));
});

describe('a dry run', () => {
  const WELL: SeenNodes = { ...ALL_WELL, a: { condition: 'primary', streamsTo: [B, C], position: 130n } };

  test('says who would be promoted, and changes nothing', async () => {
    const { failOver, proposed } = world(upgraded(), WELL);
    expect(await failOver({ dryRun: true, to: C })).toMatchObject({
      kind: 'planned',
      from: A,
      to: C,
      obstacle: undefined,
      steps: [/./, expect.stringMatching(/c is promoted.*30 bytes behind/), /./].map((step) =>
        step instanceof RegExp ? expect.any(String) : step,
      ),
    });
    expect(proposed).toEqual([]);
  });

  test('without a target chooses whoever stands highest, and says why it could not be done', async () => {
    const { failOver } = world(upgraded(runningAlone()), {
      ...WELL,
      c: { condition: 'standby', position: 120n },
    });
    expect(await failOver({ dryRun: true })).toMatchObject({
      to: C,
      obstacle: expect.stringMatching(/alone/) as unknown,
    });
  });

  test('of one that may lose writes says how many bytes, and what proof there is', async () => {
    const { failOver } = world(upgraded(runningAlone()), LOST_A);
    const planned = await failOver({ dryRun: true, acceptDataLoss: true, to: B });
    expect(planned).toMatchObject({ kind: 'planned', to: B, lossBytes: 512, obstacle: undefined });
    const text = JSON.stringify(planned);
    expect(text).toMatch(/lacks 512 bytes of the WAL that a was last known to hold, 20.0s ago/);
    expect(text).toMatch(/nobody is promoted before a is known to be off/);
    const nobody = await world(upgraded(runningAlone()), WITHOUT_A).failOver({
      dryRun: true,
      acceptDataLoss: true,
    });
    expect(JSON.stringify(nobody)).toMatch(/is not known/);
  });
});

describe('a failover that may lose writes', () => {
  const finish = (log: Log) => () => {
    log.must(at(log).promote(B, 2, ALONE));
    log.must(at(log).promoted(B, 2, 100));
  };

  test.each<[string, () => Log, SeenNodes, Partial<FailoverRequest>, RegExp]>([
    ['nothing has to be lost', running, { ...ALL_WELL }, {}, /nothing has to be lost/],
    [
      'the primary is not off',
      runningAlone,
      ALL_WELL,
      { oldPrimaryIsOff: true },
      /a is not off: its agent answers/,
    ],
    ['no standby is there', runningAlone, { a: undefined }, {}, /no standby can be reached/],
    ['its target is not there', runningAlone, { a: undefined }, { to: B }, /agent of b.*cannot be reached/],
  ])('is not begun where %s', async (_, begin, seen, request, reason) => {
    const { failOver, proposed } = world(upgraded(begin()), seen);
    expect(await failOver({ acceptDataLoss: true, ...request })).toEqual(REFUSED(reason));
    expect(proposed).toEqual([]);
  });

  test('takes a person’s word that the primary is off', async () => {
    const log = upgraded(runningAlone());
    const { failOver, proposed } = world(log, LOST_A, {
      'begin-failover': () => log.must(at(log).cut(B, 100)),
      'node-off': finish(log),
    });
    expect(await failOver({ acceptDataLoss: true, oldPrimaryIsOff: true })).toMatchObject({
      kind: 'done',
      from: A,
      to: B,
    });
    expect(proposed).toEqual(['begin-failover', 'node-off']);
  });

  test('goes on with one that was begun without it', async () => {
    const log = upgraded(runningAlone());
    log.must(at(log).begin({ kind: 'forced', to: undefined }));
    log.must(at(log).cut(B, 100));
    const { failOver, proposed } = world(log, LOST_A, { 'node-off': finish(log) });
    expect(await failOver({ acceptDataLoss: true, oldPrimaryIsOff: true })).toMatchObject({ to: B });
    expect(proposed).toEqual(['node-off']);
  });

  test('ends well too where the primary itself comes back, with all it had', async () => {
    const log = upgraded(runningAlone());
    const { failOver } = world(log, LOST_A, {
      'begin-failover'() {
        log.must(at(log).cut(A, 100));
        log.must(at(log).promote(A, 2, ALONE));
        log.must(at(log).promoted(A, 2, 100));
      },
    });
    expect(await failOver({ acceptDataLoss: true })).toMatchObject({ kind: 'done', from: A, to: A });
  });
});
