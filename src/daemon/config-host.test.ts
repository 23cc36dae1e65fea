// What of the configuration the host has to bear out: directories, who owns them, programs.
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { checkConfig } from './config-check.ts';
import { checkEnvironment } from './config-environment.ts';
import { ENV, GOOD, load, root, secret, write } from './testing/config-place.ts';

describe('the host', () => {
  const onHost = (change: (text: string) => string = (text) => text): Promise<readonly string[]> =>
    checkEnvironment(load(change(GOOD)));

  it('is refused a socket path that is too long, a data directory that is a file, and a state directory below one', async () => {
    await expect(
      onHost((text) => text.replace('  name: pg1', `  name: pg1\n  socket_directory: /${'s'.repeat(100)}`)),
    ).rejects.toThrow("has 115 bytes; a socket's path has at most 107");
    const path = write('');
    await expect(
      onHost((text) => text.replace(`${root}/data`, secret).replace(`${root}/state`, `${path}/state`)),
    ).rejects.toThrow(
      /state_directory: ".*": (cannot look at .*ENOTDIR|.* is not a directory)\n.*node.data_directory: ".*secret" is not a directory/,
    );
  });

  it('is refused an operating-system user that does not exist', async () => {
    await expect(
      onHost((text) => text.replace('  name: pg1', '  name: pg1\n  os_user: nobody-knows')),
    ).rejects.toThrow('node.os_user: cannot run PostgreSQL');
  });

  it('is refused a directory with something else in it', async () => {
    mkdirSync(join(root, 'photos/cats'), { recursive: true });
    await expect(onHost((text) => text.replace(`${root}/data`, `${root}/photos`))).rejects.toThrow(
      'is not empty and holds no PostgreSQL database (cats)',
    );
  });

  it('is told of a directory with something else in it that only, and nothing that would change its owner or mode', async () => {
    chmodSync(join(root, 'photos'), 0o755);
    if (process.getuid?.() === 0) chownSync(join(root, 'photos'), 12345, 12345);
    const error = await onHost((text) => text.replace(`${root}/data`, `${root}/photos`)).catch(String);
    expect(error).toMatch(/holds no PostgreSQL database/);
    expect(error).not.toMatch(/chown|chmod|belongs to|has mode/);
  });

  it.runIf(process.getuid?.() === 0)(
    'is advised to change the owner of a database as root, and as another user to run as root or as its owner',
    async () => {
      const path = join(root, 'elses');
      mkdirSync(path, { mode: 0o700 });
      writeFileSync(join(path, 'PG_VERSION'), '15\n');
      chownSync(path, 12345, 12345);
      const change = (text: string): string => text.replace(`${root}/data`, path);
      expect(await onHost(change).catch(String)).toMatch(/which must own it; chown -R \w+ .*elses, or set/);
      const uid = vi.spyOn(process, 'getuid').mockReturnValue(65534);
      onTestFinished(() => uid.mockRestore());
      const told = await onHost(change).catch(String);
      expect(told).toMatch(/belongs to uid 12345, but .*; run this as root or as uid 12345/);
      expect(told).not.toMatch(/chown/);
    },
  );

  it('is refused a data directory of another major version', async () => {
    mkdirSync(join(root, 'old'), { mode: 0o700 });
    writeFileSync(join(root, 'old/PG_VERSION'), '9\n');
    const programs = join(root, 'bin');
    mkdirSync(programs);
    writeFileSync(join(programs, 'postgres'), '#!/bin/sh\necho "postgres (PostgreSQL) 15.4"\n', {
      mode: 0o755,
    });
    const change = (text: string): string =>
      text.replace(`${root}/data`, `${root}/old\n  bin_directory: ${programs}`);
    await expect(onHost(change)).rejects.toThrow(
      `was made by PostgreSQL 9, but the programs found are of PostgreSQL 15 (${programs}); 14 is the oldest supported`,
    );
  });

  it.runIf(process.getuid?.() === 0)(
    'is refused a data directory of another user, or one that the user cannot make',
    async () => {
      mkdirSync(join(root, 'foreign'), { mode: 0o700 });
      chownSync(join(root, 'foreign'), 12345, 12345);
      await expect(onHost((text) => text.replace(`${root}/data`, `${root}/foreign`))).rejects.toThrow(
        /node.data_directory: ".*foreign" belongs to uid 12345, but PostgreSQL runs as \w+, which must own it/,
      );
      mkdirSync(join(root, 'closed'), { mode: 0o700 });
      mkdirSync(join(root, 'home/below'), { recursive: true, mode: 0o755 });
      chmodSync(join(root, 'home'), 0o700);
      await expect(onHost((text) => text.replace(`${root}/data`, `${root}/home/below/data`))).rejects.toThrow(
        /may not enter .*\/home/,
      );
      await expect(onHost((text) => text.replace(`${root}/data`, `${root}/closed/data`))).rejects.toThrow(
        /cannot be made: \w+ may not enter .*closed/,
      );
    },
  );

  it('is reported on by --check-config', async () => {
    const lines: string[] = [];
    const print = (line: string): void => void lines.push(line);
    const path = write(GOOD.replace(/node:[^]*(?=users)/, ''));
    expect(await checkConfig({ path, env: ENV, print })).toBe(0);
    expect(await checkConfig({ path, env: {}, peer: 'd', print })).toBe(1);
    expect(lines).toEqual([
      `${path}: ok; peer a of cluster shop (a, b, c), a witness`,
      `error: ${path}:3: peer: "d" is given; expected one of a, b, c`,
      expect.stringContaining('users.probe.password_env: the environment variable PROBE_PASSWORD is not set'),
    ]);
  });
});
