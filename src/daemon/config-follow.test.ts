// The section node.follow: what it becomes, and what is wrong with it.
import { expect, test } from 'vitest';
import { GOOD, load, problems, secret } from './testing/config-place.ts';

const withNode = (node: string): string => GOOD.replace('users:', `${node}\nusers:`);
const follow = (more: string, servers = 'far:5432, "[fd00::9]:5432"') =>
  `  follow: { servers: [${servers}]${more} }`;

test('it becomes the servers, the account, the slot and what libpq is told, and is registered by its servers', () => {
  const all = `, slot: second, sslmode: verify-full, sslrootcert: /etc/ca.crt, user: { name: second, password_file: ${secret} }`;
  expect(load(withNode(follow(all))).node).toMatchObject({
    options: { source: 'far:5432,[fd00::9]:5432' },
    follow: {
      servers: [
        { host: 'far', port: 5432 },
        { host: 'fd00::9', port: 5432 },
      ],
      account: { name: 'second', password: 'wonder land', file: secret },
      slot: 'second',
      parameters: { sslmode: 'verify-full', sslrootcert: '/etc/ca.crt' },
    },
  });
  expect(load(withNode(follow(''))).node?.follow).toMatchObject({
    account: undefined,
    slot: undefined,
    parameters: {},
  });
});

test('without it nothing is followed', () => {
  const { node } = load(GOOD);
  expect(node).not.toHaveProperty('follow');
  expect(node?.options).not.toHaveProperty('source');
});

test.each([
  [follow('', ''), 'node.follow.servers: a list is given; expected at least one address'],
  [follow('', 'far'), 'node.follow.servers.0: "far" is given; expected'],
  [
    follow('', '0.0.0.0:5432'),
    'node.follow.servers.0: "0.0.0.0:5432" is given; expected an address that this',
  ],
  [
    `  address: 10.0.0.1:5432\n${follow('', '10.0.0.1:5432')}`,
    'node.follow.servers.0: "10.0.0.1:5432" is the address of this node; expected servers of the other site',
  ],
  [
    follow('', 'far:5432, FAR:5432'),
    'node.follow.servers.1: "FAR:5432" is listed twice; expected each server once',
  ],
  [
    `${follow('')}\nbootstrap: { command: [/bin/restore] }`,
    'bootstrap: it is given together with node.follow; expected one of them',
  ],
  [follow(', slot: Second'), 'node.follow.slot: "Second" is given; expected the name of a replication slot'],
  [
    follow(', sslmode: prefer'),
    'node.follow.sslmode: "prefer" is given; expected one of disable, require, verify-ca, verify-full',
  ],
  [
    follow(', sslmode: verify-ca'),
    'node.follow.sslrootcert: missing; expected the certificate authority, as node.follow.sslmode is verify-ca',
  ],
  [
    follow(', sslrootcert: /ca.crt'),
    'node.follow.sslrootcert: is used with sslmode verify-ca and verify-full only',
  ],
  [follow(', user: { name: second }'), 'node.follow.user: no password; expected exactly one of'],
  [follow(', port: 5432'), 'node.follow.port: unknown key'],
])('%s is refused', (node, expected) => {
  expect(problems(withNode(node)).join('\n')).toContain(expected);
});
