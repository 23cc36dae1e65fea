// What is wanted of a group, as `sentinelctl settings` shows it, to its wire form and back.
import { create } from '@bufbuild/protobuf';
import { unreachable } from '../base/assert.ts';
import { logIndex } from '../base/ids.ts';
import { decodeSlotStanding, decodeWanted, encodeWanted } from '../cluster/slots-codec.ts';
import { decodeRecord, decodeSettings, encodeRecord, encodeSettings } from '../cluster/settings-codec.ts';
import * as pb from '../gen/pg_sentinel/v1/admin_pb.ts';
import type { SettingsOutcome, SettingsView } from './types.ts';

export function encodeSettingsOutcome(outcome: SettingsOutcome): pb.SettingsResponse {
  return create(pb.SettingsResponseSchema, {
    outcome:
      outcome.kind === 'refused'
        ? { case: 'refused', value: outcome.reason }
        : { case: 'view', value: encodeView(outcome.view) },
  });
}

function encodeView(view: SettingsView): pb.SettingsView {
  return create(pb.SettingsViewSchema, {
    group: view.group,
    revision: BigInt(view.revision),
    settings: encodeSettings(view.settings),
    parameters: view.parameters.map(({ name, value, pendingRestart, overrides }) => ({
      name,
      value,
      pendingRestart: [...pendingRestart],
      overrides: [...overrides],
    })),
    history: view.history.map(encodeRecord),
    pendingOthers: (view.pendingOthers ?? []).map(({ name, nodes }) => ({ name, nodes: [...nodes] })),
    hba: [...view.hba],
    hbaPending: view.hbaPending.map(({ node, reason }) => ({ node, reason })),
    logicalSlots: view.logicalSlots.map(({ name, wanted, standing, notes }) => ({
      ...{ name, standing },
      wanted: encodeWanted(wanted),
      notes: [...notes],
    })),
  });
}

/** Undefined for an answer of a later version; throws for a durability that is not known here. */
export function decodeSettingsOutcome(response: pb.SettingsResponse): SettingsOutcome | undefined {
  const { case: kind, value } = response.outcome;
  switch (kind) {
    case 'refused':
      return { kind, reason: value };
    case 'view': {
      if (value.settings === undefined) return undefined;
      const { group, revision, settings, parameters, history, hba, hbaPending, logicalSlots } = value;
      const pendingOthers = value.pendingOthers.map(({ name, nodes }) => ({ name, nodes }));
      return {
        kind,
        view: {
          group,
          revision: logIndex(Number(revision)),
          settings: decodeSettings(settings),
          parameters: parameters.map(({ name, value: set, pendingRestart, overrides }) => ({
            name,
            value: set,
            pendingRestart,
            overrides,
          })),
          ...(pendingOthers.length === 0 ? {} : { pendingOthers }),
          history: history.map(decodeRecord),
          hba,
          hbaPending: hbaPending.map(({ node, reason }) => ({ node, reason })),
          logicalSlots: logicalSlots.flatMap(({ name, wanted, standing, notes }) =>
            wanted === undefined
              ? []
              : [{ name, wanted: decodeWanted(wanted), standing: decodeSlotStanding(standing), notes }],
          ),
        },
      };
    }
    case undefined:
      return undefined;
    default:
      return unreachable(kind);
  }
}
