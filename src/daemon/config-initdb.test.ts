// The section node.initdb: what it becomes, and what is wrong with it.
import { describe, expect, test } from 'vitest';
import { GOOD, load, problems } from './testing/config-place.ts';

const file = (node: string, more = ''): string => `${GOOD.replace('users:', `${node}\nusers:`)}${more}`;
const withInitdb = (text: string): string => file(`  initdb: { ${text} }`);
const initdb = (text: string) => load(withInitdb(text)).node?.initdb;

test('without it the defaults hold, and what it leaves out is by default', () => {
  expect(load(file('')).node).not.toHaveProperty('initdb');
  expect(load(file('  initdb:')).node).not.toHaveProperty('initdb');
  expect(initdb('')).toEqual({ locale: 'C', encoding: 'UTF8', checksums: true });
});

test('it becomes what initdb is run with', () => {
  expect(
    initdb('locale: de_DE.UTF-8, lc_collate: C, lc_ctype: C.UTF-8, encoding: utf-8, wal_segment_size_mb: 64'),
  ).toEqual({
    locale: 'de_DE.UTF-8',
    lcCollate: 'C',
    lcCtype: 'C.UTF-8',
    encoding: 'UTF8',
    checksums: true,
    walSegmentMb: 64,
  });
  expect(initdb('locale_provider: icu, icu_locale: en-US-u-ks-level2, data_checksums: false')).toEqual({
    locale: 'C',
    encoding: 'UTF8',
    checksums: false,
    provider: { kind: 'icu', locale: 'en-US-u-ks-level2' },
  });
  expect(initdb('locale_provider: builtin, builtin_locale: C.UTF-8')?.provider).toEqual({
    kind: 'builtin',
    locale: 'C.UTF-8',
  });
  for (const icu of ['und', 'de@collation=phonebook', 'nds', 'root'])
    expect(initdb(`locale_provider: icu, icu_locale: "${icu}"`)?.provider?.locale).toBe(icu);
});

describe('refused is', () => {
  const locale =
    'the name of a locale, such as C or en_US.UTF-8, in quotes where it looks like something else';
  test.each<[string, string]>([
    ['locale: false', `locale: false is given; expected ${locale}`],
    ['locale: "--pwprompt"', `locale: "--pwprompt" is given; expected ${locale}`],
    ['lc_collate: ../x', `lc_collate: "../x" is given; expected ${locale}`],
    [
      'encoding: GBK',
      'encoding: "GBK" is given; expected an encoding of PostgreSQL for databases, such as UTF8, LATIN1 or EUC_JP',
    ],
    ['locale_provider: ICU', 'locale_provider: "ICU" is given; expected libc, icu or builtin'],
    ['locale_provider: icu', 'icu_locale: missing; expected a locale, as node.initdb.locale_provider is icu'],
    [
      'locale_provider: builtin',
      'builtin_locale: missing; expected a locale, as node.initdb.locale_provider is builtin',
    ],
    ['icu_locale: und', 'icu_locale: it is used with locale_provider icu only, which is libc here'],
    [
      'locale_provider: icu, icu_locale: xq-YY',
      'icu_locale: "xq-YY" is given; expected a locale of ICU whose language is known, such as und or en-US-u-ks-level2',
    ],
    ['wal_segment_size_mb: 48', 'wal_segment_size_mb: 48 is given; expected a power of two from 1 to 1024'],
    [
      'wal_segment_size_mb: 2048',
      'wal_segment_size_mb: 2048 is given; expected a power of two from 1 to 1024',
    ],
    ['data_checksums: maybe', 'data_checksums: "maybe" is given; expected true or false'],
    ['pwfile: /x', 'pwfile: unknown key; known here: locale, lc_collate, lc_ctype, encoding'],
    ['username: me', 'username: unknown key; known here: locale, lc_collate, lc_ctype, encoding'],
  ])('%s', (text, expected) => {
    const found = problems(withInitdb(text));
    expect(found).toHaveLength(1);
    expect(found[0]?.slice(0, expected.length + 12)).toBe(`node.initdb.${expected}`);
  });
});

test('where the first database comes from elsewhere, a person is told that it has no effect', () => {
  const has = '  initdb: { locale: de_DE.UTF-8 }';
  expect(load(file(has)).warnings).toEqual([]);
  expect(load(file(has, 'bootstrap: { command: [/bin/true] }')).warnings.join()).toMatch(
    /node\.initdb: it has no effect: the first database comes from the backup of bootstrap/,
  );
  expect(load(file(`${has}\n  follow: { servers: [far:5432] }`)).warnings.join()).toMatch(
    /it has no effect: the first database comes from the other site of node\.follow/,
  );
});
