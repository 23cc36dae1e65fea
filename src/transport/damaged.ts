// What the other side sent cannot be right. It is the sender's fault: the stream ends, and this process goes on.
import { InvariantError } from '../base/assert.ts';

export class DamagedMessage extends Error {
  override readonly name = 'DamagedMessage';
}

/** Decodes; what the checking constructors object to becomes a {@link DamagedMessage}. */
export function checked<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof InvariantError) throw new DamagedMessage(error.message, { cause: error });
    throw error;
  }
}

/** As {@link checked}, for decoders that throw errors of their own: whatever they throw is taken for damage. */
export function checkedForeign<T>(what: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new DamagedMessage(`${what} cannot be read: ${reason}`, { cause: error });
  }
}
