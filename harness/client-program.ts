// psql for tests on a PostgreSQL that comes without, such as npm's: that of another installation talks to every server.
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const DEBIAN = '/usr/lib/postgresql';

/** Path of psql: beside the other programs in `directory`, else of another installation of this machine; undefined where there is none. */
export function findPsql(
  directory: string,
  debian = DEBIAN,
  path = process.env['PATH'] ?? '',
): string | undefined {
  const versions = existsSync(debian) ? readdirSync(debian) : [];
  return [
    directory,
    ...versions
      .toSorted((one, other) => Number(other) - Number(one))
      .map((version) => join(debian, version, 'bin')),
    ...path.split(delimiter).filter((each) => each !== ''),
  ]
    .map((each) => join(each, 'psql'))
    .find((each) => existsSync(each));
}

/** The same where a test has made sure that there is one. */
export function psqlOf(directory: string): string {
  const found = findPsql(directory);
  if (found === undefined) throw new Error(`there is no psql in ${directory}, nor elsewhere on this machine`);
  return found;
}
