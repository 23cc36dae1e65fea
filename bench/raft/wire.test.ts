import { describe, expect, test } from 'vitest';
import * as wire from './wire.ts';

const bytes = (text: string): Buffer => Buffer.from(text, 'hex');

describe('the messages of etcd', () => {
  test('a put is written as etcd expects it', () => {
    // key = 1, value = 2, both length-delimited.
    expect(wire.encodePutRequest(Buffer.from('key'), Buffer.from('ab')).toString('hex')).toBe(
      '0a036b6579' + '12026162',
    );
  });

  test('an answer to a put is read, whatever else is in it', () => {
    // header { cluster_id 7, member_id 2^63 + 1, revision 300, raft_term 4 }, prev_kv { key "x" }
    const header = '0807' + '108180808080808080' + '8001' + '18ac02' + '2004';
    const length = (header.length / 2).toString(16).padStart(2, '0');
    expect(wire.decodePutResponse(bytes(`0a${length}${header}12030a0178`))).toBe(300);
  });

  test('a status is read; member 0 as leader means none', () => {
    const header = '0807' + '1009' + '1805' + '2003';
    const status = (leader: string): Buffer =>
      bytes(`0a08${header}` + '1206332e342e3233' + '18807d' + `20${leader}` + '28ac02' + '3003');
    expect(wire.decodeStatusResponse(status('09'))).toEqual({
      self: '9',
      leader: '9',
      term: 3,
      appliedIndex: 300,
    });
    expect(wire.decodeStatusResponse(status('00')).leader).toBeUndefined();
  });
});

describe('the messages of the bench service', () => {
  test('come back as they were', () => {
    const value = Buffer.from([0, 1, 255]);
    expect(Buffer.from(wire.decodeProposeRequest(wire.encodeProposeRequest(value)))).toEqual(value);
    expect(wire.decodeProposeResponse(wire.encodeProposeResponse(1e12))).toBe(1e12);
    const batch = { first: 70_000, values: [Buffer.from([1]), Buffer.from([]), Buffer.from([2, 3])] };
    expect(wire.decodeBatchRequest(wire.encodeBatchRequest(batch))).toEqual(batch);
    expect(wire.decodeBatchResponse(wire.encodeBatchResponse([1, 200, 70_000]))).toEqual([1, 200, 70_000]);
    for (const leader of [undefined, 'b']) {
      const view = { self: 'a', leader, term: 3, appliedIndex: 99 };
      expect(wire.decodeView(wire.encodeView(view))).toEqual(view);
    }
  });
});
