// The generator's side of gRPC: unary calls, and the batching client over one stream. The same code calls both systems.
// Must never resolve a proposal that was not answered.
import { type ClientDuplexStream, type ClientOptions, Metadata } from '@grpc/grpc-js';
import { type OwnedChannel, openChannel } from '../../src/transport/channel.ts';
import { BASE_CHANNEL_OPTIONS } from '../../src/transport/grpc-adapter.ts';
import { decodeBatchResponse, encodeBatchRequest } from './wire.ts';

const CHANNEL_OPTIONS: ClientOptions = { ...BASE_CHANNEL_OPTIONS };
const EMPTY = new Metadata();
const asIs = (bytes: Buffer): Buffer => bytes;

export function openLoopback(port: number): OwnedChannel {
  return openChannel(`127.0.0.1:${port}`, CHANNEL_OPTIONS);
}

/** One unary call with a request that is already encoded. */
export function callUnary<T>(
  { client }: OwnedChannel,
  path: string,
  request: Buffer,
  decode: (data: Buffer) => T,
): Promise<T> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, asIs, decode, request, EMPTY, (error, value) => {
      if (error !== null) reject(error);
      else if (value === undefined) reject(new Error(`${path} answered nothing`));
      else resolve(value);
    });
  });
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Sends what is proposed in the same turn of the loop as one message; answers come in any order, many at once. */
export function openBatching({ client }: OwnedChannel, path: string): (value: Buffer) => Promise<void> {
  const waiting = new Map<number, Waiting>();
  let nextNumber = 1;
  let collected: Buffer[] = [];
  let failure: Error | undefined;
  let stream: ClientDuplexStream<Buffer, number[]> | undefined;

  const fail = (error: Error): void => {
    failure ??= error;
    for (const { reject } of waiting.values()) reject(failure);
    waiting.clear();
  };
  const opened = (): ClientDuplexStream<Buffer, number[]> => {
    const call = client.makeBidiStreamRequest(path, asIs, decodeBatchResponse, EMPTY);
    call.on('data', (numbers: number[]) => {
      for (const number of numbers) {
        waiting.get(number)?.resolve();
        waiting.delete(number);
      }
    });
    call.on('error', fail);
    call.on('end', () => fail(new Error(`${path} ended`)));
    return call;
  };
  const flush = (): void => {
    const values = collected;
    collected = [];
    if (failure !== undefined) return;
    stream ??= opened();
    stream.write(encodeBatchRequest({ first: nextNumber - values.length, values }));
  };
  return (value) =>
    new Promise((resolve, reject) => {
      if (failure !== undefined) {
        reject(failure);
        return;
      }
      waiting.set(nextNumber, { resolve, reject });
      nextNumber += 1;
      if (collected.push(value) === 1) setImmediate(flush);
    });
}
