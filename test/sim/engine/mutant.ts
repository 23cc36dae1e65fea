// Which mutation is switched on in this thread: 0 for none. Read by transformed code; set before a life begins.

/** @public Number in the build's list, from 1 on; read by transformed code. */
export let mutant = 0;

export function switchMutant(number: number): void {
  mutant = number;
}
