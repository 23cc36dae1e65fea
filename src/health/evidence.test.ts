// The table of docs/detection.md, row by row: events in, verdict out. Times are those of DEFAULT_HEALTH_SETTINGS.
import { describe, expect, test } from 'vitest';
import { epoch } from '../base/ids.ts';
import {
  type Step,
  SELF,
  PRIMARY,
  Story,
  ask,
  answer,
  CONNECTED,
  CONNECTION_ANSWERED,
  REFUSED,
  CLOSED,
  HOST_GONE,
  TOO_MANY,
  FAILED,
  abstains,
  down,
  upStory,
  refuse,
} from './testing/story.ts';

describe('up', () => {
  test('a node is unknown until it answers as expected', () => {
    const story = new Story();
    expect(story.now.verdict).toBe('unknown');
    expect(story.tell(ask(), CONNECTED).now.verdict).toBe('unknown');
    expect(story.tell(ask('write'), answer()).now).toEqual({ verdict: 'up', sinceMs: 0, note: 'answers' });
    expect(story.edges).toHaveLength(1);
  });

  test('a primary is not up by a read alone; a standby is', () => {
    const read = answer({ write: { kind: 'not-tried' } });
    expect(new Story().tell(CONNECTED, ask('read'), read).now.verdict).toBe('unknown');
    expect(new Story({ expect: 'standby' }).tell(CONNECTED, ask('read'), read).now).toMatchObject({
      verdict: 'up',
      note: /./,
    });
  });

  test('well for an hour is one edge', () => {
    const story = upStory().well(3_600_000);
    expect(story.edges.map((edge) => edge.verdict)).toEqual(['up']);
  });
});

describe('processes-gone', () => {
  test('its own agent is believed at once, even while the session is open', () => {
    const story = upStory({ hostPeer: SELF }).tell({ kind: 'local-processes', gone: true });
    expect(story.now).toMatchObject(down('processes-gone'));
  });

  test('the local agent has no say about the node of another peer', () => {
    expect(upStory().tell({ kind: 'local-processes', gone: true }).now.verdict).toBe('up');
  });

  test('the agent`s word rules over the grace of a clean shutdown', () => {
    const story = upStory({ hostPeer: SELF }).tell(
      { kind: 'session-ended', how: 'administrator' },
      ask(),
      REFUSED,
    );
    expect(story.now.verdict).toBe('up');
    expect(story.tell({ kind: 'local-processes', gone: true }).now).toMatchObject(down('processes-gone'));
  });

  test.each([
    ['first the word, then close and refusal', [HOST_GONE, CLOSED, ask(), REFUSED]],
    ['first close and refusal, then the word', [CLOSED, ask(), REFUSED, HOST_GONE]],
  ])('another peer joins at once: %s', (_, steps) => {
    const story = upStory().tell(...steps.slice(0, -1));
    expect(story.now.verdict).toBe('up');
    expect(story.tell(...steps.slice(-1)).now).toMatchObject(down('processes-gone'));
  });

  test('the word alone does not make another peer join while its session is open or its connection is answered', () => {
    expect(upStory().tell(HOST_GONE).wait(1000).now.verdict).toBe('up');
    expect(upStory().tell(CLOSED, HOST_GONE, ask(), CONNECTED, CLOSED, ask(), REFUSED).now.verdict).toBe(
      'up',
    );
  });

  test('a word is forgotten after an answer to a later question, and when it is taken back', () => {
    expect(
      upStory().tell(HOST_GONE).wait(100).tell(ask('write'), answer(), CLOSED, ask(), REFUSED).now.verdict,
    ).toBe('up');
    expect(
      upStory().tell(HOST_GONE, { kind: 'host-says', gone: false }, CLOSED, ask(), REFUSED).now.verdict,
    ).toBe('up');
  });

  test('an answer to a question from before the word does not outdo it', () => {
    const story = upStory().tell(ask('write')).wait(50).tell(HOST_GONE, answer(), CLOSED, ask(), REFUSED);
    expect(story.now).toMatchObject(down('processes-gone'));
  });
});

