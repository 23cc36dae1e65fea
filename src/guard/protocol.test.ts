import { expect, test } from 'vitest';
import { queryMessage, readMessages, startupMessage } from './protocol.ts';

const message = (type: string, body: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const int16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const int32 = (value: number): Buffer =>
  Buffer.from(new Uint8Array(new Int32Array([value]).buffer).toReversed());

const ANSWER = Buffer.concat([
  message('R', int32(0)),
  message('S', Buffer.from('TimeZone\0UTC\0')),
  message('D', Buffer.concat([int16(3), int32(3), Buffer.from('fünf').subarray(0, 3), int32(-1), int32(0)])),
  message('E', Buffer.from('SERROR\0C42601\0Mno such thing\0\0')),
  message('Z', Buffer.from('I')),
]);

test('an answer is read whole, however it is cut into pieces', () => {
  const whole = readMessages(ANSWER);
  expect(whole.rest).toHaveLength(0);
  expect(whole.messages).toEqual([
    { kind: 'authentication', isDone: true },
    { kind: 'other' },
    { kind: 'row', values: ['fü', null, ''] },
    { kind: 'error', message: 'no such thing' },
    { kind: 'ready' },
  ]);
  for (let cut = 0; cut <= ANSWER.length; cut += 1) {
    const first = readMessages(ANSWER.subarray(0, cut));
    const second = readMessages(Buffer.concat([first.rest, ANSWER.subarray(cut)]));
    expect([...first.messages, ...second.messages]).toEqual(whole.messages);
  }
});

test('a request for a password is told from a log-in that is done', () => {
  expect(readMessages(message('R', int32(10))).messages).toEqual([{ kind: 'authentication', isDone: false }]);
});

test('what is not the protocol is refused', () => {
  expect(() => readMessages(Buffer.from('HTTP/1.1 400'))).toThrow(/which is none/);
});

test('requests have their length in front', () => {
  expect(queryMessage('select 1')).toEqual(message('Q', Buffer.from('select 1\0')));
  const startup = startupMessage({ user: 'u', database: 'd' });
  expect(startup.readInt32BE(0)).toBe(startup.length);
  expect(startup.readInt32BE(4)).toBe(196_608);
  expect(startup.subarray(8).toString()).toBe('user\0u\0database\0d\0\0');
});
