// What `sentinelctl fence`, `unfence`, `ack`, `settings`, `pause`, `maintenance` and `failover --at` ask, to its wire form and back. Must never pass on a name
// or a word that is none: what is asked for is changed in the log.
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { unreachable } from '../base/assert.ts';
import { isName, NAME_RULE, type NodeId, nodeId } from '../base/ids.ts';
import { settingsLevel } from '../cluster/apply-settings.ts';
import type { Durability, GroupSettings } from '../cluster/commands.ts';
import { FEATURES, PARAMETERS_FEATURE_LEVEL } from '../cluster/features.ts';
import { decodeSlotChanges, encodeSlotChanges } from '../cluster/slots-codec.ts';
import { decodeConfigure, encodeConfigure } from '../cluster/settings-codec.ts';
import * as pb from '../gen/pg_sentinel/v1/admin_pb.ts';
import {
  NODE_ACTIONS,
  type PlannedRequest,
  type SettingsPlan,
  type SteerOutcome,
  type SteerRequest,
} from './types.ts';

type RequestInit = MessageInitShape<typeof pb.SteerRequestSchema>;

/** The request does not make sense; its message is for a person. */
export class BadSteerRequest extends Error {
  override readonly name = 'BadSteerRequest';
}

export function encodeSteerRequest(request: SteerRequest): RequestInit {
  switch (request.kind) {
    case 'plan':
      return { request: { case: 'plan', value: { request: encodeSteerRequest(request.of) } } };
    case 'fence':
    case 'unfence':
      return { request: { case: request.kind, value: { node: request.node } } };
    case 'acknowledge':
      return { request: { case: 'acknowledge', value: { group: request.group } } };
    case 'schedule': {
      const { group, at } = request;
      const value = at === undefined ? { group } : { group, at: { atMs: BigInt(at.atMs), to: at.to } };
      return { request: { case: 'schedule', value } };
    }
    case 'settings': {
      const { group, change: settings, parameters = [], hba, logicalSlots, onlyRevision, by = '' } = request;
      const revision = onlyRevision === undefined ? {} : { onlyRevision };
      const configuring = { group, ...encodeConfigure({ settings, parameters, by, ...revision }) };
      // Requests of their own: an older peer must not do a part of it and say that it is done.
      if (logicalSlots !== undefined) {
        const value = { configuring, ...encodeSlotChanges(logicalSlots, hba) };
        return { request: { case: 'configureLogicalSlots', value } };
      }
      if (hba !== undefined)
        return { request: { case: 'configureHba', value: { configuring, hba: [...hba] } } };
      const featureLevel = settingsLevel(settings);
      if (featureLevel > PARAMETERS_FEATURE_LEVEL)
        return { request: { case: 'configureLater', value: { configuring, featureLevel } } };
      if (parameters.length > 0 || onlyRevision !== undefined)
        return { request: { case: 'configure', value: configuring } };
      const { durability, acks, leaseMs, maxLagBytes, maxFailovers, failoverWindowMs } = settings;
      const value = {
        group,
        by,
        durability,
        acks,
        leaseMs: wholeOf(leaseMs),
        maxLagBytes: wholeOf(maxLagBytes),
        maxFailovers,
        failoverWindowMs: wholeOf(failoverWindowMs),
      };
      return { request: { case: 'settings', value } };
    }
    case 'pause': {
      const { group, node, forMs, dryRun } = request;
      return { request: { case: 'pause', value: { group, node, forMs: wholeOf(forMs), dryRun } } };
    }
    case 'resume': {
      const { group, node, dryRun } = request;
      return { request: { case: 'resume', value: { group, node, dryRun } } };
    }
    case 'maintenance': {
      const { node, to, forMs, dryRun } = request;
      return { request: { case: 'maintenance', value: { node, to, forMs: wholeOf(forMs), dryRun } } };
    }
    case 'node': {
      const { kind: _, ...value } = request;
      return { request: { case: 'nodeAction', value } };
    }
    case 'schedule-restart': {
      const { node, atMs, inPlace, dryRun } = request;
      const value = { node, atMs: wholeOf(atMs), inPlace, dryRun };
      return { request: { case: 'scheduleRestart', value } };
    }
    case 'adopt':
      return { request: { case: 'adopt', value: { group: request.group, dryRun: request.dryRun } } };
    case 'promote-site': {
      const { group, dryRun, to } = request;
      return { request: { case: 'promoteSite', value: { group, dryRun, to } } };
    }
    case 'lead-site': {
      const { node, dryRun, acceptsLoss = false } = request;
      return { request: { case: 'leadSite', value: { node, dryRun, acceptsLoss } } };
    }
    default:
      return unreachable(request);
  }
}

