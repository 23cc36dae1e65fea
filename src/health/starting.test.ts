// A server that lets nobody in, row by row of docs/detection.md: it starts, recovers, crashes again and again, or has no room for a session.
import { describe, expect, test } from 'vitest';
import { epoch } from '../base/ids.ts';
import {
  PRIMARY,
  type Step,
  type Story,
  ask,
  answer,
  CONNECTED,
  CONNECTION_ANSWERED,
  CLOSED,
  TOO_MANY,
  abstains,
  down,
  upStory,
  refuse,
} from './testing/story.ts';

const said = (kind: 'starting-up' | 'restarting-backends' | 'shutting-down'): Step => ({
  kind: 'server-said',
  word: { kind },
});
const startingUp = said('starting-up');
const noRoom: Step = { kind: 'server-said', word: { kind: 'login-failing', why: 'no space left (53100)' } };
const hear = (story: Story, step: Step, ms: number): Story => {
  for (let passedMs = 0; passedMs < ms; passedMs += 500) story.tell(ask(), step).wait(500);
  return story;
};

describe('sessions that fail', () => {
  test('a crash loop whose few sessions fail for a full disk, until one writes', () => {
    const story = upStory().tell({ kind: 'session-ended', how: 'backend-crash' });
    const crashes = (ms: number): void => {
      for (let passedMs = 0; passedMs < ms; passedMs += 500)
        story.tell(ask(), said('restarting-backends')).wait(250).tell(ask(), noRoom).wait(250);
    };
    crashes(10_000);
    expect(story.now).toMatchObject({ verdict: 'up', note: 'logins fail: no space left (53100)' });
    crashes(500);
    expect(story.now).toMatchObject({
      ...down('write-failing'),
      note: expect.stringMatching(/^logins fail for 10\.\ds: no space left \(53100\)$/),
    });
    expect(story.tell(ask(), CONNECTED).now.verdict).toBe('down');
    expect(story.tell(ask('write'), answer()).now.verdict).toBe('up');
  });

  test('not down: a session that fails once, and too many others after it', () => {
    const story = upStory().tell(CLOSED, ask(), noRoom).wait(500);
    for (let passedMs = 0; passedMs < 60_000; passedMs += 1000) story.tell(ask(), TOO_MANY).wait(1000);
    expect(story.now.verdict).toBe('up');
    story.tell(ask(), noRoom, ask(), CONNECTED).well(60_000, { kind: 'inconclusive', why: 'lock timeout' });
    expect(story.now.verdict).toBe('up');
  });

  test.each([
    ['one that fails and a recovery after it', [noRoom], 'restarting-backends', 25_000],
    ['two that fail in the same moment and a recovery', [noRoom, noRoom], 'starting-up', 25_000],
    [
      'one that fails and a restart by an administrator',
      [noRoom, said('shutting-down')],
      'starting-up',
      12_500,
    ],
  ] as const)('not down: %s', (_, steps, after, ms) => {
    const story = upStory().tell(CLOSED, ask(), ...steps);
    for (let passedMs = 0; passedMs < ms; passedMs += 500) story.tell(ask(), said(after)).wait(500);
    story.tell(ask(), CONNECTED, ask('write'), answer()).well(5000);
    expect(story.edges.map(({ verdict }) => verdict)).toEqual(['up']);
  });

  test('not down: one that fails before a long recovery, and one after it', () => {
    const story = hear(upStory().tell(CLOSED, ask(), noRoom), startingUp, 25_000).tell(ask(), noRoom);
    story.wait(1000).tell(ask(), CONNECTED, ask('write'), answer());
    expect(story.edges.map(({ verdict }) => verdict)).toEqual(['up']);
  });

  test('not down: sessions that failed while the observer was unwell, and a session at last', () => {
    const story = upStory().tell(CLOSED, ask(), noRoom).wait(6000).tell(ask(), noRoom);
    story.tell(abstains('stalled')).wait(60_000).tell(abstains(undefined), ask(), noRoom).wait(6000);
    expect(story.tell(ask(), noRoom).now.verdict).not.toBe('down');
    story.tell(ask(), CONNECTED, ask('write')).wait(1500);
    expect(story.tell(ask(), CONNECTION_ANSWERED).wait(1500).now.verdict).not.toBe('down');
  });

  test('a session takes no down back, an answer does', () => {
    const story = upStory().tell(CLOSED);
    for (let passedMs = 0; passedMs <= 10_000; passedMs += 1000) story.tell(ask(), noRoom).wait(1000);
    expect(story.now).toMatchObject(down('write-failing'));
    story.tell(ask(), CONNECTED).wait(500);
    expect(story.now).toMatchObject(down('write-failing'));
    expect(story.tell(ask('write'), answer()).now.verdict).toBe('up');
  });

  test('a session that fails takes no standing down back', () => {
    const story = refuse(upStory().tell(CLOSED), 3).tell(ask(), noRoom);
    expect(story.now).toMatchObject(down('refused'));
  });

  test('nor do sessions that fail', () => {
    const story = upStory({ expect: 'standby' }).tell(CLOSED);
    for (let passedMs = 0; passedMs < 60_000; passedMs += 500) story.tell(ask(), noRoom).wait(500);
    expect(story.now).toMatchObject({ verdict: 'up', note: 'no space left (53100): not down' });
  });

  test('not down: sessions that failed for a while before an administrator started it anew', () => {
    const story = upStory()
      .tell(CLOSED, ask(), noRoom)
      .wait(6000)
      .tell(ask(), noRoom, ask(), said('shutting-down'));
    hear(story, startingUp, 12_500).tell(ask(), CONNECTED, ask('write'), answer());
    expect(story.edges.map(({ verdict }) => verdict)).toEqual(['up']);
  });
});

