import { describe, expect, test } from 'vitest';
import { agreementOf } from './leader.ts';
import type { View } from './wire.ts';

const view = (self: string, changed: Partial<View> = {}): View => ({
  self,
  leader: 'b',
  term: 3,
  appliedIndex: 1000,
  ...changed,
});
const MEMBERS = ['a', 'b', 'c'];

describe('a cluster is whole', () => {
  test('when all name the same leader in the same term', () => {
    expect(agreementOf(MEMBERS, [view('a'), view('b'), view('c')])).toEqual({ leader: 'b', term: 3 });
  });

  test('also where members call themselves otherwise than we do', () => {
    const views = ['17', '18', '19'].map((self) => view(self, { leader: '19' }));
    expect(agreementOf(MEMBERS, views)).toEqual({ leader: 'c', term: 3 });
  });

  test.each<[string, (View | undefined)[]]>([
    ['one does not answer', [view('a'), view('b'), undefined]],
    ['one knows of no leader', [view('a', { leader: undefined }), view('b'), view('c')]],
    ['one follows another', [view('a'), view('b'), view('c', { leader: 'c' })]],
    ['one has another term', [view('a'), view('b', { term: 4 }), view('c')]],
    ['one is far behind', [view('a', { appliedIndex: 800 }), view('b'), view('c')]],
    ['the leader does not answer', [view('a'), undefined, view('c')]],
  ])('but not while %s', (_why, views) => {
    expect(agreementOf(MEMBERS, views)).toBeUndefined();
  });
});
