// From protobuf-es descriptors to what grpc-js wants, and the channel options that every connection of ours has.
// Must never know what the messages mean.
import {
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import {
  type ChannelCredentials,
  type ChannelOptions,
  credentials,
  type Metadata,
  type MethodDefinition,
  ServerCredentials,
  type ServiceDefinition,
} from '@grpc/grpc-js';

/** A larger gRPC message is neither sent nor received. Raft's own bound (1 MiB for each append) lies well below. */
export const MESSAGE_BYTES_MAX = 8 << 20;

/** Room that a frame needs around the messages in it. */
export const FRAME_OVERHEAD_BYTES = 64 << 10;

/** A method as protobuf-es describes it, its input and output types kept. */
export type TypedMethod<
  I extends DescMessage = DescMessage,
  O extends DescMessage = DescMessage,
> = DescMethod & {
  readonly input: I;
  readonly output: O;
};

/** The grpc-js definition of one method. */
export function methodDefinition<I extends DescMessage, O extends DescMessage>(
  method: TypedMethod<I, O>,
): MethodDefinition<MessageShape<I>, MessageShape<O>> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
    responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
    requestSerialize: serializer(method.input),
    requestDeserialize: deserializer(method.input),
    responseSerialize: serializer(method.output),
    responseDeserialize: deserializer(method.output),
  };
}

/** As {@link methodDefinition}, with the messages left encoded: what is sent often is encoded and decoded by hand. */
export function rawMethodDefinition(method: DescMethod): MethodDefinition<Uint8Array, Buffer> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
    responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
    requestSerialize: asBuffer,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  };
}

/** The grpc-js definition of a whole service, messages left encoded. */
export function rawServiceDefinition(service: DescService): ServiceDefinition {
  return Object.fromEntries(service.methods.map((method) => [method.localName, rawMethodDefinition(method)]));
}

/** The grpc-js definition of a whole service, for `Server.addService`; implementations are keyed by the method's local name. */
export function serviceDefinition(service: DescService): ServiceDefinition {
  return Object.fromEntries(service.methods.map((method) => [method.localName, methodDefinition(method)]));
}

/** What every connection has: a subchannel of its own, no proxy from the environment, no retries behind our back. */
export const BASE_CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_http_proxy': 0,
  'grpc.enable_retries': 0,
  'grpc.enable_channelz': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.dns_min_time_between_resolutions_ms': 500,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 500,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
};

/** A call with more metadata than this is refused; ours have about 300 bytes. HTTP/2 itself refuses beyond 64 KiB. */
export const METADATA_BYTES_MAX = 8 << 10;

/** `host:port`, with brackets around an IPv6 address. */
export function targetOf(address: { readonly host: string; readonly port: number }): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** The reverse of {@link targetOf}; undefined where `text` is not of that form. */
export function parseTarget(text: string): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([\w.-]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && host.length <= 255 && port >= 1 && port <= 65_535 ? { host, port } : undefined;
}

/** Bytes of names and values, as HTTP/2 counts them. */
export function metadataBytes(metadata: Metadata): number {
  let sum = 0;
  for (const [name, values] of Object.entries(metadata.toJSON()))
    for (const value of values) sum += name.length + Buffer.byteLength(value) + 32;
  return sum;
}

/** Plain text for now; TLS is to be put in here and in {@link serverCredentials}, nowhere else. */
export function clientCredentials(): ChannelCredentials {
  return credentials.createInsecure();
}

export function serverCredentials(): ServerCredentials {
  return ServerCredentials.createInsecure();
}

function serializer<D extends DescMessage>(desc: D): (message: MessageShape<D>) => Buffer {
  return (message) => asBuffer(toBinary(desc, message));
}

function deserializer<D extends DescMessage>(desc: D): (data: Buffer) => MessageShape<D> {
  return (data) => fromBinary(desc, data);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const asIs = (bytes: Buffer): Buffer => bytes;
