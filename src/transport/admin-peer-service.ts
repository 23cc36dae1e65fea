// The part of the admin service that changes who takes part: requests checked and handed to the daemon. Decides nothing itself.
// Must never pass on a name or an address that is none.
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type sendUnaryData,
  type ServerUnaryCall,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { isName, NAME_RULE, type PeerId, peerId } from '../base/ids.ts';
import * as pb from '../gen/pg_sentinel/v1/admin_pb.ts';
import { encodePeerChange, encodePeerList } from './admin-codec.ts';
import { parseTarget } from './grpc-adapter.ts';
import type { PeerChangeOutcome, PeerHandlers } from './types.ts';

/** Aborts when the caller goes away or the service closes. Call `done` when the work is over. */
export interface Lifetime {
  readonly signal: AbortSignal;
  readonly done: () => void;
}

type UnaryCall<Request> = ServerUnaryCall<Request, unknown>;
type OutcomeInit = MessageInitShape<typeof pb.PeerChangeOutcomeSchema>;

/** More lost peers than a cluster has voters. */
const LOST_COUNT_MAX = 100;

class BadRequest extends Error {
  override readonly name = 'BadRequest';
}

export function peerImplementation(
  handlers: PeerHandlers,
  lifetime: (call: UnaryCall<unknown>) => Lifetime,
): UntypedServiceImplementation {
  /** A call that is answered by the outcome of `change`, which may throw {@link BadRequest}. */
  function changing<Request>(
    change: (request: Request, signal: AbortSignal) => Promise<PeerChangeOutcome>,
    respond: (outcome: OutcomeInit) => object,
  ) {
    return (call: UnaryCall<Request>, answer: sendUnaryData<unknown>): void => {
      const { signal, done } = lifetime(call);
      const began = async (): Promise<PeerChangeOutcome> => change(call.request, signal);
      began()
        .then(
          (outcome) => answer(null, respond(encodePeerChange(outcome))),
          (error: unknown) => {
            const code = error instanceof BadRequest ? status.INVALID_ARGUMENT : status.UNKNOWN;
            answer({ code, details: messageOf(error) });
          },
        )
        .finally(done);
    };
  }

  return {
    peerList(_call: UnaryCall<pb.PeerListRequest>, answer: sendUnaryData<unknown>) {
      answer(null, encodePeerList(handlers.list()));
    },
    peerAdd: changing(
      (request: pb.PeerAddRequest, signal) => {
        const { learnerOnly } = request;
        return handlers.add(
          { peer: peerNamed(request.peer), address: addressIn(request.address), learnerOnly },
          signal,
        );
      },
      (outcome) => create(pb.PeerAddResponseSchema, { outcome }),
    ),
    peerPromote: changing(
      (request: pb.PeerPromoteRequest, signal) => handlers.promote({ peer: peerNamed(request.peer) }, signal),
      (outcome) => create(pb.PeerPromoteResponseSchema, { outcome }),
    ),
    peerRemove: changing(
      (request: pb.PeerRemoveRequest, signal) => handlers.remove({ peer: peerNamed(request.peer) }, signal),
      (outcome) => create(pb.PeerRemoveResponseSchema, { outcome }),
    ),
    peerMove: changing(
      (request: pb.PeerMoveRequest, signal) =>
        handlers.move({ peer: peerNamed(request.peer), address: addressIn(request.address) }, signal),
      (outcome) => create(pb.PeerMoveResponseSchema, { outcome }),
    ),
    peerTransfer: changing(
      (request: pb.PeerTransferRequest, signal) => handlers.transfer({ to: peerNamed(request.to) }, signal),
      (outcome) => create(pb.PeerTransferResponseSchema, { outcome }),
    ),
    peerRecover: changing(
      (request: pb.PeerRecoverRequest, signal) => {
        if (request.confirm.length > LOST_COUNT_MAX)
          throw new BadRequest(`more than ${LOST_COUNT_MAX} lost peers`);
        return handlers.recover({ lost: request.confirm.map(peerNamed) }, signal);
      },
      (outcome) => create(pb.PeerRecoverResponseSchema, { outcome }),
    ),
  };
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function peerNamed(text: string): PeerId {
  if (isName(text)) return peerId(text);
  throw new BadRequest(
    `${JSON.stringify(text.slice(0, 40))} is not the name of a peer: expected ${NAME_RULE}`,
  );
}

function addressIn(text: string): string {
  if (parseTarget(text) !== undefined) return text;
  throw new BadRequest(
    `${JSON.stringify(text.slice(0, 80))} is not an address: expected HOST:PORT (an IPv6 address in brackets)`,
  );
}
