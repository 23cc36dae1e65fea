// The receiving end of the snapshot channel: puts the chunks together and hands over whole snapshots only. Must never hold
// more than one unfinished snapshot, nor wait for ever for a sender that has gone.
import { type sendUnaryData, type ServerReadableStream, status } from '@grpc/grpc-js';
import type { MembershipCodec } from '../raft/types.ts';
import type { Admission, Stream } from './admission.ts';
import { DamagedMessage } from './damaged.ts';
import { type Assembly, createAssembly } from './snapshot-codec.ts';
import type { TransportHandlers } from './types.ts';

export interface SnapshotReceiver {
  readonly implementation: (
    call: ServerReadableStream<Uint8Array, Uint8Array>,
    answer: sendUnaryData<Uint8Array>,
  ) => void;
  close(): void;
}

/** Longer than the sender waits for one chunk, so that the sender says why. */
const CHUNK_AWAITED_MS = 15_000;

interface Transfer {
  readonly assembly: Assembly;
  /** Undefined until it was let in. */
  stream: Stream | undefined;
  isOver: boolean;
}

const WHOLE = Buffer.alloc(0);

export function createSnapshotReceiver(options: {
  readonly admission: Admission;
  readonly handlers: Pick<TransportHandlers, 'onMessage'>;
  readonly codec: MembershipCodec;
  readonly chunkAwaitedMs?: number;
}): SnapshotReceiver {
  const { admission, handlers, codec, chunkAwaitedMs = CHUNK_AWAITED_MS } = options;
  let current: Transfer | undefined;
  let closed = false;

  /** False where an unfinished one of a later leader stands in the way. A stream that has ended does not. */
  const takeTurn = (transfer: Transfer, from: string): boolean => {
    if (current !== undefined && current !== transfer) {
      if ((current.assembly.term ?? 0) > (transfer.assembly.term ?? 0)) return false;
      current.stream?.fail(status.ABORTED, `replaced by a snapshot from "${from}"`);
    }
    current = transfer;
    return true;
  };

  return {
    implementation(call, answer) {
      const transfer: Transfer = { assembly: createAssembly(codec), stream: undefined, isOver: false };
      /** False where it was over already. */
      const end = (): boolean => {
        const wasOver = transfer.isOver;
        transfer.isOver = true;
        clearTimeout(timer);
        if (transfer.stream !== undefined) admission.ended(transfer.stream);
        if (current === transfer) current = undefined;
        return !wasOver;
      };
      const refuse = (code: status, reason: string): void => {
        const { stream } = transfer;
        if (stream === undefined) return;
        const detail = `refused a snapshot of peer "${stream.from}": ${reason}`;
        admission.reportOnce(`snapshot ${stream.from} ${code}`, detail);
        stream.fail(code, reason);
      };
      const timer = setTimeout(
        () => refuse(status.DEADLINE_EXCEEDED, `no chunk for ${chunkAwaitedMs} ms`),
        chunkAwaitedMs,
      );
      call.on('error', () => undefined);
      const stream = admission.admit('snapshot', call, (code, details, metadata) => {
        if (end()) answer({ code, details, ...(metadata === undefined ? {} : { metadata }) });
      });
      if (stream === undefined) return;
      transfer.stream = stream;
      call.on('data', (bytes: Uint8Array) => {
        if (transfer.isOver) return;
        timer.refresh();
        admission.heard(stream);
        try {
          const message = transfer.assembly.add(bytes);
          if (closed) {
            stream.fail(status.UNAVAILABLE, 'this peer is stopping');
          } else if (!takeTurn(transfer, stream.from)) {
            stream.fail(status.ABORTED, 'a snapshot of a later leader is on its way');
          } else if (message !== undefined) {
            handlers.onMessage(stream.from, message);
            if (end()) answer(null, WHOLE);
          }
        } catch (error) {
          if (!(error instanceof DamagedMessage)) throw error;
          refuse(status.INVALID_ARGUMENT, error.message);
        }
      });
      call.on('end', () => {
        if (!transfer.isOver) refuse(status.INVALID_ARGUMENT, 'it ended before it was whole');
      });
      call.on('cancelled', end);
    },
    close() {
      closed = true;
      current?.stream?.fail(status.UNAVAILABLE, 'this peer is stopping');
    },
  };
}
