// Of each command the first, a middle and the last step: what `npm run test:halfway` kills at all of them, in little enough time to be run with
// every change. Which steps these are follows from the tables.
import { CLONES } from './clone-tables.ts';
import { CREATE, testCreating } from './create-table.ts';
import { testLocalTables } from './local-table.ts';
import { COPIES, CREATES } from './local-tables.ts';
import { REJOIN } from './rejoin-tables.ts';
import { SWITCHOVER } from './switchover-tables.ts';
import { type Steps, testTables } from './table.ts';

/** Those that come each time, by their order: the first, the middle one, the last. */
function threeOf(steps: Steps): Steps[] {
  const certain: Steps[] = Object.entries(steps).flatMap(([step, who]) =>
    who === 'sometimes' ? [] : [{ [step]: who === 'both' ? ('whole' as const) : who }],
  );
  const [first, middle, last] = [certain[0], certain[certain.length >> 1], certain.at(-1)];
  return [first ?? {}, middle ?? {}, last ?? {}];
}

/** Of a command with several tables: the first step of the first, the middle one of the one in the middle, the last of the last. */
function sampled<T extends { readonly steps: Steps; readonly known?: Steps }>(tables: readonly T[]): T[] {
  const chosen = [0, (tables.length - 1) >> 1, tables.length - 1];
  return tables.flatMap((table, at) => {
    const steps: Steps = Object.assign(
      {},
      ...threeOf(table.steps).filter((_, place) => chosen[place] === at),
    ) as Steps;
    const known = { ...table.known, ...table.steps };
    return Object.keys(steps).length === 0 ? [] : [{ ...table, steps, known }];
  });
}

testTables('sample', [...sampled(SWITCHOVER), ...sampled(REJOIN), ...sampled(CLONES)]);
testCreating(Object.assign({}, ...threeOf(CREATE)) as Steps, CREATE);
testLocalTables([...sampled(CREATES), ...sampled(COPIES)]);
