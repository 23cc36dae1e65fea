// `sentinelctl peer` over gRPC: changes of who takes part, carried to the leader. Must never ask a second peer for a change
// that may have been made: only a peer that said it is not the leader is passed over.
import type { MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { PeerId } from '../base/ids.ts';
import { AdminService, type PeerChangeOutcome as WireOutcome } from '../gen/pg_sentinel/v1/admin_pb.ts';
import { decodePeerChange, decodePeerList } from './admin-codec.ts';
import { AdminError, withUnknownOutcome } from './admin-errors.ts';
import type { TypedMethod } from './grpc-adapter.ts';
import type { PeerChangeOutcome, PeerListView } from './types.ts';

export interface ChangeCall {
  /** For all of it, by default {@link CHANGE_TIMEOUT_MS}. */
  readonly timeoutMs?: number;
  /** Gives up waiting; what was asked for may be done all the same. */
  readonly signal?: AbortSignal;
}

/**
 * Every method rejects with {@link AdminError}. A change that the peer at hand cannot make, since it does not lead, is asked of
 * the leader it names and of the other addresses that are known, each once; `not-leader` where none of them leads.
 */
export interface PeerClient {
  /** As the peer at hand knows it. */
  list(): Promise<PeerListView>;
  /** `address` is `host:port`. */
  add(
    request: { readonly peer: PeerId; readonly address: string; readonly learnerOnly: boolean },
    call?: ChangeCall,
  ): Promise<PeerChangeOutcome>;
  promote(request: { readonly peer: PeerId }, call?: ChangeCall): Promise<PeerChangeOutcome>;
  remove(request: { readonly peer: PeerId }, call?: ChangeCall): Promise<PeerChangeOutcome>;
  move(
    request: { readonly peer: PeerId; readonly address: string },
    call?: ChangeCall,
  ): Promise<PeerChangeOutcome>;
  transfer(request: { readonly to: PeerId }, call?: ChangeCall): Promise<PeerChangeOutcome>;
  /** Asked of the peer at hand only. */
  recover(request: { readonly lost: readonly PeerId[] }, call?: ChangeCall): Promise<PeerChangeOutcome>;
}

/** One request to one peer. */
export type Ask = <I extends TypedMethod['input'], O extends TypedMethod['output']>(
  method: TypedMethod<I, O>,
  request: MessageInitShape<I>,
  call: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
) => Promise<MessageShape<O>>;

export interface AskedPeer {
  readonly address: string;
  readonly ask: Ask;
  close(): void;
}

const CHANGE_TIMEOUT_MS = 60_000;
/** A peer that does not answer a question about its status within this is not asked for the change. */
const LOOK_MS = 1000;

export function createPeerClient(options: {
  readonly here: Omit<AskedPeer, 'close'>;
  /** Known addresses; may include that of `here`. */
  readonly addresses: readonly string[];
  readonly open: (address: string) => AskedPeer;
  /** For `list`. */
  readonly timeoutMs: number;
}): PeerClient {
  const { here } = options;
  const { method } = AdminService;

  /** `ask` is called with one peer after the other until one leads. */
  async function onLeader(
    ask: (peer: Omit<AskedPeer, 'close'>, timeoutMs: number) => Promise<PeerChangeOutcome>,
    { timeoutMs = CHANGE_TIMEOUT_MS }: ChangeCall,
  ): Promise<PeerChangeOutcome> {
    const deadlineMs = performance.now() + timeoutMs;
    const leftMs = (): number => deadlineMs - performance.now();
    const tried = new Set([here.address]);
    let outcome = await ask(here, timeoutMs);
    while (outcome.kind === 'not-leader') {
      const candidates = [outcome.leader?.address, ...options.addresses];
      const address = candidates.find((each) => each !== undefined && !tried.has(each));
      if (address === undefined || leftMs() <= 0) return outcome;
      tried.add(address);
      const other = options.open(address);
      try {
        if (!(await answers(other, Math.min(LOOK_MS, leftMs())))) continue;
        const next = await ask(other, Math.max(1, leftMs()));
        // Whoever knows no leader knows less than the one before.
        if (next.kind !== 'not-leader' || next.leader !== undefined) outcome = next;
      } finally {
        other.close();
      }
    }
    return outcome;
  }

  /** A method whose answer is the outcome. */
  const change =
    <I extends TypedMethod['input'], O extends TypedMethod['output']>(
      changing: TypedMethod<I, O>,
      request: MessageInitShape<I>,
      outcomeOf: (response: MessageShape<O>) => WireOutcome | undefined,
      signal: AbortSignal | undefined,
    ) =>
    async (peer: Omit<AskedPeer, 'close'>, timeoutMs: number): Promise<PeerChangeOutcome> => {
      const response = await peer.ask(changing, request, { timeoutMs, signal }).catch((error: unknown) => {
        throw withUnknownOutcome(error, 'the change was made', 'sentinelctl peer list');
      });
      const outcome = decodePeerChange(outcomeOf(response));
      if (outcome === undefined)
        throw new AdminError('failed', `${peer.address}: outcome unknown to this version`);
      return outcome;
    };

  return {
    async list() {
      return decodePeerList(await here.ask(method.peerList, {}, { timeoutMs: options.timeoutMs }));
    },
    add: (request, call = {}) =>
      onLeader(
        change(method.peerAdd, { ...request }, (response) => response.outcome, call.signal),
        call,
      ),
    promote: (request, call = {}) =>
      onLeader(
        change(method.peerPromote, { ...request }, (response) => response.outcome, call.signal),
        call,
      ),
    remove: (request, call = {}) =>
      onLeader(
        change(method.peerRemove, { ...request }, (response) => response.outcome, call.signal),
        call,
      ),
    move: (request, call = {}) =>
      onLeader(
        change(method.peerMove, { ...request }, (response) => response.outcome, call.signal),
        call,
      ),
    transfer: (request, call = {}) =>
      onLeader(
        change(method.peerTransfer, { ...request }, (response) => response.outcome, call.signal),
        call,
      ),
    recover: ({ lost }, { timeoutMs = CHANGE_TIMEOUT_MS, signal } = {}) =>
      change(
        method.peerRecover,
        { confirm: [...lost] },
        (response) => response.outcome,
        signal,
      )(here, timeoutMs),
  };
}

/** Whether the peer answers at all: then what fails later has failed after it may have been done. */
async function answers(peer: AskedPeer, timeoutMs: number): Promise<boolean> {
  try {
    await peer.ask(AdminService.method.status, {}, { timeoutMs: Math.max(1, timeoutMs) });
    return true;
  } catch {
    return false;
  }
}
