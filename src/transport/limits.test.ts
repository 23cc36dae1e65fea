// What comes in is bounded on every channel, in messages and in metadata; whoever goes beyond is told so, and the others are
// served as before.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Metadata, type StatusObject, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { peerId } from '../base/ids.ts';
import { AdminService } from '../gen/pg_sentinel/v1/admin_pb.ts';
import { SnapshotRequestSchema } from '../gen/pg_sentinel/v1/raft_pb.ts';
import type { Channel } from './admission.ts';
import { openChannel } from './channel.ts';
import {
  BASE_CHANNEL_OPTIONS,
  MESSAGE_BYTES_MAX,
  METADATA_BYTES_MAX,
  methodDefinition,
} from './grpc-adapter.ts';
import { CONTROL_BYTES_MAX } from './inbound.ts';
import { encodeChunks } from './snapshot-codec.ts';
import { freePort } from './testing/free-ports.ts';
import { at, CODEC, heartbeat, reportOf, snapshotOf, startTestPeer, type TestPeer } from './testing/peers.ts';
import { endOf, helloOf, rawCall, type RawCall } from './testing/raw-client.ts';

const CHANNELS: readonly Channel[] = ['append', 'control', 'snapshot'];
const running = new Set<{ close(): Promise<void> | void }>();

async function startReceiver(): Promise<TestPeer> {
  const peer = await startTestPeer({ self: 'a', peers: [at('b', 1)] });
  running.add(peer.transport);
  return peer;
}

function callTo(peer: TestPeer, channel: Channel, more?: (metadata: Metadata) => void): RawCall {
  const call = rawCall(channel, peer.transport.port, helloOf('b', 'a'), more);
  running.add(call);
  return call;
}

/** That peer still takes an ordinary call. */
async function expectServing(peer: TestPeer): Promise<void> {
  const call = callTo(peer, 'control');
  await call.answered;
  call.end();
  expect(await endOf(call)).toMatch(/^OK/);
}

const seen = (what: string, condition: () => boolean): Promise<boolean> =>
  until({ what, timeoutMs: 10_000, everyMs: 5 }, condition);

afterEach(async () => {
  await Promise.all([...running].map(async (closable) => closable.close()));
  running.clear();
});

