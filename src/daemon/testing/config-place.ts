// A place for files of the configuration, with a good one to be changed; removed when the tests of the file are over.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { ConfigError } from '../config-problems.ts';
import { loadConfig, type Config } from '../config.ts';

export const root = mkdtempSync(join(tmpdir(), 'pg-sentinel-config-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
chmodSync(root, 0o755);

export const secret = join(root, 'secret');
writeFileSync(secret, 'wonder land\n', { mode: 0o600 });

export const GOOD = `
cluster: shop
peer: a
peers:
  a: 10.0.0.1:7432
  b: 10.0.0.2:7432
  c: "[fd00::3]:7432"
state_directory: ${root}/state
node:
  name: pg1
  data_directory: ${root}/data
users:
  replication: { password_file: ${secret} }
  probe: { password_env: PROBE_PASSWORD }
`;
export const ENV = { PROBE_PASSWORD: 'probed' };

let files = 0;
export function write(text: string, mode = 0o600): string {
  const path = join(root, `${(files += 1)}.yaml`);
  writeFileSync(path, text, { mode });
  return path;
}

export const load = (text: string, options: { peer?: string; env?: NodeJS.ProcessEnv } = {}): Config =>
  loadConfig({ path: write(text), env: ENV, ...options });

/** The problems as `key: text`, or the empty list. */
export function problems(text: string, options: { peer?: string; env?: NodeJS.ProcessEnv } = {}): string[] {
  try {
    load(text, options);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((problem) => `${problem.key}: ${problem.text}`);
  }
}
