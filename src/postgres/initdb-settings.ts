// What a new database is made with: locale, encoding, checksums and the size of WAL segments. None of it can be changed afterwards. Tells, before
// anything is made, what PostgreSQL's initdb of this host does not take.
import { join } from 'node:path';
import type { Binaries } from './binaries.ts';
import { runProgram, type OsUser } from './os-user.ts';

export interface InitSettings {
  /** Of the operating system. */
  readonly locale: string;
  /** Where it is another than `locale`: sorting. */
  readonly lcCollate?: string | undefined;
  /** Where it is another than `locale`: what is a letter, and its lower and upper case. */
  readonly lcCtype?: string | undefined;
  readonly encoding: string;
  /** Who sorts by default; left out: the C library, by `locale`. */
  readonly provider?: { readonly kind: 'icu' | 'builtin'; readonly locale: string } | undefined;
  readonly checksums: boolean;
  /** A power of two; left out: 16. */
  readonly walSegmentMb?: number | undefined;
}

/** `C` sorts by bytes, and can never sort otherwise under an index. */
export const DEFAULT_INIT_SETTINGS: InitSettings = { locale: 'C', encoding: 'UTF8', checksums: true };

/** Key of `node.initdb` in the configuration, empty for all of it; and its value with what would be right. */
interface InitProblem {
  readonly key: string;
  readonly text: string;
}

/** From which major version on PostgreSQL knows a provider of locales. */
const PROVIDER_SINCE = { icu: 15, builtin: 17 } as const;
/** Before it initdb has checksums only where it is told so. */
const CHECKSUMS_BY_DEFAULT_SINCE = 18;
/** Nothing can be made there: initdb gives up, but only after it has looked at everything else. */
const NOWHERE = '/dev/null/pg_sentinel';
const TIMEOUT_MS = 30_000;
const OUTPUT_MAX = 500;

/** For an initdb of that major version. */
export function initArguments(settings: InitSettings, version: number): string[] {
  const { lcCollate, lcCtype, provider, walSegmentMb } = settings;
  return [
    `--encoding=${settings.encoding}`,
    `--locale=${settings.locale}`,
    ...(lcCollate === undefined ? [] : [`--lc-collate=${lcCollate}`]),
    ...(lcCtype === undefined ? [] : [`--lc-ctype=${lcCtype}`]),
    ...(provider === undefined
      ? []
      : [`--locale-provider=${provider.kind}`, `--${provider.kind}-locale=${provider.locale}`]),
    ...(settings.checksums
      ? ['--data-checksums']
      : version >= CHECKSUMS_BY_DEFAULT_SINCE
        ? ['--no-data-checksums']
        : []),
    ...(walSegmentMb === undefined ? [] : [`--wal-segsize=${walSegmentMb}`]),
  ];
}

/** For people, such as `locale C, encoding UTF8`. */
export function describeInit(settings: InitSettings): string {
  const { lcCollate, lcCtype, provider, checksums, walSegmentMb } = settings;
  return [
    ...(provider === undefined ? [] : [`${provider.kind} locale ${provider.locale}`]),
    `locale ${settings.locale}`,
    ...(lcCollate === undefined ? [] : [`lc_collate ${lcCollate}`]),
    ...(lcCtype === undefined ? [] : [`lc_ctype ${lcCtype}`]),
    `encoding ${settings.encoding}`,
    ...(checksums ? [] : ['no data checksums']),
    ...(walSegmentMb === undefined ? [] : [`WAL segments of ${walSegmentMb} MB`]),
  ].join(', ');
}

/** What initdb of this host would refuse, by its own word; undefined where nothing. Makes nothing. Throws where initdb cannot be run. */
export async function initProblem(options: {
  readonly binaries: Pick<Binaries, 'directory' | 'version'>;
  readonly user: OsUser;
  readonly settings: InitSettings;
  readonly signal?: AbortSignal | undefined;
}): Promise<InitProblem | undefined> {
  const { binaries, user, settings, signal } = options;
  const { version } = binaries;
  const since = settings.provider === undefined ? 0 : PROVIDER_SINCE[settings.provider.kind];
  if (settings.provider !== undefined && version < since)
    return {
      key: 'locale_provider',
      text: `"${settings.provider.kind}" is given; expected one that PostgreSQL ${version}, which is used here, has: this one is there from ${since} on`,
    };
  const { output, exitCode } = await runProgram({
    user,
    program: join(binaries.directory, 'initdb'),
    arguments: [`--pgdata=${NOWHERE}`, '--auth=trust', ...initArguments(settings, version)],
    cwd: '/',
    timeoutMs: TIMEOUT_MS,
    signal,
  });
  signal?.throwIfAborted();
  return exitCode === 0 || output.includes(NOWHERE) ? undefined : problemOf(settings, output);
}

/** Of what initdb has said in English. */
export function problemOf(settings: InitSettings, output: string): InitProblem {
  const said = (kind: string): string | undefined =>
    new RegExp(`^initdb: ${kind}: (.*)$`, 'm').exec(output)?.[1];
  const error = said('error') ?? output.trim().slice(-OUTPUT_MAX);
  const [detail] = said('detail')?.split('. ') ?? [];
  const { key, value, expected } = culprit(settings, error);
  const words = detail === undefined ? error : `${error}: ${detail}`;
  return { key, text: `${value} is given; expected ${expected} (initdb: ${words})` };
}

interface Culprit {
  readonly key: string;
  readonly value: string;
  readonly expected: string;
}

function culprit(settings: InitSettings, error: string): Culprit {
  const { locale, lcCollate, lcCtype, encoding, provider } = settings;
  const quoted = (value: string): string => JSON.stringify(value);
  const isNamed = (value: string | undefined): value is string =>
    value !== undefined && error.toLowerCase().includes(quoted(value).toLowerCase());
  if (/encoding/.test(error))
    return { key: 'encoding', value: quoted(encoding), expected: 'the one that goes with the locale' };
  if (provider !== undefined && /ICU is not supported/.test(error))
    return {
      ...{ key: 'locale_provider', value: quoted(provider.kind) },
      expected: 'another one, as PostgreSQL here is built without it',
    };
  if (provider !== undefined && /language|builtin/.test(error))
    return {
      ...{ key: `${provider.kind}_locale`, value: quoted(provider.locale) },
      expected: `a locale of the provider ${provider.kind}`,
    };
  for (const [key, value] of Object.entries({ lc_collate: lcCollate, lc_ctype: lcCtype, locale }))
    if (isNamed(value))
      return { key, value: quoted(value), expected: 'a locale of this host, as "locale -a" lists them' };
  return { key: '', value: describeInit(settings), expected: 'what initdb takes' };
}