describe('an oversized message', () => {
  test.each(CHANNELS)('on the %s channel beyond what gRPC takes ends the stream', async (channel) => {
    const peer = await startReceiver();
    const call = callTo(peer, channel);
    await call.answered;
    call.write(new Uint8Array(MESSAGE_BYTES_MAX + 1));
    expect(await endOf(call)).toMatch(/^RESOURCE_EXHAUSTED: .*larger than max/i);
    await expectServing(peer);
  });

  test('on the control channel is one that could hold up a heartbeat', async () => {
    const peer = await startReceiver();
    const call = callTo(peer, 'control');
    await call.answered;
    call.write(new Uint8Array(CONTROL_BYTES_MAX + 1));
    expect(await endOf(call)).toBe(
      `INVALID_ARGUMENT: a control frame of ${CONTROL_BYTES_MAX + 1} bytes; at most ${CONTROL_BYTES_MAX} are taken`,
    );
    expect(peer.refused).toEqual([
      expect.stringMatching(/^refused a message of peer "b": a control frame of/),
    ]);
    await expectServing(peer);
  });

  test('on the snapshot channel is a chunk beyond 1 MiB, or a snapshot said to be beyond 256 MiB', async () => {
    const peer = await startReceiver();
    const [only = new Uint8Array()] = encodeChunks(snapshotOf(9, new Uint8Array(10)), CODEC, () => ({
      term: 1,
      round: 1,
    }));
    const request = fromBinary(SnapshotRequestSchema, only);
    if (request.header !== undefined) request.header.totalBytes = 1n << 30n;
    const tooLarge = callTo(peer, 'snapshot');
    tooLarge.write(toBinary(SnapshotRequestSchema, request));
    expect(await endOf(tooLarge)).toBe(
      'INVALID_ARGUMENT: a snapshot of 1073741824 bytes; at most 268435456 are taken',
    );

    const wide = callTo(peer, 'snapshot');
    request.data = new Uint8Array((1 << 20) + 1);
    if (request.header !== undefined) request.header.totalBytes = 1n << 24n;
    wide.write(toBinary(SnapshotRequestSchema, request));
    expect(await endOf(wide)).toBe('INVALID_ARGUMENT: a chunk of 1048577 bytes; at most 1048576 are taken');
    expect(peer.received).toEqual([]);
    await expectServing(peer);
  });

  test('to the admin service is refused', async () => {
    const peer = await startReceiver();
    const { client, destroy } = openChannel(`127.0.0.1:${peer.transport.port}`, {
      ...BASE_CHANNEL_OPTIONS,
      'grpc.max_send_message_length': -1,
    });
    running.add({ close: destroy });
    const { method } = AdminService;
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method.peerRemove);
    const error = await new Promise<Partial<StatusObject> | null>((resolve) => {
      const request = create(method.peerRemove.input, { peer: 'x'.repeat(MESSAGE_BYTES_MAX) });
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, resolve);
    });
    expect(error?.code).toBe(status.RESOURCE_EXHAUSTED);
    await expectServing(peer);
  });

  test('a report that is too large is not sent, which is logged once, and heartbeats pass', async () => {
    const [portA, portB] = [await freePort(), await freePort()];
    const first = await startTestPeer({ self: 'a', port: portA, peers: [at('b', portB)] });
    const second = await startTestPeer({ self: 'b', port: portB, peers: [at('a', portA)] });
    running.add(first.transport).add(second.transport);
    const large = { ...reportOf('pg1', 1), message: 'x'.repeat(100_000) };
    await seen('the link', () => second.transport.isReachable(peerId('a'), 1000));
    first.transport.broadcastReport(large);
    first.transport.broadcastReport(large);
    first.transport.broadcastReport(reportOf('pg2', 2));
    first.transport.send(peerId('b'), heartbeat(1));
    await seen('heartbeat and report', () => second.received.length === 1 && second.reports.length === 1);
    expect(second.reports[0]?.node).toBe('pg2');
    expect(first.logged.filter((line) => /report on pg1: it is larger than/.test(line))).toHaveLength(1);
  });

  test('reports of more nodes than a frame may hold go in several', async () => {
    const [port, other] = [await freePort(), await freePort()];
    const first = await startTestPeer({ self: 'a', port, peers: [at('b', other)] });
    running.add(first.transport);
    for (let node = 0; node < 350; node += 1) first.transport.broadcastReport(reportOf(`pg${node}`, node));
    const second = await startTestPeer({ self: 'b', port: other, peers: [at('a', port)] });
    running.add(second.transport);
    await seen('all reports', () => second.reports.length === 350);
    expect(new Set(second.reports.map(({ node }) => node)).size).toBe(350);
  });

  test('many reports go in as many frames as they need', async () => {
    const [portA, portB] = [await freePort(), await freePort()];
    const first = await startTestPeer({ self: 'a', port: portA, peers: [at('b', portB)] });
    running.add(first.transport);
    for (let at = 0; at < 20; at += 1)
      first.transport.broadcastReport({ ...reportOf(`pg${at}`, at), message: 'x'.repeat(20_000) });
    const second = await startTestPeer({ self: 'b', port: portB, peers: [at('a', portA)] });
    running.add(second.transport);
    await seen('all reports', () => second.reports.length === 20);
    expect(second.refused).toEqual([]);
  });
});

describe('damaged bytes', () => {
  test.each(CHANNELS)('on the %s channel end the stream and nothing else', async (channel) => {
    const peer = await startReceiver();
    const call = callTo(peer, channel);
    await call.answered;
    call.write(Uint8Array.of(0x0a, 200, 1, 2, 3));
    expect(await endOf(call)).toMatch(/^INVALID_ARGUMENT/);
    expect(peer.refused).toHaveLength(1);
    await expectServing(peer);
  });
});

describe('metadata', () => {
  test.each(CHANNELS)('beyond the bound is refused on the %s channel', async (channel) => {
    const peer = await startReceiver();
    const call = callTo(peer, channel, (metadata) => metadata.set('x-more', 'y'.repeat(METADATA_BYTES_MAX)));
    expect(await endOf(call)).toMatch(
      /^FAILED_PRECONDITION: refused a caller at 127.0.0.1: more than 8192 bytes of metadata/,
    );
    expect(peer.refused).toHaveLength(1);
    await expectServing(peer);
  });

  test.each(CHANNELS)(
    'beyond what HTTP/2 takes does not get as far as that on the %s channel',
    async (channel) => {
      const peer = await startReceiver();
      const call = callTo(peer, channel, (metadata) => {
        for (let count = 0; count < 100; count += 1) metadata.set(`x-more-${count}`, 'y'.repeat(4000));
      });
      expect(await endOf(call)).not.toMatch(/^(OK|FAILED_PRECONDITION)/);
      expect(peer.refused).toEqual([]);
      await expectServing(peer);
    },
  );
});
