// The section `node.initdb` of the configuration: what the first database of a group is made with. Its shape, the checks that look at more than
// one of its keys, and what becomes of it.
import { z } from 'zod';
import { DEFAULT_INIT_SETTINGS, type InitSettings } from '../postgres/initdb-settings.ts';
import type { Findings } from './config-checks.ts';
import { wrong } from './config-problems.ts';

/** Of a database, as PostgreSQL writes them, but MULE_INTERNAL: that cannot be converted to UTF8, which every session of ours speaks. */
const ENCODINGS: readonly string[] = [
  ...['UTF8', 'SQL_ASCII', 'EUC_CN', 'EUC_JIS_2004', 'EUC_JP', 'EUC_KR', 'EUC_TW'],
  ...['ISO_8859_5', 'ISO_8859_6', 'ISO_8859_7', 'ISO_8859_8', 'KOI8R', 'KOI8U', 'WIN866', 'WIN874'],
  ...Array.from({ length: 10 }, (_, at) => `LATIN${at + 1}`),
  ...Array.from({ length: 9 }, (_, at) => `WIN125${at}`),
];

const plain = (text: string): string => text.toUpperCase().replaceAll(/[^A-Z0-9]/g, '');
/** `utf-8` is `UTF8`, as to PostgreSQL. */
const encodingOf = (text: string): string | undefined =>
  ENCODINGS.find((each) => plain(each) === plain(text));

const ENCODING_RULE = 'an encoding of PostgreSQL for databases, such as UTF8, LATIN1 or EUC_JP';
const LOCALE_RULE =
  'the name of a locale, such as C or en_US.UTF-8, in quotes where it looks like something else';
const locale = (description: string, example: string) =>
  z
    .string({ error: LOCALE_RULE })
    .regex(/^[A-Za-z][\w.@-]{0,62}$/, { error: LOCALE_RULE })
    .meta({ description, examples: [example] });

const ICU_RULE = 'a locale of ICU whose language is known, such as und or en-US-u-ks-level2';
const SEGMENT_RULE = 'a power of two from 1 to 1024';

export const initdbSection = z
  .strictObject(
    {
      locale: locale(
        'Locale of the operating system: sorting, what is a letter, messages and more. C sorts by bytes',
        'de_DE.UTF-8',
      ).default('C'),
      lc_collate: locale('Sorting, where it is to be another than by `locale`', 'C').optional(),
      lc_ctype: locale(
        'What is a letter, and its lower and upper case, where it is to be another than by `locale`',
        'C.UTF-8',
      ).optional(),
      encoding: z
        .string({ error: ENCODING_RULE })
        .refine((text) => encodingOf(text) !== undefined, { error: ENCODING_RULE })
        .default('UTF8')
        .meta({ description: 'Encoding of the databases', examples: ['UTF8', 'LATIN1'] }),
      locale_provider: z
        .enum(['libc', 'icu', 'builtin'], { error: 'libc, icu or builtin' })
        .default('libc')
        .meta({
          description:
            'Who sorts by default: the C library, ICU (PostgreSQL 15 and later) or PostgreSQL itself (17 and later)',
        }),
      icu_locale: z
        .string({ error: ICU_RULE })
        .regex(/^[A-Za-z][\w@=;-]{0,127}$/, { error: ICU_RULE })
        .refine(isOfKnownLanguage, { error: ICU_RULE })
        .optional()
        .meta({ description: 'With locale_provider icu: the locale of ICU', examples: ['und', 'en-US'] }),
      builtin_locale: locale(
        'With locale_provider builtin: C, C.UTF-8 or, from 18 on, PG_UNICODE_FAST',
        'C.UTF-8',
      ).optional(),
      data_checksums: z.boolean({ error: 'true or false' }).default(true).meta({
        description: 'False: pages have no checksums, and a disk that returns garbage goes unnoticed',
      }),
      wal_segment_size_mb: z
        .int({ error: SEGMENT_RULE })
        .refine((value) => value >= 1 && value <= 1024 && Number.isInteger(Math.log2(value)), {
          error: SEGMENT_RULE,
        })
        .optional()
        .meta({ description: 'Size of a file of WAL in MB; default: 16', minimum: 1, maximum: 1024 }),
    },
    { error: 'a mapping with locale, encoding and more' },
  )
  .nullish()
  .meta({
    description:
      'What the first database of a new group is made with; the same on every host of the group. Has no effect on one that is there',
  });

type InitdbFile = NonNullable<z.infer<typeof initdbSection>>;

/** PostgreSQL 15 would take any, and sort by no language. */
function isOfKnownLanguage(icuLocale: string): boolean {
  const [language = ''] = icuLocale.toLowerCase().split(/[-_@]/);
  if (language === 'und' || language === 'root') return true;
  try {
    return new Intl.DisplayNames(['en'], { type: 'language', fallback: 'none' }).of(language) !== undefined;
  } catch {
    return false;
  }
}

/** What zod cannot tell of one key alone. `elsewhere`: where the first database comes from, if initdb does not make it. */
export function checkInitdb(
  file: z.infer<typeof initdbSection>,
  elsewhere: string | undefined,
  findings: Findings,
): void {
  if (file === undefined || file === null) return;
  if (elsewhere !== undefined)
    findings.warning('node.initdb', `it has no effect: the first database comes from ${elsewhere}`);
  for (const kind of ['icu', 'builtin'] as const) {
    const key = `${kind}_locale` as const;
    if (file.locale_provider === kind && file[key] === undefined)
      findings.error(
        `node.initdb.${key}`,
        wrong('', undefined, `a locale, as node.initdb.locale_provider is ${kind}`),
      );
    if (file.locale_provider !== kind && file[key] !== undefined)
      findings.error(
        `node.initdb.${key}`,
        `it is used with locale_provider ${kind} only, which is ${file.locale_provider} here`,
      );
  }
}

/** As initdb gets it; the file was checked before. Undefined where it has no such section: the defaults hold. */
export function initSettingsOf(file: InitdbFile | null | undefined): InitSettings | undefined {
  if (file === undefined || file === null) return undefined;
  const { locale_provider: kind, icu_locale: icu, builtin_locale: builtin } = file;
  const providerLocale = kind === 'icu' ? icu : builtin;
  return {
    locale: file.locale,
    encoding: encodingOf(file.encoding) ?? DEFAULT_INIT_SETTINGS.encoding,
    checksums: file.data_checksums,
    ...(file.lc_collate === undefined ? {} : { lcCollate: file.lc_collate }),
    ...(file.lc_ctype === undefined ? {} : { lcCtype: file.lc_ctype }),
    ...(kind === 'libc' || providerLocale === undefined
      ? {}
      : { provider: { kind, locale: providerLocale } }),
    ...(file.wal_segment_size_mb === undefined ? {} : { walSegmentMb: file.wal_segment_size_mb }),
  };
}
