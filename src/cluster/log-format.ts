// How data of the log or of a snapshot that cannot be read is reported: damaged, or written by a later version. Must never
// lead to a guess: a peer that guessed would go on with another state than the others.

/** The data of a log entry or of a snapshot cannot be read here; says why and what to do. */
export class LogFormatError extends Error {
  override readonly name = 'LogFormatError';
}

export const NEWER = 'it was written by a newer version of pg-sentinel; upgrade this peer';
export const DAMAGED = 'it is damaged; rejoin this peer with an empty data directory';

/** A oneof without a case: either a field number of a later version, or nothing at all. */
export function unknownPart(
  what: string,
  message: { readonly $unknown?: readonly { readonly no: number }[] | undefined },
): LogFormatError {
  const fields = message.$unknown?.map((field) => field.no) ?? [];
  return fields.length > 0
    ? new LogFormatError(`${what} with field number ${fields.join(', ')} is not known here: ${NEWER}`)
    : new LogFormatError(`there is no ${what}: ${DAMAGED}`);
}

/** A message that must be there. */
export function required<T>(what: string, value: T | undefined): T {
  if (value === undefined) throw new LogFormatError(`${what} is missing: ${DAMAGED}`);
  return value;
}

/** Runs `read`; whatever the bytes or the checking constructors object to becomes one kind of error. */
export function reading<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const detail = error instanceof LogFormatError ? error.message : `${String(error)}: ${DAMAGED}`;
    throw new LogFormatError(`cannot read ${what}: ${detail}`, { cause: error });
  }
}
