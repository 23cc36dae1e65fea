// Calls of the peer service made by hand, for tests of what no peer of ours would send.
// Must never be used outside tests.
import { type Metadata, type StatusObject, status } from '@grpc/grpc-js';
import { PeerService } from '../../gen/pg_sentinel/v1/raft_pb.ts';
import type { Channel } from '../admission.ts';
import { openChannel } from '../channel.ts';
import { BASE_CHANNEL_OPTIONS, rawMethodDefinition } from '../grpc-adapter.ts';
import { type Hello, helloMetadata, WIRE_VERSION, WIRE_VERSION_MIN } from '../handshake.ts';

export interface RawCall {
  /** Resolves when the receiver has taken the first answer back (append and control only). */
  readonly answered: Promise<void>;
  readonly ended: Promise<StatusObject>;
  write(bytes: Uint8Array): void;
  end(): void;
  close(): void;
}

export function helloOf(from: string, to: string, change: Partial<Hello> = {}): Hello {
  return {
    cluster: 'test',
    from,
    to,
    run: `run-of-${from}`,
    address: '127.0.0.1:1',
    store: `store-of-${from}`,
    incarnation: 1,
    membershipIndex: 0,
    logMembershipIndex: 0,
    founders: [],
    features: 1,
    wireVersion: WIRE_VERSION,
    wireVersionMin: WIRE_VERSION_MIN,
    ...change,
  };
}

/** Opens a stream on `channel` to 127.0.0.1:`port`; nothing bounds what it sends. */
export function rawCall(
  channel: Channel,
  port: number,
  hello: Hello,
  more: (metadata: Metadata) => void = () => undefined,
): RawCall {
  const { client, destroy } = openChannel(`127.0.0.1:${port}`, {
    ...BASE_CHANNEL_OPTIONS,
    'grpc.max_send_message_length': -1,
  });
  const { path, requestSerialize, responseDeserialize } = rawMethodDefinition(PeerService.method[channel]);
  const metadata = helloMetadata(hello);
  more(metadata);
  if (channel === 'snapshot') {
    const call = client.makeClientStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadata,
      () => undefined,
    );
    const ended = new Promise<StatusObject>((resolve) => call.on('status', resolve));
    call.on('error', () => undefined);
    return {
      answered: Promise.resolve(),
      ended,
      write: (bytes) => void call.write(bytes),
      end: () => void call.end(),
      close: destroy,
    };
  }
  const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
  const answered = new Promise<void>((resolve) => call.once('data', () => resolve()));
  const ended = new Promise<StatusObject>((resolve) => call.on('status', resolve));
  call.on('error', () => undefined);
  return {
    answered,
    ended,
    write: (bytes) => void call.write(bytes),
    end: () => void call.end(),
    close: destroy,
  };
}

/** `INVALID_ARGUMENT: why` */
export async function endOf(call: RawCall): Promise<string> {
  const { code, details } = await call.ended;
  return `${status[code]}: ${details}`;
}
