// Of each command three steps: of all at which `npm run test:halfway` kills, in little enough time to be run with every change. Which ones follows
// from the commit: one of the first third of its steps, one of the second, one of the last; with other commits others come up.
import { ADOPTIONS, testAdopting } from './adopt-table.ts';
import { chooseBy, oneOfEach, seedFrom } from '../../tooling/sampling.ts';
import { CLONES } from './clone-tables.ts';
import { CREATE, testCreating } from './create-table.ts';
import { testLocalTables } from './local-table.ts';
import { COPIES, CREATES } from './local-tables.ts';
import { REJOIN } from './rejoin-tables.ts';
import { SWITCHOVER } from './switchover-tables.ts';
import { runsOf, type Steps, sureOf, testTables } from './table.ts';

const VARIABLE = 'PG_SENTINEL_HALFWAY_SEED';
const seed = seedFrom(VARIABLE);
const choose = chooseBy(seed);
console.log(`half-way sample of seed ${seed}; the same again: ${VARIABLE}=${seed}`);

/** Of a command, which may have several tables: three steps that come each time, and of a table only those. */
function sampled<T extends { readonly steps: Steps; readonly known?: Steps }>(
  command: string,
  tables: readonly T[],
): T[] {
  const runs = tables.flatMap((table) => {
    const sure = new Set(sureOf(table.steps));
    return runsOf(table.steps).flatMap((run) => (sure.has(run.step) ? [{ table, ...run }] : []));
  });
  const chosen = oneOfEach(runs, 3, command, choose);
  return tables.flatMap((table) => {
    const own = chosen.filter((run) => run.table === table);
    if (own.length === 0) return [];
    const steps: Steps = Object.fromEntries(
      own.map(({ step, who }) => [
        step,
        own.some((run) => run.step === step && run.who !== who) ? 'both' : who,
      ]),
    );
    return [{ ...table, steps, known: { ...table.known, ...table.steps } }];
  });
}

/** One of two ways to do the same: each takes a cluster of its own. */
const ways = COPIES.slice(choose('the way of a copy', COPIES.length)).slice(0, 1);

testTables('sample', [
  ...sampled('switchover', SWITCHOVER),
  ...sampled('rejoin', REJOIN),
  ...sampled('clone', CLONES),
]);
for (const { steps } of sampled('create', [{ steps: CREATE }])) testCreating(steps, CREATE);
testLocalTables([...sampled('node create', CREATES), ...sampled('node clone', ways)]);
testAdopting(sampled('adopt', ADOPTIONS));
