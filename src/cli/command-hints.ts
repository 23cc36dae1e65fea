// What somebody may mean who knows the commands of Patroni, repmgr or pg_auto_failover.

/** By the word that is no command of ours: the command that does it, and what else is to be known. */
export const COMMAND_HINTS: Readonly<Record<string, { readonly command: string; readonly note?: string }>> = {
  switchover: { command: 'failover', note: 'planned: a standby takes over, the primary follows it' },
  failback: { command: 'failover', note: 'with --to NODE; by itself with settings set failback=...' },
  promote: { command: 'failover', note: 'with --to NODE' },
  list: { command: 'status' },
  topology: { command: 'status' },
  state: { command: 'status' },
  show: { command: 'status' },
  cluster: { command: 'status', note: 'what happened: sentinelctl events' },
  history: { command: 'events', note: 'of settings: sentinelctl settings history' },
  log: { command: 'events' },
  logs: { command: 'events' },
  watch: { command: 'status', note: 'with --watch' },
  restart: { command: 'node restart' },
  reload: { command: 'node reload' },
  reinit: { command: 'node reinit' },
  rejoin: { command: 'node rejoin' },
  follow: { command: 'node follow' },
  standby: {
    command: 'node',
    note: 'clones are made by sentineld itself, or node reinit; promote, switchover: failover --to NODE',
  },
  primary: { command: 'adopt', note: 'of servers that run already; new ones sentineld makes' },
  register: { command: 'node register' },
  unregister: { command: 'node unregister' },
  drop: { command: 'node drop' },
  enable: { command: 'maintenance on', note: 'and maintenance off; groups: pause, resume' },
  disable: { command: 'maintenance off', note: 'and maintenance on; groups: pause, resume' },
  'edit-config': { command: 'settings edit' },
  'show-config': { command: 'settings get' },
  config: { command: 'settings' },
  get: { command: 'settings get' },
  set: { command: 'settings set' },
  dsn: { command: 'uri' },
  'show-uri': { command: 'uri' },
  members: { command: 'peer list' },
  remove: { command: 'peer remove', note: 'of a node: node unregister, node drop' },
};

/** Commander's message, which ends with a guess of its own where another command is spelt alike; with ours instead where the word is known. */
export function withHint(message: string): string {
  const word = /^error: unknown command '([^']+)'/.exec(message)?.[1] ?? '';
  const hint = Object.hasOwn(COMMAND_HINTS, word) ? COMMAND_HINTS[word] : undefined;
  if (hint === undefined) return message;
  const note = hint.note === undefined ? '' : `; ${hint.note}`;
  return `error: unknown command '${word}'\n(here it is: sentinelctl ${hint.command}${note})\n`;
}
