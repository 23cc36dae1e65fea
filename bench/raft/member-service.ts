// The gRPC service in front of one of our members: what a client of a replicated log would call. Not part of the product.
import {
  type sendUnaryData,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceDefinition,
  status,
} from '@grpc/grpc-js';
import { BATCHED_PATH, PROPOSE_PATH, VIEW_PATH } from './member-plan.ts';
import type { Proposals } from './proposals.ts';
import {
  decodeBatchRequest,
  decodeProposeRequest,
  type BatchRequest,
  encodeBatchResponse,
  encodeProposeResponse,
  encodeView,
  type View,
} from './wire.ts';

const asIs = (bytes: Buffer): Buffer => bytes;
const unary = { requestStream: false, responseStream: false } as const;
const SERVICE: ServiceDefinition = {
  propose: {
    ...unary,
    path: PROPOSE_PATH,
    requestSerialize: asIs,
    requestDeserialize: decodeProposeRequest,
    responseSerialize: encodeProposeResponse,
    responseDeserialize: asIs,
  },
  proposeBatched: {
    path: BATCHED_PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: asIs,
    requestDeserialize: decodeBatchRequest,
    responseSerialize: encodeBatchResponse,
    responseDeserialize: asIs,
  },
  view: {
    ...unary,
    path: VIEW_PATH,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: encodeView,
    responseDeserialize: asIs,
  },
};

/** Listens on loopback; rejects when it cannot. */
export function startMemberService(options: {
  readonly port: number;
  readonly proposals: Proposals;
  readonly view: () => View;
}): Promise<void> {
  const { proposals } = options;
  const server = new Server({ 'grpc.enable_channelz': 0 });
  server.addService(SERVICE, {
    propose(call: ServerUnaryCall<Uint8Array, number>, callback: sendUnaryData<number>) {
      proposals.propose(call.request, (index, reason) => {
        if (index === undefined) callback({ code: status.UNAVAILABLE, details: reason ?? 'refused' });
        else callback(null, index);
      });
    },
    proposeBatched(call: ServerDuplexStream<BatchRequest, number[]>) {
      serveBatched(call, proposals);
    },
    view(_call: ServerUnaryCall<Buffer, View>, callback: sendUnaryData<View>) {
      callback(null, options.view());
    },
  });
  return new Promise((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${options.port}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

/** What commits together is answered together. */
function serveBatched(call: ServerDuplexStream<BatchRequest, number[]>, proposals: Proposals): void {
  let settled: number[] = [];
  const flush = (): void => {
    const numbers = settled;
    settled = [];
    call.write(numbers);
  };
  call.on('error', () => undefined);
  call.on('end', () => call.end());
  call.on('data', ({ first, values }: BatchRequest) => {
    for (const [at, value] of values.entries()) {
      proposals.propose(value, (index, reason) => {
        if (index === undefined) call.emit('error', { code: status.UNAVAILABLE, details: reason });
        else if (settled.push(first + at) === 1) queueMicrotask(flush);
      });
    }
  });
}
