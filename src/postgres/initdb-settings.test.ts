import { describe, expect, test } from 'vitest';
import {
  DEFAULT_INIT_SETTINGS,
  describeInit,
  initArguments,
  problemOf,
  type InitSettings,
} from './initdb-settings.ts';

const GERMAN: InitSettings = { locale: 'de_DE.UTF-8', encoding: 'UTF8', checksums: true };
const ICU: InitSettings = {
  locale: 'C',
  lcCtype: 'C.UTF-8',
  encoding: 'UTF8',
  provider: { kind: 'icu', locale: 'de-DE' },
  checksums: false,
  walSegmentMb: 64,
};

test('by default it is as it always was: C, UTF8 and checksums', () => {
  for (const version of [14, 18])
    expect(initArguments(DEFAULT_INIT_SETTINGS, version)).toEqual([
      '--encoding=UTF8',
      '--locale=C',
      '--data-checksums',
    ]);
  expect(describeInit(DEFAULT_INIT_SETTINGS)).toBe('locale C, encoding UTF8');
});

test('what is set gets to initdb in the words of its version', () => {
  const common = [
    '--encoding=UTF8',
    '--locale=C',
    '--lc-ctype=C.UTF-8',
    '--locale-provider=icu',
    '--icu-locale=de-DE',
  ];
  expect(initArguments(ICU, 17)).toEqual([...common, '--wal-segsize=64']);
  expect(initArguments(ICU, 18)).toEqual([...common, '--no-data-checksums', '--wal-segsize=64']);
  expect(initArguments({ ...GERMAN, lcCollate: 'C' }, 15)).toContain('--lc-collate=C');
  expect(describeInit({ ...ICU, lcCollate: 'POSIX' })).toBe(
    'icu locale de-DE, locale C, lc_collate POSIX, lc_ctype C.UTF-8, encoding UTF8, no data checksums, WAL segments of 64 MB',
  );
});

describe('what initdb says names the key that is to be changed', () => {
  const builtin: InitSettings = { ...GERMAN, locale: 'C', provider: { kind: 'builtin', locale: 'de' } };
  test.each<[string, InitSettings, string, string]>([
    [
      'invalid locale name "de_DE.UTF-8"',
      GERMAN,
      'locale',
      '"de_DE.UTF-8" is given; expected a locale of this host, as "locale -a" lists them (initdb: invalid locale name "de_DE.UTF-8")',
    ],
    ['invalid locale name "tr_TR"', { ...GERMAN, lcCollate: 'tr_TR' }, 'lc_collate', '"tr_TR" is given'],
    ['invalid locale name "C.UTF-8"', ICU, 'lc_ctype', '"C.UTF-8" is given'],
    [
      'encoding mismatch\ninitdb: detail: The encoding you selected (LATIN1) does not match. This would be bad.',
      { ...GERMAN, encoding: 'LATIN1' },
      'encoding',
      '"LATIN1" is given; expected the one that goes with the locale (initdb: encoding mismatch: The encoding you selected (LATIN1) does not match)',
    ],
    ['locale "de-DE" has unknown language "de"', ICU, 'icu_locale', '"de-DE" is given'],
    ['invalid locale name "de" for builtin provider', builtin, 'builtin_locale', '"de" is given'],
    ['ICU is not supported in this build', ICU, 'locale_provider', '"icu" is given'],
    ['something new', ICU, '', 'icu locale de-DE, locale C'],
  ])('%s', (said, settings, key, text) => {
    const found = problemOf(
      settings,
      `The files ...\n\ninitdb: error: ${said}\ninitdb: hint: Rerun initdb.\n`,
    );
    expect(found.key).toBe(key);
    expect(found.text.slice(0, text.length)).toBe(text);
  });

  test('and what is not in its usual words is shown as it is', () => {
    expect(problemOf(GERMAN, '/bin/initdb: unrecognized option\n').text).toMatch(
      /\(initdb: \/bin\/initdb: unrecognized option\)$/,
    );
  });
});
