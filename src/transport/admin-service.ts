// The admin service as gRPC serves it: requests to handlers, views to messages. Decides nothing itself.
// Must never let a slow watcher pile up statuses: it gets the latest one when it is ready again.
import { create } from '@bufbuild/protobuf';
import {
  type sendUnaryData,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { isName, nodeId } from '../base/ids.ts';
import {
  type EventsRequest,
  type EventsResponse,
  EventsResponseSchema,
  type FailoverRequest,
  type FailoverResponse,
  type SettingsRequest,
  type SettingsResponse,
  type SteerRequest,
  type SteerResponse,
  type StatusRequest,
  type StatusResponse,
  StatusResponseSchema,
  type WatchRequest,
  type WatchResponse,
  WatchResponseSchema,
} from '../gen/pg_sentinel/v1/admin_pb.ts';
import { encodeEvent, encodeOutcome, encodeStatus } from './admin-codec.ts';
import { type Lifetime, messageOf, peerImplementation } from './admin-peer-service.ts';
import { encodeSettingsOutcome } from './settings-view-codec.ts';
import { BadSteerRequest, decodeSteerRequest, encodeSteerOutcome } from './steer-codec.ts';
import type { AdminHandlers, StatusView, SteerOutcome } from './types.ts';

export interface AdminService {
  readonly implementation: UntypedServiceImplementation;
  /** Ends the watches and aborts what is under way. */
  close(): void;
}

/** More watchers at once are refused. */
export const WATCHER_COUNT_MAX = 64;

export function createAdminService(handlers: AdminHandlers): AdminService {
  const underWay = new Set<AbortController>();
  let watcherCount = 0;

  function lifetime(call: { on(event: 'cancelled', listener: () => void): unknown }): Lifetime {
    const controller = new AbortController();
    underWay.add(controller);
    const abort = (): void => controller.abort();
    call.on('cancelled', abort);
    return {
      signal: controller.signal,
      done() {
        underWay.delete(controller);
        controller.abort();
      },
    };
  }

  return {
    implementation: {
      status(_call: ServerUnaryCall<StatusRequest, StatusResponse>, answer: sendUnaryData<StatusResponse>) {
        answer(null, create(StatusResponseSchema, { status: encodeStatus(handlers.status()) }));
      },

      settings(
        call: ServerUnaryCall<SettingsRequest, SettingsResponse>,
        answer: sendUnaryData<SettingsResponse>,
      ) {
        answer(null, encodeSettingsOutcome(handlers.settings({ group: call.request.group })));
      },

      events(call: ServerUnaryCall<EventsRequest, EventsResponse>, answer: sendUnaryData<EventsResponse>) {
        const { group, limit } = call.request;
        const events = handlers.events({ group, limit });
        answer(null, create(EventsResponseSchema, { events: events.map(encodeEvent) }));
      },

      failover(
        call: ServerUnaryCall<FailoverRequest, FailoverResponse>,
        answer: sendUnaryData<FailoverResponse>,
      ) {
        const { group, to, dryRun, acceptDataLoss, oldPrimaryIsOff } = call.request;
        if (to !== undefined && !isName(to)) {
          answer({ code: status.INVALID_ARGUMENT, details: `"${to}" is not the name of a node` });
          return;
        }
        const { signal, done } = lifetime(call);
        handlers
          .failover(
            {
              group,
              to: to === undefined ? undefined : nodeId(to),
              dryRun,
              acceptDataLoss,
              oldPrimaryIsOff,
            },
            signal,
          )
          .then(
            (outcome) => answer(null, encodeOutcome(outcome)),
            (error: unknown) => answer({ code: status.UNKNOWN, details: messageOf(error) }),
          )
          .finally(done);
      },

      steer(call: ServerUnaryCall<SteerRequest, SteerResponse>, answer: sendUnaryData<SteerResponse>) {
        const { signal, done } = lifetime(call);
        const began = async (): Promise<SteerOutcome> =>
          handlers.steer(decodeSteerRequest(call.request), signal);
        began()
          .then(
            (outcome) => answer(null, encodeSteerOutcome(outcome)),
            (error: unknown) => {
              const code = error instanceof BadSteerRequest ? status.INVALID_ARGUMENT : status.UNKNOWN;
              answer({ code, details: messageOf(error) });
            },
          )
          .finally(done);
      },

      ...peerImplementation(handlers.peers, lifetime),

      watch(call: ServerWritableStream<WatchRequest, WatchResponse>) {
        call.on('error', () => undefined);
        if (watcherCount >= WATCHER_COUNT_MAX) {
          const details = `there are ${WATCHER_COUNT_MAX} watchers already; end some`;
          call.emit('error', { code: status.RESOURCE_EXHAUSTED, details });
          return;
        }
        watcherCount += 1;
        const { signal, done } = lifetime(call);
        call.on('cancelled', done);
        call.on('close', done);
        signal.addEventListener(
          'abort',
          () => {
            watcherCount -= 1;
            done();
            call.end();
          },
          { once: true },
        );
        watchLatest(call, signal, handlers);
      },
    },
    close() {
      for (const controller of underWay) controller.abort();
    },
  };
}

/** Writes each status, or only the latest where the caller reads more slowly than they come. */
function watchLatest(
  call: ServerWritableStream<WatchRequest, WatchResponse>,
  signal: AbortSignal,
  handlers: AdminHandlers,
): void {
  let writing = false;
  let waiting: StatusView | undefined;
  const write = (view: StatusView): void => {
    writing = true;
    call.write(create(WatchResponseSchema, { status: encodeStatus(view) }), () => {
      writing = false;
      const next = waiting;
      waiting = undefined;
      if (next !== undefined && !signal.aborted) write(next);
    });
  };
  handlers.watch((view) => {
    if (signal.aborted) return;
    if (writing) waiting = view;
    else write(view);
  }, signal);
}
