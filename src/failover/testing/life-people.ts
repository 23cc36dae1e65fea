// What people and owners ask for in a life of the protocol's model, of what its options have them do. Never used outside tests.
import type { Command } from '../../cluster/commands.ts';
import type { ClusterState, GroupState } from '../../cluster/state.ts';
import type { View } from '../view.ts';
import type { LifeOptions } from './life-options.ts';
import type { Tally } from './life-parts.ts';
import { barring, wish } from './life-places.ts';
import { recount, removal, switchedOff } from './life-settings.ts';
import type { NodeModel } from './postgres-model.ts';
import type { Random } from './random.ts';

/** With the weight of each; nothing where nobody asks for anything, so that other lives are as they were. */
export function asked(life: {
  readonly options: Pick<LifeOptions, 'recounts' | 'removes' | 'isPlaced' | 'isSteered'>;
  readonly random: Random;
  readonly nodes: readonly NodeModel[];
  readonly tally: Tally;
  readonly state: () => ClusterState;
  readonly group: () => GroupState;
  readonly view: () => View;
  readonly propose: (from: string, command: Command | undefined) => void;
}): readonly (readonly [number, () => void])[] {
  const { options, random, nodes, tally, state, group, view, propose } = life;
  const events: (readonly [number, () => void])[] = [];
  if (options.recounts === true) events.push([6, () => propose('person', recount(random, group()))]);
  if (options.removes === true) events.push([2, () => propose('person', removal(random, group(), nodes))]);
  if (options.isPlaced === true) events.push([6, () => propose('owner', barring(random, state(), group()))]);
  if (options.isSteered === true || options.isPlaced === true) {
    events.push([2, () => propose('person', wish(options, random, state(), group(), nodes))]);
    events.push([4, () => propose('fence command', switchedOff(state(), view(), nodes, tally))]);
  }
  return events;
}
