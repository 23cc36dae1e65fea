// The receiving end of the links: checks who calls, hands on what arrives in order, and answers now and then so that the
// sender knows the link to be alive. Must never deliver from a stream that a newer one of the same peer has replaced.
import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { type ServerDuplexStream, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { InvariantError } from '../base/assert.ts';
import type { PeerId } from '../base/ids.ts';
import {
  type AppendRequest,
  AppendResponseSchema,
  type ControlRequest,
  ControlResponseSchema,
  type RaftMessage as WireMessage,
} from '../gen/pg_sentinel/v1/raft_pb.ts';
import { type Identity, judgeHello, readHello } from './handshake.ts';
import { decodeRaftMessage } from './raft-codec.ts';
import { decodeReport } from './report-codec.ts';
import type { TransportHandlers } from './types.ts';

export interface Inbound {
  readonly implementation: UntypedServiceImplementation;
  /** When the peer was last heard from, on `nowMs`'s scale; undefined if never. */
  heardAtMs(peer: PeerId): number | undefined;
  /** Ends every stream. */
  close(): void;
}

interface Stream {
  readonly run: string;
  readonly call: ServerDuplexStream<unknown, unknown>;
}

/** The receiver answers at most this often; the sender pings a little less often when idle. */
const ANSWER_EVERY_MS = 550;
/** Two processes under one name: the second is refused while the first was heard from this lately. */
const RIVAL_MS = 1000;
/** Different refusals that are remembered as reported. */
const REPORTED_COUNT_MAX = 1000;

export function createInbound(options: {
  readonly identity: Identity;
  readonly handlers: TransportHandlers;
  readonly nowMs: () => number;
}): Inbound {
  const { identity, handlers, nowMs } = options;
  const streams = new Map<string, Stream>();
  const heard = new Map<PeerId, number>();
  const reported = new Set<string>();
  let closed = false;

  const reportOnce = (key: string, detail: string): void => {
    if (reported.has(key) || reported.size >= REPORTED_COUNT_MAX) return;
    reported.add(key);
    handlers.onRefused(detail);
  };

  function accept<I, O extends DescMessage>(
    channel: string,
    answer: O,
    deliver: (from: PeerId, request: I) => void,
  ): (call: ServerDuplexStream<I, MessageShape<O>>) => void {
    const answerMessage = create(answer);
    return (call) => {
      call.on('error', () => undefined); // a broken stream ends; the peer opens another
      const verdict = judgeHello(readHello(call.metadata), identity, hostOf(call));
      const refusal = verdict.kind === 'refused' ? verdict : rivalOf(verdict.from, verdict.run, hostOf(call));
      if (refusal !== undefined) {
        reportOnce(refusal.key, `refused ${refusal.reason}`);
        fail(call, status.FAILED_PRECONDITION, `refused ${refusal.reason}`);
        return;
      }
      if (verdict.kind === 'refused' || closed) {
        fail(call, status.UNAVAILABLE, `"${identity.self}" is stopping`);
        return;
      }
      const { from, run } = verdict;
      const key = `${from} ${channel}`;
      const stream: Stream = { run, call: call as ServerDuplexStream<unknown, unknown> };
      const replaced = streams.get(key);
      streams.set(key, stream);
      if (replaced !== undefined) fail(replaced.call, status.ABORTED, 'replaced by a newer stream');

      let answeredAtMs = nowMs();
      call.write(answerMessage);
      call.on('data', (request: I) => {
        if (streams.get(key) !== stream) return;
        const now = nowMs();
        heard.set(from, now);
        if (now - answeredAtMs >= ANSWER_EVERY_MS) {
          answeredAtMs = now;
          call.write(answerMessage);
        }
        try {
          deliver(from, request);
        } catch (error) {
          if (!(error instanceof DamagedMessage)) throw error;
          streams.delete(key);
          reportOnce(`damaged ${from}`, `refused a message of peer "${from}": ${error.message}`);
          fail(call, status.INVALID_ARGUMENT, error.message);
        }
      });
      const ended = (): void => {
        if (streams.get(key) === stream) streams.delete(key);
        call.end();
      };
      call.on('end', ended);
      call.on('cancelled', ended);
    };
  }

  /** Another living process that calls itself `from`: two votes under one name must not be. */
  function rivalOf(from: PeerId, run: string, origin: string): { key: string; reason: string } | undefined {
    const lately = nowMs() - (heard.get(from) ?? -Infinity) < RIVAL_MS;
    const rival = lately
      ? [...streams].find(([key, stream]) => key.startsWith(`${from} `) && stream.run !== run)?.[1]
      : undefined;
    if (rival === undefined) return undefined;
    const reason = `peer "${from}" at ${origin}: another process at ${hostOf(rival.call)} has that name; stop one of them`;
    return { key: `rival ${from} ${run}`, reason };
  }

  const deliverMessages = (from: PeerId, messages: readonly WireMessage[]): void => {
    for (const wire of messages) {
      const message = checked(() => decodeRaftMessage(wire));
      if (message !== undefined) handlers.onMessage(from, message);
      else {
        const detail = `left a message of peer "${from}" unread: its kind is not known here; upgrade this peer`;
        reportOnce(`unknown ${from}`, detail);
      }
    }
  };

  return {
    implementation: {
      append: accept<AppendRequest, typeof AppendResponseSchema>(
        'append',
        AppendResponseSchema,
        (from, request) => deliverMessages(from, request.messages),
      ),
      control: accept<ControlRequest, typeof ControlResponseSchema>(
        'control',
        ControlResponseSchema,
        (from, request) => {
          deliverMessages(from, request.messages);
          for (const report of request.reports)
            handlers.onReport(
              from,
              checked(() => decodeReport(report)),
            );
        },
      ),
    },
    heardAtMs: (peer) => heard.get(peer),
    close() {
      closed = true;
      for (const { call } of streams.values()) call.end();
      streams.clear();
    },
  };
}

class DamagedMessage extends Error {
  override readonly name = 'DamagedMessage';
}

/** Decodes; what the checking constructors object to is the sender's fault and must not end this process. */
function checked<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof InvariantError) throw new DamagedMessage(error.message, { cause: error });
    throw error;
  }
}

/** Without the port, which differs for each connection. */
function hostOf(call: { getPeer(): string }): string {
  return call.getPeer().replace(/:\d+$/, '');
}

function fail(call: { emit(event: 'error', error: object): boolean }, code: status, details: string): void {
  call.emit('error', { code, details });
}
