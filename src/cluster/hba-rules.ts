// Rules for pg_hba.conf that people give, in a group's settings or a node's configuration file: read as PostgreSQL reads them, so that
// a wrong one is refused, by line and field, before it is in the log. Ours come first in the file (hba.ts), so none of these can shadow them. Pure.

import { didYouMean } from '../base/did-you-mean.ts';

export interface HbaRule {
  readonly kind: HbaKind;
  readonly databases: readonly HbaWord[];
  readonly users: readonly HbaWord[];
  /** Absent for `local`. */
  readonly address: string | undefined;
  readonly method: string;
  /** `name=value`, by name. */
  readonly options: ReadonlyMap<string, string>;
}

/** In quotes a word is a name, whatever it says. */
export interface HbaWord {
  readonly text: string;
  readonly isQuoted: boolean;
}

const KINDS = ['local', 'host', 'hostssl', 'hostnossl', 'hostgssenc', 'hostnogssenc'] as const;
export type HbaKind = (typeof KINDS)[number];

const METHODS = [
  ...['trust', 'reject', 'scram-sha-256', 'md5', 'password', 'gss', 'sspi', 'ident', 'peer', 'pam', 'bsd'],
  ...['ldap', 'radius', 'cert', 'oauth'],
];

/** Where a method can be used at all; the others go with every kind. */
const ONLY_WITH: Readonly<Record<string, readonly HbaKind[]>> = {
  peer: ['local'],
  ident: ['local', 'host', 'hostssl', 'hostnossl', 'hostgssenc', 'hostnogssenc'],
  gss: ['host', 'hostssl', 'hostnossl', 'hostgssenc', 'hostnogssenc'],
  sspi: ['host', 'hostssl', 'hostnossl', 'hostnogssenc'],
  cert: ['hostssl'],
};

const OPTIONS = [
  ...['map', 'clientcert', 'clientname', 'pamservice', 'pam_use_hostname', 'include_realm', 'krb_realm'],
  ...['compat_realm', 'upn_username', 'ldapserver', 'ldapport', 'ldaptls', 'ldapscheme', 'ldapprefix'],
  ...['ldapsuffix', 'ldapbasedn', 'ldapbinddn', 'ldapsearchattribute', 'ldapsearchfilter', 'ldapurl'],
  ...['radiusservers', 'radiusports', 'radiusidentifiers', 'issuer', 'scope', 'validator'],
  ...['delegate_ident_mapping'],
];
/** They hold passwords, which every log, snapshot and status would show. */
const SECRET_OPTIONS = ['ldapbindpasswd', 'radiussecrets'];

const SHAPE = 'such as "host all all 10.0.0.0/24 scram-sha-256"';

export interface HbaProblem {
  /** `type`, `database`, `user`, `address`, `mask`, `method`, `option`; undefined: the line as a whole. */
  readonly field: string | undefined;
  /** What is wrong and what would be right. */
  readonly text: string;
}

