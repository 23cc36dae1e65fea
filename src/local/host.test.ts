// Root does not work in a state directory of another user.
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkOwner } from './host.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-host-'));
});
afterEach(() => rm(folder, { recursive: true }));

test.skipIf(process.getuid?.() !== 0)('but says as whom to run (needs root, to give it away)', async () => {
  await checkOwner(folder, 0);
  await chown(folder, 65_534, 65_534);
  await expect(checkOwner(folder, 0)).rejects.toThrow(
    /belongs to nobody, .*run this as nobody too, not as root/,
  );
});

test('its own, one that is not there yet, and an ordinary user are well', async () => {
  await checkOwner(folder, process.getuid?.());
  await checkOwner(join(folder, 'none'), 0);
  await checkOwner(folder, 1000);
});
