// Addresses as the configuration writes them: `host:port`, an IPv6 address in brackets. Syntax only: nothing is resolved.

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export const ADDRESS_RULE =
  'host:port with a port from 1 to 65535; an IPv6 address in brackets, "[fd00::1]:7432"';

/** The parts of `host:port` (without the brackets of IPv6), or undefined where `text` is none. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined || !(port >= 1 && port <= 65_535)) return undefined;
  return { host, port };
}

/** `host:port`, with brackets around an IPv6 address. */
export function formatEndpoint(endpoint: Endpoint): string {
  const host = endpoint.host.includes(':') ? `[${endpoint.host}]` : endpoint.host;
  return `${host}:${endpoint.port}`;
}

/** An address to listen on, which nobody can connect to from elsewhere. */
export function isWildcard(host: string): boolean {
  return ['0.0.0.0', '::', '*', '0'].includes(host);
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
