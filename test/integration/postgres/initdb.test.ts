// What a database is made with: PostgreSQL itself says that it has it, on every version; what initdb does not take is said before anything is made.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { SUPPORTED_VERSIONS, wantedPostgres } from '../../../harness/find-postgres.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { DEFAULT_INIT_SETTINGS, type InitSettings } from '../../../src/postgres/initdb-settings.ts';
import { initDataDirectory } from '../../../src/postgres/initdb.ts';
import { LIMIT_MS, openPlace, sql, start, stop, TESTED_VERSION, type Place } from './instances.ts';

const BY_DEFAULT = {
  collate: 'C',
  ctype: 'C',
  encoding: 'UTF8',
  provider: 'c',
  checksums: 'on',
  size: '16MB',
};
const OTHERS: readonly {
  since: number;
  settings: Partial<InitSettings>;
  found: Partial<typeof BY_DEFAULT>;
}[] = [
  {
    since: 14,
    settings: { locale: 'C.UTF-8', lcCollate: 'C', checksums: false, walSegmentMb: 4 },
    found: { ctype: 'C.UTF-8', checksums: 'off', size: '4MB' },
  },
  {
    since: 15,
    settings: { encoding: 'LATIN1', provider: { kind: 'icu', locale: 'und' } },
    found: { encoding: 'LATIN1', provider: 'i' },
  },
  { since: 17, settings: { provider: { kind: 'builtin', locale: 'C.UTF-8' } }, found: { provider: 'b' } },
];

const versions = wantedPostgres().kind === 'any' ? SUPPORTED_VERSIONS : [TESTED_VERSION];
for (const version of versions) {
  const place: Place | undefined = await openPlace(version);
  describe.skipIf(place === undefined)(`PostgreSQL ${version} (needs its binaries)`, () => {
    const at = place as Place;
    afterAll(() => at.close());

    test.each(OTHERS.filter(({ since }) => version >= since).map((each, index) => ({ ...each, index })))(
      'a database with $settings',
      async ({ settings, found, index }) => {
        const one = await at.prepare(`n${index}`);
        await at.init(one, { ...DEFAULT_INIT_SETTINGS, ...settings });
        await start(one);
        const [row] = await sql<object>(
          one,
          `select datcollate as collate, datctype as ctype, pg_encoding_to_char(encoding) as encoding,
             coalesce(to_jsonb(d)->>'datlocprovider', 'c') as provider, current_setting('data_checksums') as checksums,
             current_setting('wal_segment_size') as size from pg_database d where datname = 'template1'`,
        );
        expect(row).toEqual({ ...BY_DEFAULT, ...found });
        // As sorted by who was asked: ICU has letters in the order of the alphabet, bytes have capitals first.
        const [sorted] = await sql<{ words: string }>(
          one,
          "select string_agg(w, ' ' order by w) as words from (values ('b'), ('a'), ('B')) v(w)",
        );
        expect(sorted?.words).toBe(found.provider === 'i' ? 'a b B' : 'B a b');
        await stop(one);
        const { walSegmentBytes, checksums } = await readControlData(one.dataDirectory);
        expect([walSegmentBytes, checksums]).toEqual([
          (settings.walSegmentMb ?? 16) * 2 ** 20,
          settings.checksums ?? true,
        ]);
      },
    );

    test('what initdb does not take is refused by key and value, and nothing is made', async () => {
      const one = await at.prepare('none');
      const make = (settings: Partial<InitSettings>, walDirectory?: string): Promise<void> =>
        initDataDirectory({
          ...{ binaries: at.binaries, user: at.user, dataDirectory: one.dataDirectory, walDirectory },
          superuser: 'sentinel',
          settings: { ...DEFAULT_INIT_SETTINGS, ...settings },
          timeoutMs: LIMIT_MS,
        });
      await expect(make({ locale: 'xx_YY.UTF-8' }, join(at.root, 'wal'))).rejects.toThrow(
        `cannot initialise ${one.dataDirectory}: node.initdb.locale: "xx_YY.UTF-8" is given; expected a locale of this host, as "locale -a" lists them (initdb: invalid locale name "xx_YY.UTF-8")`,
      );
      await expect(make({ locale: 'C.UTF-8', encoding: 'LATIN1' })).rejects.toThrow(
        /node\.initdb\.encoding: "LATIN1" is given; expected the one that goes with the locale \(initdb: encoding mismatch/,
      );
      await expect(make({ lcCtype: 'nn' })).rejects.toThrow(/node\.initdb\.lc_ctype: "nn" is given/);
      const provider = version < 17 ? 'locale_provider: "builtin"' : 'builtin_locale: "de"';
      await expect(make({ provider: { kind: 'builtin', locale: 'de' } })).rejects.toThrow(
        `node.initdb.${provider} is given`,
      );
      expect(await readdir(join(one.dataDirectory, '..'))).toEqual([]);
      expect(await readdir(at.root)).not.toContain('wal');
    });
  });
}
