// What clients asked of the log and what they were told: reads and writes of a few registers, with their moments. Kept per
// register, since a history is linearizable exactly when that of each register is.

export interface Operation {
  readonly kind: 'read' | 'write';
  /** What was written, or what was read (0 where nothing had been written). */
  value: number;
  readonly calledAt: number;
  /** Undefined: nobody was told; a write may have taken effect at any time since, or never. */
  returnedAt: number | undefined;
  /** Where the log has it, if it does: a hint for the checker, which believes nothing. */
  place: number | undefined;
}

export interface History {
  readonly registers: Operation[][];
  /** Value -> the entry that wrote it. */
  readonly places: Map<number, number>;
}

export function createHistory(registerCount: number): History {
  return { registers: Array.from({ length: registerCount }, () => []), places: new Map() };
}
