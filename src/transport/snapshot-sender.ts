// Sends snapshots to one peer, one at a time, in chunks on a connection of their own. Must never have more than one chunk under
// way, never wait without a deadline, and always say what became of each request.
import type { Metadata } from '@grpc/grpc-js';
import { withDeadline } from '../base/clock.ts';
import type { LogIndex } from '../base/ids.ts';
import { PeerService } from '../gen/pg_sentinel/v1/raft_pb.ts';
import type { MembershipCodec } from '../raft/types.ts';
import { openChannel } from './channel.ts';
import { BASE_CHANNEL_OPTIONS, rawMethodDefinition } from './grpc-adapter.ts';
import { encodeChunks, SNAPSHOT_BYTES_MAX, type SnapshotMessage } from './snapshot-codec.ts';

export interface SnapshotSender {
  /** While one is under way, a request for the same snapshot joins it and one for another is given up at once. */
  send(message: SnapshotMessage): void;
  /** Gives up what is under way. */
  close(): void;
}

/** For the connection and the first chunk, then for each chunk: 256 KiB within it are 26 KB a second. */
const CHUNK_MS = 10_000;
/** For the receiver to say that it has all of it. */
const ANSWER_MS = 10_000;

const SNAPSHOT_CHANNEL = {
  ...BASE_CHANNEL_OPTIONS,
  'grpc.max_send_message_length': 2 << 20,
  'grpc.max_receive_message_length': 64 << 10,
};

interface Transfer {
  readonly index: LogIndex;
  readonly entryTerm: number;
  /** Of the latest request. */
  term: number;
  round: number;
  readonly abort: AbortController;
}

export function createSnapshotSender(options: {
  readonly target: string;
  readonly metadata: () => Metadata;
  readonly codec: MembershipCodec;
  readonly isReachable: () => boolean;
  readonly onSent: (index: LogIndex, arrived: boolean) => void;
  readonly onProblem: (reason: string) => void;
  readonly chunkMs?: number;
}): SnapshotSender {
  const { target, codec, onSent, chunkMs = CHUNK_MS } = options;
  let current: Transfer | undefined;
  let closed = false;

  const begin = (message: SnapshotMessage): Transfer => {
    const transfer: Transfer = {
      index: message.snapshot.index,
      entryTerm: message.snapshot.term,
      term: message.term,
      round: message.round,
      abort: new AbortController(),
    };
    transferSnapshot(message, transfer)
      .then(
        () => true,
        (error: unknown) => {
          if (!transfer.abort.signal.aborted)
            options.onProblem(error instanceof Error ? error.message : String(error));
          return false;
        },
      )
      .then((arrived) => {
        current = undefined;
        onSent(transfer.index, arrived);
      })
      .catch((error: unknown) => options.onProblem(String(error)));
    return transfer;
  };

  const transferSnapshot = async (message: SnapshotMessage, transfer: Transfer): Promise<void> => {
    const channel = openChannel(target, SNAPSHOT_CHANNEL);
    try {
      const { path, requestSerialize, responseDeserialize } = rawMethodDefinition(
        PeerService.method.snapshot,
      );
      let answer: (error: Error | null) => void = () => undefined;
      const answered = new Promise<void>((resolve, reject) => {
        answer = (error) => (error === null ? resolve() : reject(error));
      });
      answered.catch(() => undefined); // a failure also shows at the chunk under way
      const call = channel.client.makeClientStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        options.metadata(),
        answer,
      );
      call.on('error', () => undefined);
      transfer.abort.signal.addEventListener('abort', () => {
        call.cancel();
        answer(new Error('given up'));
      });
      for (const chunk of encodeChunks(message, codec, () => transfer)) {
        const written = new Promise<void>((resolve) => call.write(chunk, () => resolve()));
        const progress = Promise.race([written, answered]);
        await withDeadline(`a chunk of the snapshot at ${transfer.index} to ${target}`, chunkMs, progress);
      }
      call.end();
      await withDeadline(`the answer of ${target} to a snapshot`, ANSWER_MS, answered);
    } finally {
      channel.destroy();
    }
  };

  return {
    send(message) {
      const { index, term: entryTerm, data } = message.snapshot;
      if (current?.index === index && current.entryTerm === entryTerm) {
        current.term = message.term;
        current.round = message.round;
        return;
      }
      const isTooLarge = data.length > SNAPSHOT_BYTES_MAX;
      if (isTooLarge) {
        options.onProblem(`it has ${data.length} bytes, and at most ${SNAPSHOT_BYTES_MAX} can be sent`);
      }
      if (isTooLarge || closed || current !== undefined || !options.isReachable()) {
        queueMicrotask(() => onSent(index, false)); // never from within `send`
        return;
      }
      current = begin(message);
    },
    close() {
      closed = true;
      current?.abort.abort();
    },
  };
}