/** Reads one rule. `secrets`: whether passwords may stand in it, as in a file that only its owner reads. */
export function parseHbaLine(line: string, { secrets }: { readonly secrets: boolean }): HbaRule | HbaProblem {
  const fields = fieldsOf(line);
  if (typeof fields === 'string') return { field: undefined, text: fields };
  const problem = (field: string, text: string): HbaProblem => ({ field, text });
  const [first] = fields;
  if (first === undefined) return { field: undefined, text: `is empty; expected a rule ${SHAPE}` };
  const kind = KINDS.find((word) => first.length === 1 && first[0]?.text === word);
  if (kind === undefined) {
    const given = textOf(first);
    return problem(
      'type',
      given.startsWith('include')
        ? `"${given}" reads another file, which is not the same on every node; give its rules themselves`
        : `"${given}" is given; expected ${KINDS.join(', ')}`,
    );
  }
  const [databases, users] = [fields[1], fields[2]];
  for (const [field, words] of Object.entries({ database: databases, user: users })) {
    if (words === undefined) return problem(field, `is missing; expected a rule ${SHAPE}`);
    const file = words.find(({ text, isQuoted }) => !isQuoted && text.startsWith('@'));
    if (file !== undefined)
      return problem(field, `"${file.text}" reads another file, which is not the same on every node`);
    if (words.some(({ text }) => text === ''))
      return problem(field, `"${textOf(words)}" holds an empty name`);
  }
  let next = 3;
  let address: string | undefined;
  if (kind !== 'local') {
    const given = fields[next];
    next += 1;
    if (given === undefined) return problem('address', `is missing; expected a rule ${SHAPE}`);
    address = textOf(given);
    const wrong =
      given.length === 1 ? addressProblem(address) : `"${address}" is a list; expected one address`;
    if (wrong !== undefined) return problem('address', wrong);
    if (isIP(address) !== 0) {
      const mask = fields[next];
      next += 1;
      const version = isIP(address);
      const isMask = mask !== undefined && isIP(textOf(mask)) === version && isContiguous(textOf(mask));
      if (!isMask)
        return problem(
          mask === undefined || isIP(textOf(mask)) === 0 ? 'address' : 'mask',
          `"${address}" has no mask; expected ${address}/${version === 4 ? 32 : 128}, or a mask such as 255.255.255.0 after it`,
        );
    }
  }
  const method = fields[next];
  if (method === undefined) return problem('method', `is missing; expected ${METHODS.join(', ')}`);
  const methodName = textOf(method);
  if (!METHODS.includes(methodName))
    return problem('method', `"${methodName}" is given; expected ${METHODS.join(', ')}${meant(methodName)}`);
  const kinds = ONLY_WITH[methodName];
  if (kinds !== undefined && !kinds.includes(kind))
    return problem('method', `"${methodName}" is not possible with ${kind}; it is with ${kinds.join(', ')}`);
  if (kind === 'hostgssenc' && !['gss', 'reject', 'trust'].includes(methodName))
    return problem('method', `"${methodName}" is not possible with hostgssenc; gss, reject and trust are`);
  const options = new Map<string, string>();
  for (const word of fields.slice(next + 1).map(textOf)) {
    const at = word.indexOf('=');
    // The value is left out: it may be what must not be shown.
    const name = at < 0 ? word : word.slice(0, at);
    if (at < 1) return problem('option', `"${name}" is given; expected NAME=VALUE`);
    if (SECRET_OPTIONS.includes(name)) {
      if (!secrets)
        return problem(
          'option',
          `${name} holds a password, which the log would show; put this rule into node.hba of each node's configuration file`,
        );
    } else if (!OPTIONS.includes(name))
      return problem('option', `there is no option "${name}"; there are: ${OPTIONS.join(', ')}`);
    options.set(name, word.slice(at + 1));
  }
  const rule: HbaRule = {
    kind,
    databases: databases ?? [],
    users: users ?? [],
    address,
    method: methodName,
    options,
  };
  if (isReplicationOpen(rule)) return problem('method', `"${methodName}" ${REPLICATION_OPEN}`);
  return rule;
}

function meant(methodName: string): string {
  const near = didYouMean(methodName, METHODS);
  return near === undefined ? '' : `; did you mean "${near}"?`;
}

export const isHbaProblem = (parsed: HbaRule | HbaProblem): parsed is HbaProblem => 'text' in parsed;

/** What is wrong with the first line that cannot be taken, by its number and field; undefined where all can. */
export function hbaLinesProblem(
  lines: readonly string[],
  options: { readonly secrets: boolean } = { secrets: false },
): string | undefined {
  for (const [at, line] of lines.entries()) {
    const parsed = parseHbaLine(line, options);
    if (isHbaProblem(parsed))
      return `hba line ${at + 1}${parsed.field === undefined ? '' : `, ${parsed.field}`}: ${shownHbaLine(parsed.text)}`;
  }
  return undefined;
}

