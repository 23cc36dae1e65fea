// A program: prints as JSON, for each supported version of PostgreSQL, the directory of its programs here, or why there is none.
import { findOsUser } from '../src/postgres/os-user.ts';
import { SUPPORTED_VERSIONS, findVersion } from './find-postgres.ts';

const user = await findOsUser({ configured: undefined });
const found = SUPPORTED_VERSIONS.map(async (version) => {
  try {
    return { version, directory: (await findVersion({ user, version })).directory };
  } catch (error) {
    return { version, obstacle: (error as Error).message };
  }
});
process.stdout.write(`${JSON.stringify(await Promise.all(found))}\n`);
