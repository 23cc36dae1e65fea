// What the benchmark asks of a replicated log of three members, whoever it is: ours and etcd answer to the same questions.
import type { View } from './wire.ts';

export interface Contestant {
  readonly name: 'pg-sentinel' | 'etcd';
  /** Names of the members, also of those that do not run. */
  readonly members: readonly string[];
  /** A connection of its own to one member. */
  open(member: string): Client;
  /** SIGKILL; resolves when the process is gone. */
  kill(member: string): Promise<void>;
  /** Starts a member that was killed, on its old data. */
  start(member: string): void;
  /** Throws when a member ended that nobody killed, and says why. */
  assertRunning(): void;
}

/** One gRPC channel. Nothing here has a deadline, so that none costs the generator: close the client to end what hangs. */
export interface Client {
  /** One unary call; resolves when the value is committed and durable on a majority. */
  propose(value: Buffer): Promise<void>;
  /** The same over one bidirectional stream, many values to a message. Undefined: the system has no such call. */
  readonly proposeBatched: ((value: Buffer) => Promise<void>) | undefined;
  view(): Promise<View>;
  close(): void;
}
