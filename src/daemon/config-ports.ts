// Whether the ports that this host is to serve are free, looked at before anything is made on disk. Only binds and lets go.
// A node that has run before is not checked: its peer has to vote, whatever has taken PostgreSQL's port meanwhile.
import { readdir } from 'node:fs/promises';
import { createServer, isIP } from 'node:net';
import { formatEndpoint, type Endpoint } from './config-address.ts';
import { formatProblem } from './config-problems.ts';
import type { Config } from './config.ts';

/** Throws an Error that names key, address and remedy for every port that cannot be listened on now. */
export async function checkPorts(config: Config): Promise<void> {
  const own = config.peers.find(({ peer }) => peer === config.peer);
  const isOwn = own?.host === config.listen.host && own.port === config.listen.port;
  const wanted = [
    { key: isOwn ? `peers.${config.peer}` : 'listen', address: config.listen, isPostgres: false },
  ];
  const { node } = config;
  if (node !== undefined && (await isUnused(node.dataDirectory))) {
    // As PostgreSQL will: a host name may be another one here.
    const host = isIP(node.host) === 0 ? '0.0.0.0' : node.host;
    wanted.push({ key: 'node.address', address: { host, port: node.port }, isPostgres: true });
  }
  const problems: string[] = [];
  for (const { key, address, isPostgres } of wanted) {
    const code = await whyNotListening(address);
    if (code === undefined) continue;
    const text = `${isPostgres ? 'PostgreSQL cannot' : 'cannot'} listen on ${formatEndpoint(address)}: ${remedyFor(code, address, isPostgres)}`;
    problems.push(formatProblem(config.path, { key, line: undefined, text }));
  }
  if (problems.length > 0) throw new Error(problems.join('\n'));
}

async function isUnused(dataDirectory: string): Promise<boolean> {
  const names = await readdir(dataDirectory).catch(() => []);
  return names.length === 0;
}

/** The error's code, or undefined where listening works. */
function whyNotListening({ host, port }: Endpoint): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

function remedyFor(code: string, { host, port }: Endpoint, isPostgres: boolean): string {
  switch (code) {
    case 'EADDRINUSE': {
      const who = isPostgres
        ? 'another process has that port'
        : 'another process has that port, perhaps a second sentineld';
      return `${who}; find it with "ss -ltnp 'sport = :${port}'" and stop it, or take another port`;
    }
    case 'EADDRNOTAVAIL':
      return isPostgres
        ? `this host has no address ${host}; give one of its own`
        : `this host has no address ${host}; give one of its own as "listen"`;
    case 'EACCES':
      return 'not permitted; take a port above 1023';
    default:
      return code;
  }
}