describe('in-recovery', () => {
  test('starting up for recoveryDownAfterMs', () => {
    const story = hear(upStory().tell(CLOSED), startingUp, 29_500);
    expect(story.now).toMatchObject({ verdict: 'up', note: 'the database system is starting up: waiting' });
    expect(hear(story, startingUp, 1000).now).toMatchObject(down('in-recovery'));
    expect(story.tell(TOO_MANY).now.verdict).toBe('down');
    expect(story.tell(CONNECTED, ask('write'), answer()).now.verdict).toBe('up');
  });

  test('a crash loop ends as in-recovery although each start is short', () => {
    const story = upStory().tell(CLOSED);
    for (let crash = 0; crash < 12; crash += 1) refuse(hear(story, startingUp, 2500), 1, 300);
    expect(story.now).toMatchObject(down('in-recovery'));
  });

  test('a crash loop that lets sessions in for a moment ends so too, unless one of them writes', () => {
    const crashes = (lastWord: Step): Story => {
      const story = upStory().tell(CLOSED);
      const read = answer({ write: { kind: 'not-tried' } });
      for (let crash = 0; crash < 12; crash += 1)
        hear(story, startingUp, 2500).tell(ask(), CONNECTED, ask('read'), read, ask('write'), lastWord);
      return hear(story, startingUp, 1000);
    };
    expect(crashes({ kind: 'session-ended', how: 'backend-crash' }).now).toMatchObject(down('in-recovery'));
    expect(crashes(answer()).now.verdict).toBe('up');
  });

  test('nor one that now and then has no room for another session', () => {
    const story = upStory().tell(CLOSED);
    for (let crash = 0; crash < 12; crash += 1)
      hear(story, startingUp, 2500).tell(ask(), TOO_MANY).wait(1000);
    expect(story.tell(ask(), startingUp).now).toMatchObject(down('in-recovery'));
  });

  test('a session that fails after a long start is no longer a start', () => {
    const story = hear(upStory().tell(CLOSED), startingUp, 29_500).tell(ask(), noRoom).wait(1000);
    story.tell(ask(), CONNECTED, ask('write'), answer());
    expect(story.edges.map(({ verdict }) => verdict)).toEqual(['up']);
  });

  test('an administrator who ends our session after a long start begins something new', () => {
    const story = hear(upStory().tell(CLOSED), startingUp, 29_000).tell(ask(), CONNECTED, ask('write'));
    story.wait(500).tell({ kind: 'session-ended', how: 'administrator' });
    expect(hear(story, startingUp, 12_000).edges.map(({ verdict }) => verdict)).toEqual(['up']);
  });

  test('an administrator who stops it after a long start begins something new', () => {
    const story = hear(hear(upStory().tell(CLOSED), startingUp, 29_000), TOO_MANY, 1000);
    hear(story, said('shutting-down'), 1000);
    expect(hear(story, startingUp, 12_000).edges.map(({ verdict }) => verdict)).toEqual(['up']);
  });

  test('a recovery in which it can be read has the whole time, however long it took to come so far', () => {
    const story = hear(upStory().tell(CLOSED), startingUp, 20_000).tell(ask(), CONNECTED);
    const recovering = answer({ inRecovery: true, write: { kind: 'not-tried' } });
    for (let passedMs = 0; passedMs < 29_000; passedMs += 500) story.tell(ask('read'), recovering).wait(500);
    expect(story.now.verdict).toBe('up');
    for (let passedMs = 0; passedMs < 2000; passedMs += 500) story.tell(ask('read'), recovering).wait(500);
    expect(story.now).toMatchObject(down('in-recovery'));
  });

  test('one that has no room for another session after a long start has started', () => {
    const story = hear(hear(upStory().tell(CLOSED), startingUp, 29_500), TOO_MANY, 60_000);
    expect(hear(story, startingUp, 20_000).edges.map(({ verdict }) => verdict)).toEqual(['up']);
  });

  test.each([
    ['its session is given up', { kind: 'session-ended', how: 'given-up' }],
    ['its session is ended by an administrator', { kind: 'session-ended', how: 'administrator' }],
    ['its session is lost', CLOSED],
  ] as const)('who has been let in after a long start is not held for starting, nor where %s', (_, ended) => {
    const story = hear(upStory().tell(CLOSED), startingUp, 29_500).tell(ask(), CONNECTED, ask('write'));
    expect(story.wait(1500).now.verdict).toBe('up');
    story.tell(ended, ask()).wait(500);
    story.tell(CONNECTED, ask('write'), answer());
    expect(story.edges.map(({ verdict }) => verdict)).toEqual(['up']);
  });

  test('backends that restart after one was killed are alive', () => {
    const story = upStory().tell({ kind: 'session-ended', how: 'backend-crash' });
    hear(story, said('restarting-backends'), 5000).tell(CONNECTED, ask('write'), answer());
    expect(story.edges.map((edge) => edge.verdict)).toEqual(['up']);
  });

  test('a server in recovery where a primary is expected, counted from when it was expected', () => {
    const recovering = answer({ inRecovery: true, write: { kind: 'not-tried' } });
    const story = upStory({ expect: 'standby' });
    for (let passedMs = 0; passedMs < 60_000; passedMs += 500) story.tell(ask('read'), recovering).wait(500);
    story.tell({ kind: 'target', target: { ...PRIMARY, epoch: epoch(4) } });
    for (let passedMs = 0; passedMs < 29_500; passedMs += 500) story.tell(ask('read'), recovering).wait(500);
    expect(story.now.verdict).toBe('up');
    for (let passedMs = 0; passedMs < 1500; passedMs += 500) story.tell(ask('read'), recovering).wait(500);
    expect(story.now).toMatchObject(down('in-recovery'));
    expect(story.tell(ask('write'), answer()).now.verdict).toBe('up');
  });

  test('a standby may start up for as long as it likes', () => {
    expect(hear(upStory({ expect: 'standby' }).tell(CLOSED), startingUp, 120_000).now.verdict).toBe('up');
  });
});
