// Hosts of a test's own: namespaces for processes, network, mounts, host name and shared memory, joined by a bridge in a network namespace of
// its own. /etc, /var/lib, /var/log, /usr/local and /run are private to each, in memory; nothing of this machine is changed. Every process of a
// host ends with its first one, and that with the test. Needs root.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../../src/base/clock.ts';
import { compiled } from '../../../harness/programs.ts';

export interface Host {
  readonly name: string;
  /** Gives the host another address, beside those that it has. */
  addAddress(address: string): void;
  /** Takes one away. */
  removeAddress(address: string): void;
  /** Runs bash there, as root; standard output and error as they came. Ended after `timeoutMs`, with a line that says so. */
  run(text: string, timeoutMs: number, input?: Buffer): Promise<Ran>;
  /** The power goes: every process is killed, and what it had on its disks is gone. */
  destroy(): Promise<void>;
}

export interface Ran {
  readonly code: number;
  readonly output: string;
  readonly stdout: Buffer;
}

export interface Hosts {
  /** Adds a host with `address` in 10.0.0.0/24. */
  add(name: string, address: string): Promise<Host>;
  close(): Promise<void>;
}

/** Why there can be no such hosts here, or undefined. */
export function whyNoHosts(): string | undefined {
  if (process.getuid?.() !== 0) return 'hosts of their own need root, for namespaces';
  const tried = spawnSync('unshare', [...UNSHARE, 'bash', '-c', 'ip link add br0 type bridge'], {
    encoding: 'utf8',
  });
  return tried.status === 0
    ? undefined
    : `no namespaces here: ${tried.error?.message ?? tried.stderr.trim()}`;
}

const UNSHARE = ['--mount', '--uts', '--ipc', '--net', '--pid', '--fork', '--kill-child', '--mount-proc'];
const START_MS = 20_000;
/** It ends with its standard input, and takes every process of its host along. As process 1 it reaps what others leave behind. */
const FIRST_PROCESS = 'while read -r _; do :; done';

