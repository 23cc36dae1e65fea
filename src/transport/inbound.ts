// The receiving end of the links: hands on what arrives in order, and answers now and then so that the sender knows the link
// to be alive. Must never deliver from a stream that was refused or replaced, and never end this process over what came in.
import {
  type Metadata,
  type ServerDuplexStream,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { Admission, Channel, Fail, Stream } from './admission.ts';
import { DamagedMessage } from './damaged.ts';
import { decodeFrame, EMPTY_FRAME } from './frame-codec.ts';
import type { TransportHandlers } from './types.ts';

export interface Inbound {
  readonly implementation: UntypedServiceImplementation;
  /** Ends every stream. */
  close(): void;
}

type LinkCall = ServerDuplexStream<Uint8Array, Uint8Array>;

/** The receiver answers at most this often; the sender pings a little less often when idle. */
const ANSWER_EVERY_MS = 700;
/** A larger control frame is refused: what is small must stay so, or a heartbeat waits behind it. */
export const CONTROL_BYTES_MAX = 256 << 10;

export function createInbound(options: {
  readonly admission: Admission;
  readonly handlers: Pick<TransportHandlers, 'onMessage' | 'onReport'>;
  readonly nowMs: () => number;
}): Inbound {
  const { admission, handlers, nowMs } = options;
  const calls = new Set<LinkCall>();

  const deliver = (stream: Stream, bytes: Uint8Array): void => {
    const { from, channel } = stream;
    if (channel === 'control' && bytes.length > CONTROL_BYTES_MAX) {
      throw new DamagedMessage(
        `a control frame of ${bytes.length} bytes; at most ${CONTROL_BYTES_MAX} are taken`,
      );
    }
    const { messages, reports, unknownCount } = decodeFrame(bytes);
    if (unknownCount > 0) {
      const detail = `left a message of peer "${from}" unread: its kind is not known here; upgrade this peer`;
      admission.reportOnce(`unknown ${from}`, detail);
    }
    for (const message of messages) handlers.onMessage(from, message);
    for (const report of reports) handlers.onReport(from, report);
  };

  const accept =
    (channel: Channel) =>
    (call: LinkCall): void => {
      call.on('error', () => undefined); // a broken stream ends; the peer opens another
      const fail = failing(call);
      const stream = admission.admit(channel, call, fail);
      if (stream === undefined) return;
      calls.add(call);
      let answeredAtMs = nowMs();
      call.write(EMPTY_FRAME);
      call.on('data', (bytes: Uint8Array) => {
        if (!admission.isOpen(stream)) return;
        admission.heard(stream);
        const now = nowMs();
        if (now - answeredAtMs >= ANSWER_EVERY_MS) {
          answeredAtMs = now;
          call.write(EMPTY_FRAME);
        }
        try {
          deliver(stream, bytes);
        } catch (error) {
          if (!(error instanceof DamagedMessage)) throw error;
          admission.ended(stream);
          const detail = `refused a message of peer "${stream.from}": ${error.message}`;
          admission.reportOnce(`damaged ${stream.from}`, detail);
          fail(status.INVALID_ARGUMENT, error.message);
        }
      });
      const ended = (): void => {
        admission.ended(stream);
        calls.delete(call);
        call.end();
      };
      call.on('end', ended);
      call.on('cancelled', ended);
    };

  return {
    implementation: { append: accept('append'), control: accept('control') },
    close() {
      for (const call of calls) call.end();
      calls.clear();
    },
  };
}

/** Ends a call the way grpc-js wants it. */
function failing(call: { emit(event: 'error', error: object): boolean }): Fail {
  return (code: status, details: string, metadata?: Metadata) =>
    void call.emit('error', { code, details, ...(metadata === undefined ? {} : { metadata }) });
}