describe('refused', () => {
  test('three refusals after a lost connection, within about 150 ms', () => {
    const story = refuse(upStory().tell(CLOSED), 2);
    expect(story.now.verdict).toBe('up');
    expect(story.tell(ask(), REFUSED).now).toMatchObject({
      ...down('refused'),
      note: 'refused 3 times within 80ms',
    });
  });

  test('a burst of refusals is one observation', () => {
    expect(upStory().tell(CLOSED, REFUSED, REFUSED, REFUSED, REFUSED).now.verdict).toBe('up');
  });

  test('an answer in between begins the count anew', () => {
    const story = refuse(upStory().tell(CLOSED), 2).tell(ask(), CONNECTION_ANSWERED);
    expect(refuse(story, 2).now.verdict).toBe('up');
  });

  test('a node never seen up needs downAfterMs of refusals', () => {
    const story = refuse(new Story(), 3, 500);
    expect(story.now.verdict).toBe('unknown');
    expect(refuse(story, 2, 500).now).toMatchObject(down('refused'));
  });

  test('refusals beside an open session need downAfterMs', () => {
    const story = refuse(upStory(), 5, 40);
    expect(story.now.verdict).toBe('up');
    expect(story.wait(2000).now).toMatchObject(down('refused'));
  });

  test.each([
    ['its session was ended by an administrator', { kind: 'session-ended', how: 'administrator' }],
    ['it says that it is shutting down', { kind: 'server-said', word: { kind: 'shutting-down' } }],
  ] as const)('a clean shutdown gets restartGraceMs: %s', (_, sign) => {
    const story = upStory().tell(sign, CLOSED);
    expect(refuse(story, 19, 500).now.verdict).toBe('up');
    expect(refuse(story, 3, 500).now).toMatchObject(down('refused'));
  });

  test('an immediate shutdown gets no grace, though it too says that it is shutting down', () => {
    const story = upStory().tell({ kind: 'session-ended', how: 'immediate-shutdown' }, ask(), {
      kind: 'server-said',
      word: { kind: 'shutting-down' },
    });
    expect(refuse(story, 3).now).toMatchObject(down('refused'));
  });

  test('a clean restart within the grace is no edge at all', () => {
    const story = upStory().tell({ kind: 'session-ended', how: 'administrator' });
    refuse(story, 10, 500).tell(ask(), CONNECTED, ask('write'), answer()).well(20_000);
    expect(story.edges.map((edge) => edge.verdict)).toEqual(['up']);
  });

  test('the grace does not cover silence: a host that goes off after a clean stop is no-answer', () => {
    const story = upStory().tell({ kind: 'session-ended', how: 'administrator' });
    refuse(story, 2, 500).tell(ask()).wait(2100);
    expect(story.now).toMatchObject(down('no-answer'));
  });

  test('a crash after a clean restart gets no grace', () => {
    const story = upStory().tell({ kind: 'session-ended', how: 'administrator' }, ask(), CONNECTED, CLOSED);
    expect(refuse(story, 3).now).toMatchObject(down('refused'));
  });
});

describe('no-answer', () => {
  test('silence is counted from the last answer', () => {
    const story = upStory().wait(500).tell(ask('write')).wait(1400);
    expect(story.now.verdict).toBe('up');
    expect(story.wait(100).now).toMatchObject(down('no-answer'));
  });

  test('silence without a question that stood for half of it is no evidence', () => {
    const story = upStory().wait(5000);
    expect(story.now.verdict).toBe('up');
    expect(story.tell(ask('write')).wait(900).now.verdict).toBe('up');
    expect(story.wait(100).now).toMatchObject(down('no-answer'));
  });

  test('connections that hang after a close count from the close', () => {
    const story = upStory().tell(CLOSED, ask()).wait(1900);
    expect(story.now.verdict).toBe('up');
    expect(story.wait(100).now).toMatchObject(down('no-answer'));
  });

  test('a frozen postmaster: new connections hang although the session answers', () => {
    const story = upStory();
    story.tell(ask());
    for (let round = 0; round < 4; round += 1) story.tell(ask('write'), answer(), ask()).wait(500);
    expect(story.now).toMatchObject({
      ...down('no-answer'),
      note: 'new connections hang for 2.0s although the open one answers',
    });
    expect(story.tell(ask('write'), answer()).wait(500).now.verdict).toBe('down');
    expect(story.tell(CONNECTION_ANSWERED).now.verdict).toBe('down');
    expect(story.tell(ask('write'), answer()).now.verdict).toBe('up');
  });

  test('a read that hangs beside answered connections needs writeDownAfterMs', () => {
    const story = upStory({ expect: 'standby' }).tell(ask('read')).wait(10);
    for (let round = 0; round < 9; round += 1) story.tell(ask(), CONNECTION_ANSWERED).wait(1000);
    expect(story.now.verdict).toBe('up');
    expect(story.tell(ask(), CONNECTION_ANSWERED).wait(1000).now).toMatchObject(down('no-answer'));
  });

  test('a session given up for silence is no word from the node', () => {
    const story = upStory()
      .tell(ask('write'))
      .wait(1000)
      .tell({ kind: 'session-ended', how: 'given-up' }, ask())
      .wait(1000);
    expect(story.now).toMatchObject(down('no-answer'));
  });
});

