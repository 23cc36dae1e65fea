// Marks a data directory whose rewind has begun and not succeeded: it is then fit only for a clone. The marker lies beside
// the directory: within it, pg_rewind would remove what its source lacks.
import { access } from 'node:fs/promises';

export const rewindMarker = (dataDirectory: string): string => `${dataDirectory}.rewinding`;

/** Whether a rewind was begun and not completed here: the directory must be cloned anew. */
export const isRewindInterrupted = (dataDirectory: string): Promise<boolean> =>
  access(rewindMarker(dataDirectory)).then(
    () => true,
    () => false,
  );
