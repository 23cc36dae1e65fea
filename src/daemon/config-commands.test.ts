// Commands of the owner's in the configuration: programs with arguments and a time limit, which the host must be able to run.
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkEnvironment } from './config-environment.ts';
import { GOOD, load, root, secret } from './testing/config-place.ts';

describe('a fence command', () => {
  it('is a program with its arguments, and has a time limit', () => {
    const text = 'fence: { command: [/sbin/power-off, "--host", "two words"], timeout: 5s }';
    expect(load(`${GOOD}${text}\n`).fence).toEqual({
      command: ['/sbin/power-off', '--host', 'two words'],
      timeoutMs: 5000,
    });
    expect(load(`${GOOD}fence: { command: [/sbin/power-off] }\n`).fence?.timeoutMs).toBe(30_000);
    expect(load(GOOD).fence).toBeUndefined();
  });

  it.each(['/sbin/power-off', '[]', '[power-off]', '[/sbin/power-off, 1]'])('is refused as %s', (command) => {
    expect(() => load(`${GOOD}fence: { command: ${command} }\n`)).toThrow(
      /fence.command.*expected a list: the program as an absolute path/,
    );
  });

  it('that cannot be run is refused by the host', async () => {
    const missing = load(`${GOOD}fence: { command: [${root}/none] }\n`);
    await expect(checkEnvironment(missing)).rejects.toThrow(/fence.command: cannot run ".*none"/);
    const plain = load(`${GOOD}fence: { command: [${secret}] }\n`);
    await expect(checkEnvironment(plain)).rejects.toThrow(/fence.command: cannot run/);
  });
});

describe('a promote command', () => {
  const withNode = (text: string): string => GOOD.replace('  name: pg1', `  name: pg1\n  ${text}`);

  it('is a program with its arguments, and has a time limit', () => {
    const command = 'promote_command: [/usr/bin/ssh, pg1, "pg_ctlcluster 15 main promote"]';
    const promoteCommand = {
      command: ['/usr/bin/ssh', 'pg1', 'pg_ctlcluster 15 main promote'],
      timeoutMs: 20_000,
    };
    expect(load(withNode(command))).toMatchObject({ node: { promoteCommand }, warnings: [] });
    expect(load(withNode(`${command}\n  promote_timeout: 5s`)).node?.promoteCommand?.timeoutMs).toBe(5000);
    expect(load(GOOD).node).not.toHaveProperty('promoteCommand');
  });

  it.each(['/sbin/promote', '', '[]', '[promote]', '[/sbin/promote, 1]', '{ command: [/sbin/promote] }'])(
    'is refused as %j',
    (command) => {
      expect(() => load(withNode(`promote_command: ${command}`))).toThrow(
        /node.promote_command.*expected a list: the program as an absolute path/,
      );
    },
  );

  it.each(['20', '500ms', '11min'])('is refused with %s to end within', (timeout) => {
    expect(() => load(withNode(`promote_command: [/a]\n  promote_timeout: ${timeout}`))).toThrow(
      /node.promote_timeout: .*expected .*from 1s to 10min/,
    );
  });

  it('is warned of where the other peers would not wait for it, and its time limit where there is none', () => {
    const warningsOf = (text: string, more = ''): string => load(withNode(text) + more).warnings.join('\n');
    const command = 'promote_command: [/a]\n  promote_timeout: ';
    expect(warningsOf(`${command}30s`)).toMatch(
      /:12: node.promote_timeout: 30s is not shorter than timing.recovery_down_after \(30s\): by then/,
    );
    expect(warningsOf(`${command}30s`, 'timing: { recovery_down_after: 31s }\n')).toBe('');
    expect(warningsOf('promote_timeout: 5s')).toMatch(/it has no effect without node.promote_command/);
  });

  it("that PostgreSQL's user cannot run is refused by the host", async () => {
    const refused = async (program: string): Promise<string> =>
      checkEnvironment(load(withNode(`promote_command: [${program}]`))).then(
        () => 'nothing',
        (error: unknown) => (error as Error).message,
      );
    expect(await refused(`${root}/none`)).toMatch(
      /node.promote_command: cannot run ".*none": no such file or directory/,
    );
    expect(await refused(secret)).toMatch(/node.promote_command: cannot run ".*secret": permission denied/);
    expect(await refused(root)).toMatch(/node.promote_command: cannot run .*: it is not a file/);
    const own = join(root, 'own-program');
    writeFileSync(own, '#!/bin/sh\n');
    chmodSync(own, 0o700);
    const locked = join(root, 'locked');
    mkdirSync(locked, { mode: 0o700 });
    writeFileSync(join(locked, 'program'), '#!/bin/sh\n');
    chmodSync(join(locked, 'program'), 0o755);
    const [unreadable, behind] = [await refused(own), await refused(join(locked, 'program'))];
    if (process.getuid?.() === 0) {
      expect(unreadable).toMatch(/node.promote_command: cannot run .*: \w+ may not execute it/);
      expect(behind).toMatch(/node.promote_command: cannot run .*: \w+ may not enter .*locked/);
    } else expect(unreadable + behind).not.toContain('promote_command');
    chmodSync(own, 0o755);
    expect(await refused(own)).not.toContain('promote_command');
  });
});
