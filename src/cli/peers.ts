// Where sentinelctl looks for peers: `--peers`, `--config`, PG_SENTINEL_PEERS, the configuration of a sentineld on this
// host. Reads only the addresses out of a configuration; never its passwords.
import { existsSync, readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { CliError, EXIT } from './exit-codes.ts';

export const DEFAULT_CONFIG_PATH = '/etc/pg-sentinel/sentineld.yaml';
export const PEERS_VARIABLE = 'PG_SENTINEL_PEERS';

export interface PeerOptions {
  readonly peers?: string | undefined;
  readonly config?: string | undefined;
}

/** Addresses `host:port` in the order to try them; {@link CliError} with exit code 2 where there are none. */
export function findPeers(
  options: PeerOptions,
  env: NodeJS.ProcessEnv,
  defaultConfigPath = DEFAULT_CONFIG_PATH,
): readonly string[] {
  if (options.peers !== undefined && options.config !== undefined) {
    throw new CliError(EXIT.usage, 'give either --peers or --config, not both');
  }
  if (options.peers !== undefined) return parseList(options.peers, '--peers');
  if (options.config !== undefined) return readPeers(options.config);
  const variable = env[PEERS_VARIABLE];
  if (variable !== undefined && variable !== '') return parseList(variable, PEERS_VARIABLE);
  if (existsSync(defaultConfigPath)) return readPeers(defaultConfigPath);
  throw new CliError(
    EXIT.usage,
    `no peers to ask: give --peers HOST:PORT,..., set ${PEERS_VARIABLE}, or give --config FILE of a sentineld ` +
      `(${defaultConfigPath} does not exist)`,
  );
}

/** {@link CliError} where it is no list of addresses; `source`: where it was given. */
export function parseList(text: string, source: string): string[] {
  const addresses = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  if (addresses.length === 0)
    throw new CliError(EXIT.usage, `${source} is empty; expected HOST:PORT,HOST:PORT,...`);
  for (const address of addresses) checkAddress(address, source);
  return addresses;
}

/** The peer of that host first: it is the nearest. */
function readPeers(path: string): string[] {
  let file: unknown;
  try {
    file = parse(readFileSync(path, 'utf8'), { logLevel: 'error' });
  } catch (error) {
    const message = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    // `no such file or directory` rather than `ENOENT: no such file or directory, open '...'`.
    const reason = /^E[A-Z]+: ([^,]+)/.exec(message)?.[1] ?? message.replace(/:$/, '');
    throw new CliError(
      EXIT.usage,
      `cannot read the peers from ${path}: ${reason}; expected the configuration of a sentineld`,
    );
  }
  const { peers, peer } = (file ?? {}) as { peers?: unknown; peer?: unknown };
  const entries = typeof peers === 'object' && peers !== null ? Object.entries(peers) : [];
  if (entries.length === 0)
    throw new CliError(EXIT.usage, `${path} names no peers; expected the configuration of a sentineld`);
  const addresses = entries.map(([name, address]) => checkAddress(String(address), `${path}: peers.${name}`));
  const own = entries.findIndex(([name]) => name === peer);
  return own <= 0 ? addresses : [...addresses.splice(own, 1), ...addresses];
}

export const ADDRESS_RULE = 'HOST:PORT, an IPv6 address in brackets: [fd00::1]:7432';

/** Whether `text` is an address of a peer, as far as one can tell without resolving it. */
export function isAddress(text: string): boolean {
  const port = Number(/^(?:\[[0-9a-fA-F:.%\w]+\]|[\w.-]+):(\d{1,5})$/.exec(text)?.[1]);
  return port >= 1 && port <= 65_535;
}

function checkAddress(address: string, source: string): string {
  if (isAddress(address)) return address;
  throw new CliError(
    EXIT.usage,
    `${source}: "${address}" is not HOST:PORT (an IPv6 address in brackets, [fd00::1]:7432)`,
  );
}
