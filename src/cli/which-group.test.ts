// The group of a command, as its argument or by --group: wherever a command takes a group, both say the same.
import { describe, expect, it } from 'vitest';
import { fakeAdmin, run } from './testing/fake-context.ts';

const COMMANDS: readonly (readonly [string, string])[] = [
  ['adopt', '--yes'],
  ['adopt', '--dry-run'],
  ['site promote', '--yes'],
  ['site promote', '--dry-run'],
  ['pause', ''],
  ['resume', ''],
  ['ack', ''],
  ['failover', '-y'],
];
const words = (...parts: readonly string[]): string[] => parts.join(' ').split(' ').filter(Boolean);
const requests = async (args: readonly string[]): Promise<unknown[]> => {
  const admin = fakeAdmin();
  const { exitCode, stderr } = await run(args, { admin });
  expect([exitCode, stderr.includes('error')]).toEqual([0, false]);
  return admin.asked.filter((request) => request !== 'closed');
};

describe.each(COMMANDS)('%s %s', (command, rest) => {
  it('takes --group as it takes the argument', async () => {
    const byOption = await requests(words(command, '--group main', rest));
    expect(byOption.at(-1)).toMatchObject({ group: 'main' });
    expect(byOption).toEqual(await requests(words(command, 'main', rest)));
    expect(byOption).toEqual(await requests(words(command, 'main --group main', rest)));
  });

  it('asks for one of two that differ', async () => {
    const admin = fakeAdmin();
    expect(await run(words(command, 'main --group other', rest), { admin })).toEqual({
      exitCode: 2,
      stdout: '',
      stderr: 'sentinelctl: main and --group other are given; name one group\n',
    });
    expect(admin.asked).toEqual([]);
  });

  it('says so with --help', async () => {
    const { stdout } = await run(words(command, '--help'));
    expect(stdout).toMatch(/^Usage: sentinelctl .*\[group\]/);
    expect(stdout).toMatch(/--group <group> +the same as the argument/);
  });
});

describe('site lead, which the node tells the group of,', () => {
  const LEAD = { kind: 'lead-site', node: 'pg2', dryRun: false };

  it('takes the group of its node', async () => {
    expect(await requests(words('site lead pg2 --group main'))).toEqual([LEAD]);
    expect(await requests(words('site lead pg2'))).toEqual([LEAD]);
  });

  it.each([
    ['pg9 --group main', 'there is no node "pg9" in group main; there are: pg1, pg2, pg3'],
    ['pg2 --group other', 'there is no group "other" in shop; there are: main'],
  ])('%s: is refused where that is another one', async (rest, reason) => {
    const admin = fakeAdmin();
    expect(await run(words('site lead', rest), { admin })).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: `sentinelctl: ${reason}\n`,
    });
    expect(admin.asked).toEqual(['closed']);
  });
});