/** Also under a name that is mistyped. Where the value ends a quote that is not closed, or a list, would leave open: nothing after it is shown. */
const SECRET = /(\w*(?:passw|secret)\w*"?\s*=).*/is;

/** A line as it may be shown in errors, logs and answers: without the value of an option that holds a password, and what comes after it. */
export const shownHbaLine = (line: string): string => line.replace(SECRET, '$1***');

/** The same of what PostgreSQL says of a line, which may quote what it has taken for a list of passwords, or for an option. */
export const shownHbaError = (error: string): string =>
  error.replace(/(RADIUS secrets? list|not in name=value format).*/is, '$1');

/** Whom a line is about; undefined where it cannot be read so far. */
export function hbaUsersOf(line: string): readonly string[] | undefined {
  const fields = fieldsOf(line);
  return typeof fields === 'string' ? undefined : fields[2]?.map(({ text }) => text);
}

/** Rules of a text: lines without those that are empty or a comment, white space at their ends taken off. */
export function hbaLinesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** What should be said of rules that are taken nevertheless. */
export function hbaWarnings(lines: readonly string[]): string[] {
  return lines.flatMap((line, at) => {
    const parsed = parseHbaLine(line, { secrets: true });
    return !isHbaProblem(parsed) && parsed.method === 'trust' && parsed.kind !== 'local'
      ? [`hba line ${at + 1} lets clients in without a password`]
      : [];
  });
}

/**
 * Why a line must not stand in pg_hba.conf at all, whoever gives it; undefined where it may. Of every line that {@link parseHbaLine} takes
 * it may; of one that only another version of PostgreSQL understands, what is certain decides.
 */
export function hbaLineDanger(line: string): string | undefined {
  if (/[\r\n\0]/.test(line)) return 'holds a line break';
  if (/\\\s*$/.test(line)) return 'ends with a backslash, which goes on in the next line';
  if (!isHbaProblem(parseHbaLine(line, { secrets: true }))) return undefined;
  const fields = fieldsOf(line);
  const isOpen =
    typeof fields === 'string'
      ? /\breplication\b/.test(line) && /\btrust\b/.test(line)
      : isOfReplication(fields[1] ?? []) && fields.slice(3).some((words) => textOf(words) === 'trust');
  return isOpen ? REPLICATION_OPEN : undefined;
}

/** What only a later PostgreSQL may know, and files beside pg_hba.conf, are its owner's matter in the file of one host. */
const OWNERS_FIELDS: readonly (string | undefined)[] = ['database', 'user', 'option'];

/** What no PostgreSQL would take of a line in the configuration of one host, with its field; undefined where it may stand there. */
export function hbaFileLineProblem(line: string): string | undefined {
  const parsed = parseHbaLine(line, { secrets: true });
  if (!isHbaProblem(parsed) || OWNERS_FIELDS.includes(parsed.field)) return undefined;
  const text = shownHbaLine(parsed.text);
  return parsed.field === undefined ? text : `${parsed.field}: ${text}`;
}

const REPLICATION_OPEN = 'lets replication in without a password, and the fence relies on that password';

const isOfReplication = (databases: readonly HbaWord[]): boolean =>
  databases.some(({ text, isQuoted }) => !isQuoted && text === 'replication');

function isReplicationOpen({ databases, method }: HbaRule): boolean {
  return method === 'trust' && isOfReplication(databases);
}

/** Words by field, separated by commas within one. Or what is wrong with the line. */
function fieldsOf(line: string): HbaWord[][] | string {
  if (/[\r\n\0]/.test(line)) return 'holds a line break; expected one rule for each line';
  if (/\\\s*$/.test(line))
    return 'ends with a backslash, which goes on in the next line; expected a whole rule';
  const fields: HbaWord[][] = [];
  let isListGoingOn = false;
  for (const match of line.matchAll(/#.*|,|(?:"(?:[^"]|"")*"?|[^\s,#"])+/g)) {
    const [token] = match;
    if (token.startsWith('#')) break;
    if (token === ',') {
      if (isListGoingOn || !/[^\s]/.test(line.charAt(match.index - 1)))
        return 'holds a comma with no name before it';
      isListGoingOn = true;
      continue;
    }
    if ((token.match(/"/g) ?? []).length % 2 === 1) return 'holds a quote that is not closed';
    const text = token.replace(/""|"/g, (quote, at: number) => (quote === '""' && at > 0 ? '"' : ''));
    const word = { text, isQuoted: token.startsWith('"') };
    if (isListGoingOn) fields.at(-1)?.push(word);
    else fields.push([word]);
    isListGoingOn = false;
  }
  return isListGoingOn ? 'ends with a comma; expected a name after it' : fields;
}

const textOf = (words: readonly HbaWord[]): string => words.map(({ text }) => text).join(',');

/** `all`, `samehost`, `samenet`, a host name, `.example.com`, an IP address (with its mask in the next field), or a network. */
function addressProblem(address: string): string | undefined {
  const expected = 'expected a network such as 10.0.0.0/24, a host name, all, samehost or samenet';
  const [ip = '', length, ...rest] = address.split('/');
  if (length === undefined) {
    if (isIP(address) !== 0 || /^\.?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$/.test(address)) {
      // Digits and dots alone are a network that was mistyped, no name.
      return /^[\d.]+$/.test(address) && isIP(address) === 0
        ? `"${address}" is given; ${expected}`
        : undefined;
    }
    return `"${address}" is given; ${expected}`;
  }
  const version = isIP(ip);
  const isLength = /^\d{1,3}$/.test(length) && Number(length) <= (version === 4 ? 32 : 128);
  return version === 0 || !isLength || rest.length > 0 ? `"${address}" is given; ${expected}` : undefined;
}

/** 4, 6, or 0 for what is no address. */
function isIP(text: string): 0 | 4 | 6 {
  const isFour = (part: string): boolean =>
    /^(\d{1,3}\.){3}\d{1,3}$/.test(part) && part.split('.').every((each) => Number(each) <= 255);
  if (isFour(text)) return 4;
  if (!text.includes(':')) return 0;
  const halves = text.split('::');
  if (halves.length > 2) return 0;
  const groups = halves.map((half) => (half === '' ? [] : half.split(':')));
  const all = groups.flat();
  const last = groups.at(-1)?.at(-1);
  // The last two groups may be an address of version 4.
  const endsInFour = last !== undefined && isFour(last);
  const plain = endsInFour ? all.slice(0, -1) : all;
  const count = plain.length + (endsInFour ? 2 : 0);
  const isWhole = halves.length === 2 ? count <= 7 : count === 8;
  return isWhole && plain.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group)) ? 6 : 0;
}

function isContiguous(mask: string): boolean {
  if (isIP(mask) === 6) return true;
  const bits = mask.split('.').map((part) => Number(part).toString(2).padStart(8, '0'));
  return /^1*0*$/.test(bits.join(''));
}
