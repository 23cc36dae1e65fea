import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { crc32c } from './crc32c.ts';
import { liveTables } from './leveldb-manifest.ts';
import { damageOfTable, findDamagedTable } from './leveldb-tables.ts';
import { withDirectory } from './testing/stores.ts';

/** A directory with several tables of several blocks, after many compactions. */
async function withTables(body: (directory: string) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    for (let round = 0; round < 4; round += 1) {
      const database = new Level<string, string>(directory, { compression: false, writeBufferSize: 65_536 });
      for (let count = 0; count < 300; count += 1)
        await database.put(`key ${count % 200}`, `${round} `.repeat(300));
      await database.close();
    }
    await body(directory);
  });
}

describe('the check of LevelDB tables', () => {
  test('computes CRC-32C as RFC 3720 B.4 does', () => {
    expect(crc32c(new Uint8Array(32)).toString(16)).toBe('8a9136aa');
    expect(crc32c(new TextEncoder().encode('1234'), new TextEncoder().encode('56789')).toString(16)).toBe(
      'e3069283',
    );
  });

  test('finds the tables in use and nothing wrong with them', async () => {
    await withTables(async (directory) => {
      const live = [...((await liveTables(directory)) ?? [])];
      expect(live.length).toBeGreaterThan(0);
      // A compaction cut off by closing may leave tables that are not in use; never the other way round.
      const present = (await readdir(directory)).filter((name) => name.endsWith('.ldb'));
      expect(present).toEqual(
        expect.arrayContaining(live.map((number) => `${String(number).padStart(6, '0')}.ldb`)),
      );
      expect(await findDamagedTable(directory)).toBeUndefined();
    });
  });

  test('finds any flipped bit outside the padding of the footer', async () => {
    await withTables(async (directory) => {
      const name = (await readdir(directory)).find((file) => file.endsWith('.ldb')) ?? '';
      const table = await readFile(join(directory, name));
      let unnoticed = 0;
      for (let at = 0; at < table.length; at += at < table.length - 400 ? 211 : 1) {
        table.writeUInt8(table.readUInt8(at) ^ 4, at);
        if (damageOfTable(table) === undefined) unnoticed += 1;
        table.writeUInt8(table.readUInt8(at) ^ 4, at);
      }
      expect(unnoticed).toBeLessThan(40);
      expect(damageOfTable(table)).toBeUndefined();
    });
  });
});