describe('write-failing', () => {
  test('writes that fail for writeDownAfterMs, and only a write takes it back', () => {
    const story = upStory().well(9500, FAILED);
    expect(story.now.verdict).toBe('up');
    expect(story.now.note).toBe('writes fail: disk full (53100)');
    story.well(1000, FAILED);
    expect(story.now).toMatchObject(down('write-failing'));
    story.well(1000, { kind: 'inconclusive', why: 'lock timeout' });
    expect(story.tell(TOO_MANY).now).toMatchObject(down('write-failing'));
    expect(story.tell(ask('write'), answer()).now.verdict).toBe('up');
  });

  test('a single success begins the count anew', () => {
    expect(upStory().well(9500, FAILED).well(500).well(9500, FAILED).now.verdict).toBe('up');
  });

  test('a write that hangs while new connections are answered', () => {
    const story = upStory().tell(ask('write')).wait(10);
    for (let round = 0; round < 9; round += 1) story.tell(ask(), CONNECTION_ANSWERED).wait(1000);
    expect(story.now.verdict).toBe('up');
    story.tell(ask(), CONNECTION_ANSWERED).wait(1000);
    expect(story.now).toMatchObject({
      ...down('write-failing'),
      note: 'a write hangs for 10.0s although new connections are answered',
    });
  });

  test('a hang goes on counting when the session is given up and its lock remains', () => {
    const story = upStory().tell(ask('write')).wait(10).tell(ask(), CONNECTION_ANSWERED).wait(5000);
    story
      .tell({ kind: 'session-ended', how: 'given-up' }, ask(), CONNECTED)
      .well(6000, { kind: 'inconclusive', why: 'lock timeout' });
    expect(story.now).toMatchObject(down('write-failing'));
  });

  test.each([
    { kind: 'excused', why: 'read-only on purpose' },
    { kind: 'excused', why: 'refuses writes to avoid wraparound' },
    { kind: 'excused', why: 'the heartbeat table is missing' },
    { kind: 'inconclusive', why: 'lock timeout on the heartbeat' },
  ] as const)('not down: $why', (write) => {
    const story = upStory().well(3_600_000, write);
    expect(story.now).toMatchObject({ verdict: 'up', note: `${write.why}: not down` });
    expect(story.edges).toHaveLength(1);
  });

  test('writes do not matter on a standby', () => {
    expect(upStory({ expect: 'standby' }).well(60_000, FAILED).now.verdict).toBe('up');
  });
});

describe('not down, said as what it is', () => {
  test.each([
    [TOO_MANY, 'too many connections: not down'],
    [
      { kind: 'server-said', word: { kind: 'login-refused', why: 'password authentication failed (28P01)' } },
      'password authentication failed (28P01): not down',
    ],
  ] as const)('%#: %o', (step, note) => {
    const story = new Story();
    for (let passedMs = 0; passedMs < 60_000; passedMs += 1000) story.tell(ask(), step).wait(1000);
    expect(story.now).toMatchObject({ verdict: 'up', note });
    expect(story.edges).toHaveLength(1);
  });

  test('a server that lets others in again is up after a crash', () => {
    const story = refuse(upStory().tell(CLOSED), 3);
    expect(story.now.verdict).toBe('down');
    expect(story.tell(ask(), TOO_MANY).now.verdict).toBe('up');
  });
});

