// Commands of other tools lead to ours.
import { describe, expect, it } from 'vitest';
import { COMMAND_HINTS } from './command-hints.ts';
import { run } from './testing/fake-context.ts';

describe('a command of another tool', () => {
  it('is wrong use, and ours is named', async () => {
    expect(await run(['switchover', 'main'])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(
        /^sentinelctl: unknown command 'switchover'\n\(here it is: sentinelctl failover; planned: /,
      ) as unknown,
    });
    expect((await run(['list'])).stderr).toContain('(here it is: sentinelctl status)');
  });

  it.each(Object.entries(COMMAND_HINTS))('%s leads to a command that there is', async (word, { command }) => {
    expect(await run([...command.split(' '), '--help'])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(new RegExp(`^Usage: sentinelctl ${command} `)) as unknown,
    });
    expect((await run([word])).stderr).toContain(`sentinelctl ${command}`);
  });

  it('a word that nobody knows has no hint of this kind', async () => {
    expect((await run(['fooo'])).stderr).not.toContain('here it is');
  });
});
