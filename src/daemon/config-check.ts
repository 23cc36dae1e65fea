// `sentineld --check-config`: says what is wrong with the configuration and this host, or what it amounts to. Changes nothing.
import { formatEndpoint } from './config-address.ts';
import { checkEnvironment } from './config-environment.ts';
import { ConfigError } from './config-problems.ts';
import { loadConfig, type Config, type LoadOptions } from './config.ts';

/** Prints the outcome; returns the exit code: 0 usable (perhaps with warnings), 1 not. */
export async function checkConfig(
  options: LoadOptions & { readonly print: (line: string) => void },
): Promise<0 | 1> {
  try {
    const config = loadConfig(options);
    const warnings = [...config.warnings, ...(await checkEnvironment(config))];
    for (const warning of warnings) options.print(`warning: ${warning}`);
    options.print(`${options.path}: ok; ${summarize(config)}`);
    return 0;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const line of error.message.split('\n')) options.print(`error: ${line}`);
    return 1;
  }
}

/** `peer a of cluster shop (a, b, c), node pg1 of group main at 10.0.0.1:5432`: nothing secret. */
function summarize(config: Config): string {
  const peers = config.peers.map(({ peer }) => peer).join(', ');
  const { node } = config;
  const role =
    node === undefined ? 'a witness' : `node ${node.name} of group ${node.group} at ${formatEndpoint(node)}`;
  return `peer ${config.peer} of cluster ${config.cluster} (${peers}), ${role}`;
}
