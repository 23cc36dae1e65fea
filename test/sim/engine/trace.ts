// What happened, in words, where somebody wants to read it; and always as one number, so that two runs of a seed can be compared.

export interface Trace {
  /** Undefined: nobody reads along, and nothing may be built for it. */
  readonly lines: string[] | undefined;
  hash: number;
}

export function createTrace(isOn: boolean): Trace {
  return { lines: isOn ? [] : undefined, hash: 0x2545f491 };
}

export function mixIn(trace: Trace, value: number): void {
  const mixed = Math.imul(trace.hash ^ value, 0x85ebca6b);
  trace.hash = (mixed ^ (mixed >>> 13)) | 0;
}
