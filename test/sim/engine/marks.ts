// Which rare branches were reached. The test build turns each comment `// mark: name` of the pure core into a call of
// `mark(number)`; the names belong to the build's list. Used by transformed code and by the report only.

const COUNT_MAX = 1024;

/** Times each mark was reached in this thread, by number. */
export const markCounts: Float64Array = new Float64Array(COUNT_MAX);

/** @public Called by transformed code. */
export function mark(number: number): void {
  markCounts[number] = (markCounts[number] as number) + 1;
}
