// One one-way link to one peer: a gRPC channel of its own with one stream on it, opened again whenever it breaks.
// Driven by `tick`; must never block the caller of `pump`, never hold more than one frame, and never trust a
// connection that has not answered lately (the receiver answers while it reads, see inbound.ts).
import { connect as connectTcp, type Socket } from 'node:net';
import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { type ChannelOptions, type ClientDuplexStream, type Metadata, status } from '@grpc/grpc-js';
import { type OwnedChannel, openChannel } from './channel.ts';
import { methodDefinition, targetOf, type TypedMethod } from './grpc-adapter.ts';

/** Times in milliseconds. */
export interface LinkTimes {
  /** A connection that is not there after this is given up and tried anew: a lost SYN must not be waited for. */
  readonly connectMs: number;
  /** After a connection that was closed or refused; doubles with each failure up to `retryMaxMs`. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** After the peer refused who we are. */
  readonly refusedRetryMs: number;
  /** An idle link sends an empty frame this often. */
  readonly pingMs: number;
  /** Nothing heard for this long: the connection is given up. */
  readonly silenceMs: number;
}

export interface LinkOptions<I extends DescMessage, O extends DescMessage> {
  readonly address: { readonly host: string; readonly port: number };
  readonly method: TypedMethod<I, O>;
  readonly metadata: Metadata;
  readonly channelOptions: ChannelOptions;
  readonly times: LinkTimes;
  readonly nowMs: () => number;
  /** The next frame to send, or undefined where nothing waits. */
  readonly nextFrame: () => MessageShape<I> | undefined;
  readonly emptyFrame: MessageShape<I>;
  /** False: do not connect now (the append link waits for the control link). */
  readonly mayConnect: () => boolean;
  readonly onOpen: () => void;
  /** An open link broke. */
  readonly onLost: (reason: string) => void;
  /** An attempt to connect failed. */
  readonly onFailed: (reason: string) => void;
  readonly onRefused: (reason: string) => void;
}

/** A TCP connection that only finds out whether there is a way: grpc-js cannot abandon a SYN that got lost. */
interface Probe {
  readonly socket: Socket;
  startedAtMs: number;
}

interface Connection<I extends DescMessage, O extends DescMessage> {
  readonly channel: OwnedChannel;
  readonly call: ClientDuplexStream<MessageShape<I>, MessageShape<O>>;
  open: boolean;
  heardAtMs: number;
  sentAtMs: number;
  writing: boolean;
}

export class Link<I extends DescMessage, O extends DescMessage> {
  readonly #options: LinkOptions<I, O>;
  #probe: Probe | undefined;
  #connection: Connection<I, O> | undefined;
  #retryAtMs = 0;
  #retryMs: number;
  #closed = false;

  constructor(options: LinkOptions<I, O>) {
    this.#options = options;
    this.#retryMs = options.times.retryMinMs;
  }

  get isOpen(): boolean {
    return this.#connection?.open ?? false;
  }

  /** Sends what `nextFrame` has, as far as the connection takes it. One frame is in the stream at a time. */
  pump(): void {
    const connection = this.#connection;
    if (connection === undefined || !connection.open || connection.writing) return;
    const frame = this.#options.nextFrame();
    if (frame !== undefined) this.#write(connection, frame);
  }

