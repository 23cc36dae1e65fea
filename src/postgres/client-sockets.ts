// Whether a process of PostgreSQL was forked for a client: it then holds the accepted socket, from before it has a title of its own
// until it ends. Read from /proc (Linux); reads only.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const LISTENING = '0A';
const UNIX_CONNECTED = '03';

/**
 * Whether a child of the postmaster holds a connection that was made to the server's port or Unix socket. The postmaster closes its own end
 * before it forks anything else, so a walreceiver never holds one, however new it is. False for a process that is gone. The host's
 * connections, of which there may be many, are read once, when they are first asked about: of one that came later nothing is said.
 */
export function clientSockets(
  postmasterPid: number,
  port: number,
): { readonly servesClient: (pid: number) => boolean } {
  let accepted: ReadonlySet<string> | undefined;
  return {
    servesClient(pid) {
      const inodes = socketInodes(pid);
      if (inodes.size === 0) return false;
      accepted ??= acceptedInodes(postmasterPid, port);
      for (const inode of inodes) if (accepted.has(inode)) return true;
      return false;
    },
  };
}

/** Of connections to the port or the Unix socket, in the network that the process sees. */
function acceptedInodes(pid: number, port: number): Set<string> {
  const hexPort = `:${port.toString(16).toUpperCase().padStart(4, '0')} `;
  const tcp = ['tcp', 'tcp6'].flatMap((table) =>
    rows(pid, table, hexPort).flatMap((fields) => (isAccepted(fields, port) ? fields.slice(9, 10) : [])),
  );
  const local = rows(pid, 'unix', `/.s.PGSQL.${port}`).flatMap((fields) =>
    isAcceptedLocally(fields, port) ? fields.slice(6, 7) : [],
  );
  return new Set([...tcp, ...local]);
}

/** Fields of /proc/net/tcp: number, local address (`0100007F:1538`), remote address, state, ..., inode. */
function isAccepted(fields: readonly string[], port: number): boolean {
  const local = Number.parseInt(fields[1]?.split(':').at(-1) ?? '', 16);
  return local === port && fields[3] !== LISTENING;
}

/** Fields of /proc/net/unix: number, references, protocol, flags, type, state, inode, path: that of the socket connected to. */
function isAcceptedLocally(fields: readonly string[], port: number): boolean {
  return fields[5] === UNIX_CONNECTED && fields[7]?.endsWith(`/.s.PGSQL.${port}`) === true;
}

function socketInodes(pid: number): Set<string> {
  const inodes = new Set<string>();
  let names: string[] = [];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return inodes;
  }
  for (const name of names) {
    const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${name}`))?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  return inodes;
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

/** The rows with that text in them. */
function rows(pid: number, table: string, text: string): string[][] {
  try {
    const lines = readFileSync(`/proc/${pid}/net/${table}`, 'utf8').split('\n').slice(1);
    return lines.filter((line) => line.includes(text)).map((line) => line.trim().split(/\s+/));
  } catch {
    return [];
  }
}