/** Throws {@link BadSteerRequest}. */
export function decodeSteerRequest(message: pb.SteerRequest): SteerRequest {
  const { case: kind, value } = message.request;
  switch (kind) {
    case 'plan':
      return { kind, of: plannedOf(value) };
    case 'fence':
    case 'unfence':
      return { kind, node: nodeOf(value.node) };
    case 'acknowledge':
      return { kind, group: value.group };
    case 'schedule': {
      const { group, at } = value;
      const to = at?.to === undefined ? undefined : nodeOf(at.to);
      return { kind, group, at: at && { atMs: Number(at.atMs), to } };
    }
    case 'settings':
      return { kind, group: value.group, change: changeOf(value), ...byOf(value.by) };
    case 'configure':
      return configureOf(value);
    case 'configureLater':
      if (value.configuring === undefined || value.featureLevel > FEATURES)
        throw new BadSteerRequest(
          'this peer does not know all of what was asked for; is it of an older version?',
        );
      return configureOf(value.configuring);
    case 'configureHba':
      if (value.configuring === undefined) throw new BadSteerRequest('what is to be configured is missing');
      return { ...configureOf(value.configuring), hba: value.hba };
    case 'configureLogicalSlots':
      if (value.configuring === undefined) throw new BadSteerRequest('what is to be configured is missing');
      return { ...configureOf(value.configuring), ...decodeSlotChanges(value) };
    case 'pause': {
      const { group, dryRun } = value;
      return { kind, group, node: optionalNode(value.node), forMs: numberOf(value.forMs), dryRun };
    }
    case 'resume':
      return { kind, group: value.group, node: optionalNode(value.node), dryRun: value.dryRun };
    case 'maintenance': {
      const { node, to, forMs, dryRun } = value;
      return { kind, node: nodeOf(node), to: optionalNode(to), forMs: numberOf(forMs), dryRun };
    }
    case 'nodeAction': {
      const { node, inPlace, dryRun } = value;
      const action = NODE_ACTIONS.find((word) => word === value.action);
      if (action === undefined)
        throw new BadSteerRequest(
          `this peer does not know how to ${value.action} a node; is it of an older version?`,
        );
      const destroy = value.destroy ? ({ destroy: true } as const) : {};
      const acceptsLoss = value.acceptsLoss ? ({ acceptsLoss: true } as const) : {};
      return { kind: 'node', node: nodeOf(node), action, inPlace, dryRun, ...destroy, ...acceptsLoss };
    }
    case 'scheduleRestart': {
      const { node, atMs, inPlace, dryRun } = value;
      return { kind: 'schedule-restart', node: nodeOf(node), atMs: numberOf(atMs), inPlace, dryRun };
    }
    case 'adopt':
      return { kind, group: value.group, dryRun: value.dryRun };
    case 'promoteSite':
      return {
        ...{ kind: 'promote-site', group: value.group, dryRun: value.dryRun },
        ...(value.to === undefined ? {} : { to: nodeOf(value.to) }),
      };
    case 'leadSite':
      return {
        ...{ kind: 'lead-site', node: nodeOf(value.node), dryRun: value.dryRun },
        ...(value.acceptsLoss ? { acceptsLoss: true } : {}),
      };
    case undefined:
      throw new BadSteerRequest('this peer does not know what was asked for; is it of an older version?');
    default:
      return unreachable(kind);
  }
}

function plannedOf({ request }: pb.SteerRequest_Planning): PlannedRequest {
  if (request === undefined) throw new BadSteerRequest('what is to be planned is missing');
  if (request.request.case === 'plan') throw new BadSteerRequest('a plan of a plan was asked for');
  const of = decodeSteerRequest(request);
  switch (of.kind) {
    case 'fence':
    case 'unfence':
    case 'acknowledge':
    case 'schedule':
    case 'settings':
      return of;
    default:
      throw new BadSteerRequest(`this peer makes no plan of ${of.kind}; is it of an older version?`);
  }
}