/** `over`: a directory whose `usr` lies over this machine's own on every host. */
export async function openHosts(over?: string): Promise<Hosts> {
  const directory = mkdtempSync(join(tmpdir(), 'pg-sentinel-hosts-'));
  const opened: { readonly child: ChildProcess }[] = [];
  const open = async (setUp: string): Promise<{ child: ChildProcess; pid: number }> => {
    const script = `set -e\n${setUp}\necho ready\n${FIRST_PROCESS}`;
    const child = spawn('unshare', [...UNSHARE, 'bash', '-c', script], { stdio: ['pipe', 'pipe', 'pipe'] });
    opened.push({ child });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data: Buffer) => (said += data.toString()));
    await until({ what: 'a host to start', timeoutMs: START_MS, everyMs: 20 }, () => {
      if (child.exitCode !== null) throw new Error(`a host did not start: ${said}`);
      return said.includes('ready\n');
    });
    const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
    return { child, pid: Number(children) };
  };
  const close = async (): Promise<void> => {
    await Promise.all(opened.map(({ child }) => end(child)));
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const bridge = await open('ip link add br0 type bridge; ip link set br0 up');
    let count = 0;
    return {
      close,
      async add(name, address) {
        const { child, pid } = await open(hostScript(name, directory, over));
        const link = `v${(count += 1)}`;
        must(bridge.pid, `ip link add ${link} type veth peer name eth0 netns ${pid}`, ['-n']);
        must(bridge.pid, `ip link set ${link} master br0 up`, ['-n']);
        must(pid, `ip link set lo up; ip link set eth0 up; ip address add ${address}/24 dev eth0`, ALL);
        return {
          name,
          addAddress: (added) => must(pid, `ip address add ${added}/24 dev eth0`, ALL),
          removeAddress: (removed) => must(pid, `ip address del ${removed}/24 dev eth0`, ALL),
          run: (text, timeoutMs, input) => run(pid, text, timeoutMs, input),
          destroy: () => end(child),
        };
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const ALL = ['-m', '-u', '-i', '-n', '-p'];

function must(pid: number, text: string, namespaces: readonly string[]): void {
  const { status, stderr } = spawnSync('nsenter', ['-t', `${pid}`, ...namespaces, 'bash', '-ec', text], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${text}: ${stderr}`);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.stdin?.end();
  child.kill('SIGKILL');
  await gone;
}

function run(pid: number, text: string, timeoutMs: number, input?: Buffer): Promise<Ran> {
  return new Promise((resolve, reject) => {
    // Without a terminal; HOME is the private one of this host.
    const child = spawn('nsenter', ['-t', `${pid}`, ...ALL, 'bash', '-c', `cd /\n${text}`], {
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        HOME: '/root',
        LANG: 'C.UTF-8',
      },
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    let output = '';
    const out: Buffer[] = [];
    child.stdout?.on('data', (data: Buffer) => {
      out.push(data);
      output += data.toString();
    });
    child.stderr?.on('data', (data: Buffer) => (output += data.toString()));
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
    const timer = setTimeout(() => {
      output += `\nended after ${timeoutMs} ms\n`;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.once('error', reject);
    // Not `close`: what it started in the background keeps its output open.
    child.once('exit', (code) => {
      clearTimeout(timer);
      setTimeout(() => resolve({ code: code ?? 128, output, stdout: Buffer.concat(out) }), LAST_OUTPUT_MS);
    });
  });
}

const LAST_OUTPUT_MS = 30;

/** Directories of its own, the programs of this checkout, and a `systemctl` that does for one service what systemd would. */
function hostScript(name: string, directory: string, over: string | undefined): string {
  const program = (file: string): string =>
    `printf '#!/bin/sh\\nexec %s %s "$@"\\n' '${process.execPath}' '${compiled(file)}'`;
  return `
mount --make-rprivate /
mount -t tmpfs tmpfs ${directory}
${over === undefined ? '' : layOver(over, directory)}
for path in etc var/lib var/log usr/local; do
  mkdir -p ${directory}/$path/upper ${directory}/$path/work
  mount -t overlay overlay -o lowerdir=/$path,upperdir=${directory}/$path/upper,workdir=${directory}/$path/work /$path
done
mount -t tmpfs tmpfs /run
install -d -o postgres -g postgres -m 2775 /run/postgresql
hostname ${name}
mkdir -p /etc/systemd/system /usr/local/bin
${program('src/daemon/sentineld.js')} > /usr/local/bin/sentineld
${program('src/cli/sentinelctl.js')} > /usr/local/bin/sentinelctl
cat > /usr/local/bin/systemctl <<'SYSTEMCTL'
${SYSTEMCTL}
SYSTEMCTL
chmod +x /usr/local/bin/{sentineld,sentinelctl,systemctl}`;
}

/** What is mounted within /usr already, or will be, is lost below the new one: so /usr/local is bound to what it was. */
const layOver = (over: string, directory: string): string => `
mkdir ${directory}/local
mount --bind /usr/local ${directory}/local
mount -t overlay overlay -o lowerdir=${over}/usr:/usr /usr
mount --bind ${directory}/local /usr/local`;

/** There is no systemd in a namespace of ours. */
const SYSTEMCTL = `#!/bin/bash
# Starts, stops and restarts sentineld as its unit says: ExecStart, Restart=always, RestartPreventExitStatus, KillMode=process.
unit=/etc/systemd/system/sentineld.service
start() {
  program="$(sed -n 's/^ExecStart=//p' $unit)"
  fatal="$(sed -n 's/^RestartPreventExitStatus=//p' $unit)"
  setsid bash -c '
    trap "kill \\$child; wait \\$child; exit" TERM
    while :; do
      '"$program"' >> /var/lib/sentineld.log 2>&1 & child=$!
      wait $child
      [ $? = '"$fatal"' ] && exit
      sleep 1
    done' < /dev/null > /dev/null 2>&1 &
  echo $! > /run/service.pid
}
stop() {
  pid="$(cat /run/service.pid)" || return
  kill "$pid"
  for _ in $(seq 200); do kill -0 "$pid" 2> /dev/null || return 0; sleep 0.1; done
  echo "systemctl: sentineld does not end" >&2
  return 1
}
case "$*" in
  'enable --now sentineld' | 'start sentineld') start ;;
  'disable --now sentineld' | 'stop sentineld') stop ;;
  'restart sentineld') stop && start ;;
  daemon-reload) ;;
  *) echo "systemctl: this stand-in does not know: $*" >&2; exit 1 ;;
esac`;