  /** To be called about every 100 ms. `stalled`: this process did not run for a while, so silence proves nothing. */
  tick(nowMs: number, stalled: boolean): void {
    const { times } = this.#options;
    const connection = this.#connection;
    if (this.#probe !== undefined) this.#tickProbe(this.#probe, nowMs, stalled);
    else if (connection === undefined) {
      if (nowMs >= this.#retryAtMs) this.connect(nowMs);
    } else {
      if (stalled) connection.heardAtMs = nowMs;
      const silentMs = nowMs - connection.heardAtMs;
      if (silentMs > (connection.open ? times.silenceMs : times.connectMs)) {
        this.#drop(connection, noAnswer(silentMs));
        this.connect(nowMs);
      } else if (connection.open && !connection.writing && nowMs - connection.sentAtMs >= times.pingMs) {
        this.#write(connection, this.#options.emptyFrame);
      }
    }
  }

  /** Connects now unless there is a connection or an attempt, or it may not. */
  connect(nowMs: number): void {
    if (this.#closed || this.#connection !== undefined || this.#probe !== undefined) return;
    if (!this.#options.mayConnect()) return;
    const socket = connectTcp({ ...this.#options.address, noDelay: true });
    const probe: Probe = { socket, startedAtMs: nowMs };
    this.#probe = probe;
    socket.once('connect', () => {
      socket.destroy();
      if (probe !== this.#probe) return;
      this.#probe = undefined;
      this.#openStream();
    });
    socket.on('error', (error) => {
      if (probe !== this.#probe) return;
      this.#probe = undefined;
      this.#options.onFailed(error.message);
      this.#retryLater();
    });
  }

  /** Gives up a connection that has not been heard since `ms`, and connects anew. */
  renewUnlessHeardSince(ms: number, nowMs: number): void {
    const connection = this.#connection;
    if (connection !== undefined && connection.heardAtMs < ms) {
      this.#drop(connection, 'the peer was lost and came back');
    }
    this.connect(nowMs);
  }

  /** Ends the stream, lets it drain for at most `drainMs`, and frees the channel. */
  async close(drainMs: number): Promise<void> {
    this.#closed = true;
    this.#endProbe();
    const connection = this.#connection;
    if (connection === undefined) return;
    if (connection.open) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, drainMs);
        connection.call.once('status', () => {
          clearTimeout(timer);
          resolve();
        });
        connection.call.end();
      });
    }
    this.#connection = undefined;
    connection.call.cancel();
    connection.channel.destroy();
  }

  #tickProbe(probe: Probe, nowMs: number, stalled: boolean): void {
    if (stalled) probe.startedAtMs = nowMs;
    const waitedMs = nowMs - probe.startedAtMs;
    if (waitedMs <= this.#options.times.connectMs) return;
    this.#endProbe();
    this.#options.onFailed(noAnswer(waitedMs));
    this.connect(nowMs);
  }

  #endProbe(): void {
    this.#probe?.socket.destroy();
    this.#probe = undefined;
  }

  #openStream(): void {
    const { method, address, channelOptions, metadata, nowMs } = this.#options;
    const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
    const channel = openChannel(targetOf(address), channelOptions);
    const call = channel.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
    const now = nowMs();
    const connection: Connection<I, O> = {
      channel,
      call,
      open: false,
      heardAtMs: now,
      sentAtMs: now,
      writing: false,
    };
    this.#connection = connection;
    call.on('data', () => this.#heard(connection));
    call.on('error', () => undefined); // `status` follows and says the same
    call.on('status', (end) => this.#ended(connection, end.code, end.details));
  }

  #heard(connection: Connection<I, O>): void {
    if (connection !== this.#connection) return;
    connection.heardAtMs = this.#options.nowMs();
    if (connection.open) return;
    connection.open = true;
    this.#retryMs = this.#options.times.retryMinMs;
    this.#options.onOpen();
    this.pump();
    // Something is sent at once in any case, so that the peer knows that it is heard.
    if (!connection.writing) this.#write(connection, this.#options.emptyFrame);
  }

  #write(connection: Connection<I, O>, frame: MessageShape<I>): void {
    if (this.#closed) return;
    connection.writing = true;
    connection.sentAtMs = this.#options.nowMs();
    // Called when HTTP/2 flow control and the socket have taken the frame: this is the backpressure.
    connection.call.write(frame, () => {
      connection.writing = false;
      if (connection === this.#connection) this.pump();
    });
  }

  #ended(connection: Connection<I, O>, code: status, details: string): void {
    if (connection !== this.#connection) return;
    const { times, onRefused } = this.#options;
    const refused = code === status.FAILED_PRECONDITION;
    if (refused) onRefused(details);
    this.#drop(connection, refused ? undefined : details);
    if (refused) this.#retryAtMs = this.#options.nowMs() + times.refusedRetryMs;
    else this.#retryLater();
  }

  #retryLater(): void {
    this.#retryAtMs = this.#options.nowMs() + this.#retryMs;
    this.#retryMs = Math.min(this.#options.times.retryMaxMs, this.#retryMs * 2);
  }

  /** `reason` undefined: it has been reported otherwise. */
  #drop(connection: Connection<I, O>, reason: string | undefined): void {
    this.#connection = undefined;
    connection.call.cancel();
    connection.channel.destroy();
    if (connection.open) this.#options.onLost(reason ?? 'refused');
    else if (reason !== undefined) this.#options.onFailed(reason);
  }
}

function noAnswer(ms: number): string {
  return `no answer for ${Math.round(ms)} ms`;
}
