// Shows every operation on the disk that a store of this process carries out, before it happens: to write them down, or to
// end the process at one of them. For child processes of tests only: it replaces functions of Node and of LevelDB.
import promises from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { basename } from 'node:path';
import { Level } from 'level';

export interface DiskOperation {
  readonly kind: 'open' | 'write' | 'flush' | 'rename' | 'remove' | 'batch' | 'clear';
  /** Base name of the file or directory; for `rename` its new name. */
  readonly name: string;
  /** Carries out half of it, where it has halves. */
  readonly half: () => Promise<unknown>;
}

type Method = (this: unknown, ...args: never[]) => Promise<unknown>;

export async function observeDisk(observe: (operation: DiskOperation) => Promise<void>): Promise<void> {
  const names = new WeakMap<object, string>();
  const wrap = (
    owner: object,
    method: string,
    describe: (
      self: unknown,
      args: never[],
    ) => Omit<DiskOperation, 'half'> & { half?: () => Promise<unknown> },
    after?: (args: never[], result: unknown) => void,
  ): void => {
    const original = Reflect.get(owner, method) as Method;
    const replacement: Method = async function (this: unknown, ...args) {
      await observe({ half: () => Promise.resolve(), ...describe(this, args) });
      const result = await original.apply(this, args);
      after?.(args, result);
      return result;
    };
    Reflect.set(owner, method, replacement);
  };
  const probe = await promises.open('/dev/null');
  const handles = Object.getPrototypeOf(probe) as FileHandle;
  await probe.close();
  const nameOf = (self: unknown): string => names.get(self as object) ?? '?';
  const writePart = handles.write.bind.bind(handles.write) as (self: unknown) => FileHandle['write'];
  wrap(
    promises,
    'open',
    (_, args: unknown[]) => ({ kind: 'open', name: basename(String(args[0])) }),
    (args: unknown[], handle) => names.set(handle as object, basename(String(args[0]))),
  );
  wrap(promises, 'rename', (_, args: unknown[]) => ({ kind: 'rename', name: basename(String(args[1])) }));
  wrap(promises, 'rm', (_, args: unknown[]) => ({ kind: 'remove', name: basename(String(args[0])) }));
  wrap(handles, 'sync', (self) => ({ kind: 'flush', name: nameOf(self) }));
  wrap(handles, 'datasync', (self) => ({ kind: 'flush', name: nameOf(self) }));
  wrap(handles, 'write', (self, args: unknown[]) => {
    const [bytes, offset, , position] = args as [Uint8Array, number?, number?, number?];
    return {
      kind: 'write',
      name: nameOf(self),
      half: () => writePart(self)(bytes, offset ?? 0, bytes.length >> 1, position ?? null),
    };
  });
  const batch = Reflect.get(Level.prototype, 'batch') as Method;
  wrap(Level.prototype, 'batch', (self, args) => ({
    kind: 'batch',
    name:
      (args as unknown as [unknown, { sync?: boolean }])[1].sync === true ? 'synchronous' : 'not synchronous',
    // Begun, and not waited for.
    half: () => Promise.race([batch.apply(self, args), new Promise((resolve) => setImmediate(resolve))]),
  }));
  const clear = Reflect.get(Level.prototype, 'clear') as Method;
  wrap(Level.prototype, 'clear', (self, args) => ({
    kind: 'clear',
    name: 'log',
    half: () => Promise.race([clear.apply(self, args), new Promise((resolve) => setImmediate(resolve))]),
  }));
  syncBuiltinESMExports();
}