describe('abstaining', () => {
  test('an observer in tilt gives no down, whatever it sees', () => {
    const story = upStory().tell(abstains('it was stalled for 3s'), CLOSED);
    refuse(story, 5).tell(ask()).wait(60_000);
    expect(story.now).toMatchObject({
      verdict: 'abstain',
      note: 'the observer abstains: it was stalled for 3s',
    });
  });

  test('every clock begins anew when it is well again', () => {
    const story = upStory().tell(abstains('stalled'), ask('write')).wait(30_000).tell(abstains(undefined));
    expect(story.now.verdict).not.toBe('down');
    expect(story.wait(1900).now.verdict).not.toBe('down');
    expect(story.wait(100).now).toMatchObject(down('no-answer'));
  });

  test('a standing down is withdrawn by a real answer only, tilt or not', () => {
    const story = refuse(upStory().tell(CLOSED), 3).tell(abstains('no quorum')).wait(5000);
    expect(story.now).toMatchObject(down('refused'));
    expect(story.tell(abstains(undefined)).wait(100).now).toMatchObject(down('refused'));
    expect(story.tell(abstains('no quorum'), ask(), CONNECTED, ask('write'), answer()).now.verdict).toBe(
      'up',
    );
  });

  test('the agent`s word waits for the observer to be well', () => {
    const story = upStory({ hostPeer: SELF }).tell(abstains('no quorum'), {
      kind: 'local-processes',
      gone: true,
    });
    expect(story.now.verdict).toBe('abstain');
    expect(story.tell(abstains(undefined)).now).toMatchObject(down('processes-gone'));
  });

  test('trouble of its own makes it abstain on that node until a while after the last of it', () => {
    const story = upStory().tell(CLOSED, ask(), { kind: 'own-trouble', why: 'EMFILE' });
    expect(story.now).toMatchObject({ verdict: 'abstain', note: 'the observer abstains: EMFILE' });
    story.wait(1000).tell(ask(), REFUSED).wait(40).tell(ask(), REFUSED).wait(40);
    expect(story.now.verdict).not.toBe('down');
    expect(story.tell(ask(), REFUSED).now).toMatchObject(down('refused'));
  });

  test('a node that goes on answering is up although the observer abstains', () => {
    const story = upStory().tell(abstains('no quorum'));
    expect(story.now.verdict).toBe('abstain');
    expect(story.tell(ask('write'), answer()).now.verdict).toBe('up');
  });
});

describe('edges', () => {
  test('evidence changes only to a stronger kind while a down stands', () => {
    const story = upStory().tell(ask('write')).wait(2000);
    expect(story.now).toMatchObject(down('no-answer'));
    refuse(story.tell(CLOSED), 3);
    expect(story.now).toMatchObject(down('refused'));
    story.tell(ask()).wait(10_000);
    expect(story.now).toMatchObject(down('refused'));
    story.tell(REFUSED, HOST_GONE);
    expect(story.edges.map((edge) => edge.evidence)).toEqual([
      undefined,
      'no-answer',
      'refused',
      'processes-gone',
    ]);
  });

  test('a down stands when the epoch moves on and nothing has answered', () => {
    const story = refuse(upStory().tell(CLOSED), 3);
    story.tell({ kind: 'target', target: { ...PRIMARY, epoch: epoch(9), expect: 'standby' } });
    expect(story.now).toMatchObject(down('refused'));
  });

  test('sinceMs is the time of the edge, not of the last event', () => {
    const story = refuse(upStory().tell(CLOSED), 3);
    expect(story.now.sinceMs).toBe(580);
    expect(refuse(story, 10, 500).now.sinceMs).toBe(580);
  });
});

test('a refused login is known until a session opens again, whatever happens in between', () => {
  const refusal = (why: string): Step => ({ kind: 'server-said', word: { kind: 'login-refused', why } });
  const story = new Story().tell(ask(), refusal('wrong password (28P01)')).wait(5000);
  story.tell(ask(), refusal('no such role (28000)'), ask(), CONNECTION_ANSWERED);
  expect(story.facts.loginRefused).toEqual({ sinceMs: 0, why: 'no such role (28000)' });
  expect(story.tell(ask(), { kind: 'connected' }).facts.loginRefused).toBeUndefined();
});
