// One logical slot as the log, PostgreSQL and the agent's memory have it. Never used outside tests.
import { logIndex } from '../../base/ids.ts';
import type { LogicalSlot } from '../../cluster/state.ts';
import type { LogicalSlotRow } from '../../postgres/logical-slots.ts';
import type { KnownSlot } from '../logical-slot-memory.ts';

export const SLOT: LogicalSlot = {
  ...{ name: 'cdc', database: 'app', plugin: 'pgoutput', isTwoPhase: false, setAt: logIndex(7) },
  ...{ standing: 'made', isOurs: true, reason: undefined },
};

export const ROW: LogicalSlotRow = {
  ...{ name: 'cdc', database: 'app', plugin: 'pgoutput', isTwoPhase: false, isTemporary: false },
  ...{ activePid: undefined, catalogXmin: 700, confirmedLsn: undefined },
  ...{ isLost: false, isFailover: false, isSynced: false },
};

export const KNOWN: KnownSlot = {
  ...{
    name: 'cdc',
    setAt: 7,
    text: 'app:pgoutput',
    standing: 'fit',
    timeline: 1,
    incarnation: 1,
    isOurs: true,
  },
};
