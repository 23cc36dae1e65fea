import { describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { RESTORE_FEATURE_LEVEL } from './features.ts';
import { A, B, GROUP, type Log, MA, newLog, registration } from './testing/example.ts';

const begun = (featureLevel = RESTORE_FEATURE_LEVEL): Log => {
  const log = newLog({ ...newLog().state, featureLevel });
  log.must(registration(A), registration(B));
  return log;
};
const REACHED = {
  systemIdentifier: '77',
  timeline: timeline(3),
  position: lsn(0x3000110n),
  highestTimeline: timeline(5),
  target: 'the end of the archive',
  lastTransactionMs: undefined,
};
const create = { kind: 'restore-group', group: GROUP, primary: A } as const;
const reached = (log: Log, more: object = {}) =>
  ({ ...create, reached: { ...REACHED, epoch: log.epoch, ...more } }) as const;
const ready = (log: Log, on: number) =>
  ({
    kind: 'group-ready',
    group: GROUP,
    epoch: log.epoch,
    member: MA,
    systemIdentifier: '77',
    timeline: timeline(on),
  }) as const;

describe('a restored group', () => {
  test('is not made before every peer understands it', () => {
    expect(begun(RESTORE_FEATURE_LEVEL - 1).commit(create)).toContain('upgrade');
  });

  test('gets a timeline above all that are known, and begins on no other', () => {
    const log = begun();
    log.must(create);
    expect(log.commit(ready(log, 1))).toContain('not assigned yet');
    log.must(reached(log));
    expect(log.group.restore?.reached?.assigned).toBe(6);
    expect(log.commit(ready(log, 4))).toContain('timeline 6');
    log.must(ready(log, 6));
    expect(log.group).toMatchObject({ phase: { kind: 'running', timeline: 6 }, highestTimeline: 6 });
  });

  test('keeps its timeline where the same is said again, and gets a higher one where another place was reached', () => {
    const log = begun();
    log.must(create);
    log.must(reached(log));
    log.must(reached(log));
    expect(log.group.restore?.reached?.assigned).toBe(6);
    log.must(reached(log, { position: lsn(0x3000000n) }));
    expect(log.group.restore?.reached?.assigned).toBe(7);
  });

  test('is reached by its first primary only, at its epoch', () => {
    const log = begun();
    log.must(create);
    expect(log.commit({ ...reached(log), primary: B })).toContain('a is to be the first primary');
    const old = reached(log);
    log.must({ ...create, primary: B });
    expect(log.commit(old)).toBeDefined();
    expect(log.group.restore).toEqual({ reached: undefined });
  });

  test('gives no timeline twice where another first primary is chosen, which has the same backup', () => {
    const log = begun();
    log.must(create);
    log.must(reached(log));
    expect(log.group.restore?.reached?.assigned).toBe(6);
    log.must({ ...create, primary: B });
    log.must({ ...reached(log), primary: B });
    expect(log.group.restore?.reached?.assigned).toBe(7);
  });

  test('does not begin as another system than it was restored as', () => {
    const log = begun();
    log.must(create);
    log.must(reached(log));
    expect(log.commit({ ...ready(log, 6), systemIdentifier: '78' })).toContain('was restored as system 77');
  });
});
