// Tells the log what this peer's configuration says of its host: which node it runs, and which servers are only watched. Once, and again
// where the log says something else. An idle cluster writes nothing.
import type { PeerId } from '../base/ids.ts';
import type { HostDeclaration } from '../cluster/commands.ts';
import { FORMATIONS_FEATURE_LEVEL } from '../cluster/features.ts';
import type { ClusterState } from '../cluster/state.ts';
import type { Config } from './config.ts';
import type { Replica } from './replica.ts';
import { keepTold } from './tell-log.ts';

export function declarationOf({ node, watch }: Pick<Config, 'node' | 'watch'>): HostDeclaration {
  return {
    runs: node && { node: node.name, group: node.group, formation: node.formation },
    watch,
  };
}

/** Until `signal` aborts. */
export function declareHost(options: {
  readonly self: PeerId;
  readonly host: HostDeclaration;
  readonly replica: Pick<Replica, 'state' | 'subscribe' | 'propose'>;
  readonly signal: AbortSignal;
}): void {
  const { self, host, replica, signal } = options;
  const wanted = textOf(host);
  keepTold({
    wanted: (state) =>
      isToTell(state, self, wanted) ? { kind: 'declare-host', peer: self, host } : undefined,
    replica,
    signal,
  });
}

/** The log has another declaration of this peer, and every peer understands them. */
function isToTell(state: ClusterState, self: PeerId, wanted: string): boolean {
  const known = state.peers.get(self);
  if (known === undefined || state.featureLevel < FORMATIONS_FEATURE_LEVEL) return false;
  return known.host === undefined || textOf(known.host) !== wanted;
}

function textOf({ runs, watch }: HostDeclaration): string {
  return JSON.stringify([
    runs && [runs.node, runs.group, runs.formation],
    watch.map(({ server, host, port, formation }) => [server, host, port, formation]),
  ]);
}