export function encodeSteerOutcome(outcome: SteerOutcome): pb.SteerResponse {
  switch (outcome.kind) {
    case 'done':
      return create(pb.SteerResponseSchema, {
        outcome: { case: 'done', value: doneValueOf(outcome) },
      });
    case 'refused':
      return create(pb.SteerResponseSchema, {
        outcome: { case: 'refused', value: { reason: outcome.reason } },
      });
    case 'elsewhere': {
      const { peer, address } = outcome;
      return create(pb.SteerResponseSchema, { outcome: { case: 'elsewhere', value: { peer, address } } });
    }
    default:
      return unreachable(outcome);
  }
}

/** `undefined` for an outcome of a later version. */
export function decodeSteerOutcome(response: pb.SteerResponse): SteerOutcome | undefined {
  const { case: kind, value } = response.outcome;
  switch (kind) {
    case 'done':
      return { kind, detail: value.detail, ...planOf(value.settings) };
    case 'refused':
      return { kind, reason: value.reason };
    case 'elsewhere':
      return { kind, peer: value.peer, address: value.address };
    case undefined:
      return undefined;
    default:
      return unreachable(kind);
  }
}

function doneValueOf({
  detail,
  settings,
}: Extract<SteerOutcome, { readonly kind: 'done' }>): MessageInitShape<typeof pb.SteerResponse_DoneSchema> {
  if (settings === undefined) return { detail };
  const { changes, lateParameters, restartNodes } = settings;
  return {
    detail,
    settings: {
      changes: changes.map((each) => ({ ...each })),
      lateParameters: [...lateParameters],
      restartNodes: [...restartNodes],
    },
  };
}

function planOf(plan: pb.SettingsPlan | undefined): { readonly settings?: SettingsPlan } {
  if (plan === undefined) return {};
  const { lateParameters, restartNodes } = plan;
  const changes = plan.changes.map(({ key, from, to }) => ({ key, from, to }));
  return { settings: { changes, lateParameters, restartNodes } };
}

const DURABILITIES: readonly Durability[] = ['quorum', 'strict', 'async'];

function durabilityOf(text: string): Durability | undefined {
  return DURABILITIES.find((word) => word === text);
}

/** Only what is there. */
function changeOf(value: pb.SteerRequest_Settings): Partial<GroupSettings> {
  const durability = value.durability === undefined ? undefined : durabilityOf(value.durability);
  if (value.durability !== undefined && durability === undefined)
    throw new BadSteerRequest(`durability ${value.durability} is not known here`);
  const change = {
    durability,
    acks: value.acks,
    leaseMs: numberOf(value.leaseMs),
    maxLagBytes: numberOf(value.maxLagBytes),
    maxFailovers: value.maxFailovers,
    failoverWindowMs: numberOf(value.failoverWindowMs),
  };
  const given = Object.entries(change).filter(([, part]) => part !== undefined);
  return Object.fromEntries(given) as Partial<GroupSettings>;
}

function configureOf(
  value: pb.SteerRequest_Configuring,
): Extract<SteerRequest, { readonly kind: 'settings' }> {
  let asked: ReturnType<typeof decodeConfigure>;
  try {
    asked = decodeConfigure(value);
  } catch (error) {
    throw new BadSteerRequest((error as Error).message);
  }
  const { settings: change, parameters, onlyRevision, by } = asked;
  const revision = onlyRevision === undefined ? {} : { onlyRevision };
  return { kind: 'settings', group: value.group, change, parameters, ...revision, ...byOf(by) };
}

const byOf = (by: string): { readonly by?: string } => (by === '' ? {} : { by });

function nodeOf(text: string): NodeId {
  if (isName(text)) return nodeId(text);
  throw new BadSteerRequest(`"${text}" is not the name of a node: expected ${NAME_RULE}`);
}

function optionalNode(text: string | undefined): NodeId | undefined {
  return text === undefined ? undefined : nodeOf(text);
}

function wholeOf(value: number | undefined): bigint | undefined {
  return value === undefined ? undefined : BigInt(Math.round(value));
}

function numberOf(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}
