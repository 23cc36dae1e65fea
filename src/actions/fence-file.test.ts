// The fence outlives the agent, only rises, and is never guessed.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { epoch } from '../base/ids.ts';
import { openFenceFile } from './fence-file.ts';

let directory = '';
beforeEach(async () => void (directory = await mkdtemp(join(tmpdir(), 'fence-'))));
afterEach(() => rm(directory, { recursive: true }));

const at = (number: number, incarnation = 1) => ({ incarnation, epoch: epoch(number) });
const path = () => join(directory, 'a.fence');
const open = (options: { readonly cluster?: string; readonly node?: string } = {}) =>
  openFenceFile({ path: path(), cluster: options.cluster ?? 'shop', node: options.node ?? 'a' });

test('a node that never obeyed anything is at epoch 0', async () => {
  expect(await open()).toMatchObject({ incarnation: 0, epoch: 0 });
});

test('what was raised is there after a restart', async () => {
  const fence = await open();
  await fence.raise(at(7));
  expect(fence.epoch).toBe(7);
  expect((await open()).epoch).toBe(7);
  await fence.raise(at(12));
  expect((await open()).epoch).toBe(12);
});

test('raising to where it is writes nothing; lowering throws and changes nothing', async () => {
  const fence = await open();
  await fence.raise(at(7));
  await writeFile(path(), 'untouched');
  await fence.raise(at(7));
  await expect(fence.raise(at(6))).rejects.toThrow(/cannot lower the fence of a from epoch 7 to epoch 6/);
  expect(await readFile(path(), 'utf8')).toBe('untouched');
  expect(fence.epoch).toBe(7);
});

test('the incarnation comes before the epoch: after a recovery of the log a lower epoch is the higher fence', async () => {
  const fence = await open();
  await fence.raise(at(50));
  await fence.raise(at(40, 2));
  expect(await open()).toMatchObject(at(40, 2));
  await expect(fence.raise(at(60))).rejects.toThrow(
    /cannot lower the fence of a from epoch 40 of incarnation 2 to epoch 60$/,
  );
  await fence.raise(at(41, 2));
});

test('a file from before there were incarnations is of the first', async () => {
  await writeFile(path(), '{"cluster":"shop","node":"a","epoch":7}\n');
  const fence = await open();
  expect(fence).toMatchObject(at(7));
  await expect(fence.raise(at(6))).rejects.toThrow(/from epoch 7 to epoch 6/);
  await fence.raise(at(3, 2));
});

test('an epoch that could not be written does not count', async () => {
  const fence = await open();
  await rm(directory, { recursive: true });
  await expect(fence.raise(at(7))).rejects.toThrow(/ENOENT/);
  expect(fence.epoch).toBe(0);
  directory = await mkdtemp(join(tmpdir(), 'fence-'));
});

describe('a file that cannot be trusted is an error, not epoch 0:', () => {
  test.each([
    ['empty', ''],
    ['cut short', '{"cluster":"shop","node":"a","ep'],
    ['no object', '7'],
    ['null', 'null'],
    ['without an epoch', '{"cluster":"shop","node":"a"}'],
    ['with an incarnation that is none', '{"cluster":"shop","node":"a","incarnation":0,"epoch":7}'],
    ['with an epoch that is no number', '{"cluster":"shop","node":"a","epoch":"7"}'],
  ])('%s', async (_, content) => {
    await writeFile(path(), content);
    await expect(open()).rejects.toThrow(/is damaged/);
  });

  test('a negative epoch', async () => {
    await writeFile(path(), '{"cluster":"shop","node":"a","epoch":-1}');
    await expect(open()).rejects.toThrow(/-1/);
  });

  test('of another cluster or node', async () => {
    await (await open()).raise(at(7));
    await expect(open({ node: 'b' })).rejects.toThrow(/is of node a in cluster shop, not b in shop/);
    await expect(open({ cluster: 'other' })).rejects.toThrow(/not a in other/);
  });

  test('unreadable', async () => {
    await expect(openFenceFile({ path: directory, cluster: 'shop', node: 'a' })).rejects.toThrow(/EISDIR/);
  });
});
