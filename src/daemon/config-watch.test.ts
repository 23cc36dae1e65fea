// Formations and watched servers in the configuration file: what they become, and what is wrong with them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { ConfigError } from './config-problems.ts';
import { type Config, loadConfig } from './config.ts';

const root = mkdtempSync(join(tmpdir(), 'pg-sentinel-config-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const file = (more: string, formation = ''): string => `
cluster: shop
peer: a
peers: { a: '10.0.0.1:7432', b: '10.0.0.2:7432', c: '10.0.0.3:7432' }
state_directory: ${root}/state
node: { name: pg1, data_directory: ${root}/data${formation} }
users: { replication: { password: r }, probe: { password: p } }
${more}
`;

function load(text: string): Config {
  const path = join(root, 'sentineld.yaml');
  writeFileSync(path, text, { mode: 0o600 });
  return loadConfig({ path, env: {} });
}

it('a group is in the formation default and nothing is watched, unless it is said', () => {
  expect(load(file(''))).toMatchObject({ node: { formation: 'default' }, watch: [] });
});

it('watched servers come in the order of their names', () => {
  const watch = 'watch: [{ name: z, address: "h:1" }, { name: y, address: "h:2", formation: abroad }]';
  expect(load(file(watch, ', formation: home'))).toMatchObject({
    node: { formation: 'home' },
    watch: [
      { server: 'y', host: 'h', port: 2, formation: 'abroad' },
      { server: 'z', host: 'h', port: 1, formation: 'default' },
    ],
  });
});

it.each([
  ['watch: { name: far }', 'watch: a mapping is given; expected a list of servers'],
  ['watch: [{ name: far }]', 'watch.0.address: missing; expected '],
  ['watch: [{ name: pg1, address: "10.0.0.9:5432" }]', '"pg1" is the node of this host'],
  ['watch: [{ name: x, address: "h:1" }, { name: x, address: "h:2" }]', 'watch.1.name: "x" is listed twice'],
  [
    'watch: [{ name: x, address: "h:1" }, { name: y, address: "H:1" }]',
    'watch.1.address: "H:1" is also the address of x',
  ],
  ['watch: [{ name: x, address: "0.0.0.0:1" }]', 'an address that the peers can connect to'],
])('%s is refused', (watch, expected) => {
  expect(() => load(file(watch))).toThrow(ConfigError);
  expect(() => load(file(watch))).toThrow(expected);
});

it('a formation has a name like all else', () => {
  expect(() => load(file('', ', formation: Far East'))).toThrow(
    'node.formation: "Far East" is given; expected',
  );
});
