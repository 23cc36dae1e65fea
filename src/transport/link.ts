// One one-way link to one peer: a gRPC channel of its own with one stream on it, opened again whenever it breaks.
// Driven by `tick`; must never block the caller of `pump`, never hold more than one frame, and never trust a
// connection that has not answered lately (the receiver answers while it reads, see inbound.ts).
import type { DescMethod } from '@bufbuild/protobuf';
import { type ChannelOptions, type ClientDuplexStream, type Metadata, status } from '@grpc/grpc-js';
import { type OwnedChannel, openChannel } from './channel.ts';
import { EMPTY_FRAME } from './frame-codec.ts';
import { rawMethodDefinition, targetOf } from './grpc-adapter.ts';
import { createProbes, type Probes } from './probes.ts';

/** Times in milliseconds. */
export interface LinkTimes {
  /** After the way was found, the stream must be open within this, or within six times what finding it took. */
  readonly openMs: number;
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

export interface LinkOptions {
  readonly address: { readonly host: string; readonly port: number };
  readonly method: DescMethod;
  /** Asked for anew with each connection. */
  readonly metadata: () => Metadata;
  readonly channelOptions: ChannelOptions;
  readonly times: LinkTimes;
  readonly nowMs: () => number;
  /** The next frame to send, or undefined where nothing waits. */
  readonly nextFrame: () => Uint8Array | undefined;
  /** False: do not connect now (the append link waits for the control link). */
  readonly mayConnect: () => boolean;
  readonly onOpen: () => void;
  /** An open link broke. `orderly`: the peer ended it, since it is stopping. */
  readonly onLost: (reason: string, orderly: boolean) => void;
  /** An attempt to connect failed. */
  readonly onFailed: (reason: string) => void;
  /** The peer does not take us for what we say we are. */
  readonly onRefused: (reason: string, trailers: Metadata) => void;
}

interface Connection {
  readonly channel: OwnedChannel;
  readonly call: ClientDuplexStream<Uint8Array, Uint8Array>;
  readonly openWithinMs: number;
  open: boolean;
  heardAtMs: number;
  sentAtMs: number;
  writing: boolean;
}

const OPEN_MS_MAX = 3000;

export class Link {
  readonly #options: LinkOptions;
  readonly #probes: Probes;
  #connection: Connection | undefined;
  #retryAtMs = 0;
  #retryMs: number;
  #closed = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#retryMs = options.times.retryMinMs;
    this.#probes = createProbes({
      address: options.address,
      nowMs: options.nowMs,
      onFound: (tookMs) => this.#openStream(tookMs),
      onNoAnswer: (ms) => options.onFailed(noAnswer(ms)),
      onFailed: (reason) => {
        options.onFailed(reason);
        this.#retryLater();
      },
    });
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
    if (this.#probes.areUnderWay) this.#probes.tick(nowMs, stalled);
    else if (connection === undefined) {
      if (nowMs >= this.#retryAtMs) this.connect();
    } else {
      if (stalled) connection.heardAtMs = nowMs;
      const silentMs = nowMs - connection.heardAtMs;
      if (silentMs > (connection.open ? times.silenceMs : connection.openWithinMs)) {
        this.#drop(connection, noAnswer(silentMs));
        this.connect();
      } else if (connection.open && !connection.writing && nowMs - connection.sentAtMs >= times.pingMs) {
        this.#write(connection, EMPTY_FRAME);
      }
    }
  }

  /** Connects now unless there is a connection or an attempt, or it may not. */
  connect(): void {
    if (this.#closed || this.#connection !== undefined || this.#probes.areUnderWay) return;
    if (this.#options.mayConnect()) this.#probes.begin();
  }

  /** Gives up a connection that has not been heard since `ms`, and connects anew. */
  renewUnlessHeardSince(ms: number): void {
    const connection = this.#connection;
    if (connection !== undefined && connection.heardAtMs < ms) {
      this.#drop(connection, 'the peer was lost and came back');
    }
    this.connect();
  }

  /** Ends the stream, lets it drain for at most `drainMs`, and frees the channel. */
  async close(drainMs: number): Promise<void> {
    this.#closed = true;
    this.#probes.end();
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#connection = undefined;
    if (connection.open && drainMs > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, drainMs);
        connection.call.once('status', () => {
          clearTimeout(timer);
          resolve();
        });
        connection.call.end();
      });
    }
    connection.call.cancel();
    connection.channel.destroy();
  }

  #openStream(tookMs: number): void {
    const { method, address, channelOptions, metadata, nowMs, times } = this.#options;
    const { path, requestSerialize, responseDeserialize } = rawMethodDefinition(method);
    const channel = openChannel(targetOf(address), channelOptions);
    const call = channel.client.makeBidiStreamRequest<Uint8Array, Uint8Array>(
      path,
      requestSerialize,
      responseDeserialize,
      metadata(),
    );
    const now = nowMs();
    const connection: Connection = {
      channel,
      call,
      openWithinMs: Math.min(OPEN_MS_MAX, Math.max(times.openMs, 6 * tookMs)),
      open: false,
      heardAtMs: now,
      sentAtMs: now,
      writing: false,
    };
    this.#connection = connection;
    call.on('data', () => this.#heard(connection));
    call.on('error', () => undefined); // `status` follows and says the same
    call.on('status', (end) => this.#ended(connection, end.code, end.details, end.metadata));
  }

  #heard(connection: Connection): void {
    if (connection !== this.#connection) return;
    connection.heardAtMs = this.#options.nowMs();
    if (connection.open) return;
    connection.open = true;
    this.#retryMs = this.#options.times.retryMinMs;
    this.#options.onOpen();
    this.pump();
    // Something is sent at once in any case, so that the peer knows that it is heard.
    if (!connection.writing) this.#write(connection, EMPTY_FRAME);
  }

  #write(connection: Connection, frame: Uint8Array): void {
    if (this.#closed) return;
    connection.writing = true;
    connection.sentAtMs = this.#options.nowMs();
    // Called when HTTP/2 flow control and the socket have taken the frame: this is the backpressure.
    connection.call.write(frame, () => {
      connection.writing = false;
      if (connection === this.#connection) this.pump();
    });
  }

  #ended(connection: Connection, code: status, details: string, trailers: Metadata): void {
    if (connection !== this.#connection) return;
    const { times, onRefused } = this.#options;
    const refused = code === status.FAILED_PRECONDITION;
    if (refused) onRefused(details, trailers);
    this.#drop(connection, refused ? undefined : details, code === status.OK);
    if (refused) this.#retryAtMs = this.#options.nowMs() + times.refusedRetryMs;
    else this.#retryLater();
  }

  #retryLater(): void {
    this.#retryAtMs = this.#options.nowMs() + this.#retryMs;
    this.#retryMs = Math.min(this.#options.times.retryMaxMs, this.#retryMs * 2);
  }

  /** `reason` undefined: it has been reported otherwise. */
  #drop(connection: Connection, reason: string | undefined, orderly = false): void {
    this.#connection = undefined;
    connection.call.cancel();
    connection.channel.destroy();
    if (connection.open) this.#options.onLost(orderly ? 'it is stopping' : (reason ?? 'refused'), orderly);
    else if (reason !== undefined) this.#options.onFailed(reason);
  }
}

function noAnswer(ms: number): string {
  return `no answer for ${Math.round(ms)} ms`;
}
