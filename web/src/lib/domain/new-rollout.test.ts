import { expect, test } from 'vitest';
import { DEFAULT_WAVES, missing, toRequest, type Draft, type WaveDraft } from './new-rollout';

const wave = (unit: WaveDraft['unit'], amount: number): WaveDraft => ({ unit, amount, soak_s: 60, max_failures: 0 });
const draft: Draft = { bundle: 'b', target: 'query', q: 'site:lab', waves: [...DEFAULT_WAVES], canaries: '', probation_s: 30 };

test('a complete draft misses nothing', () => {
  expect(missing(draft)).toBe('');
  expect(missing({ ...draft, target: 'all', q: '' })).toBe('');
});

test.each<[string, Partial<Draft>]>([
  ['no bundle', { bundle: '' }],
  ['nobody said which devices', { target: '' }],
  ['an empty query', { q: '  ' }],
  ['no waves', { waves: [] }],
  ['a wave of nothing', { waves: [wave('devices', 0), wave('percent', 100)] }],
  ['a share beyond all', { waves: [wave('percent', 101), wave('percent', 100)] }],
  ['a number that is not one', { waves: [wave('devices', NaN), wave('percent', 100)] }],
  ['a last wave that forgets devices', { waves: [wave('devices', 1), wave('percent', 50)] }],
  ['shares that do not grow', { waves: [wave('percent', 50), wave('percent', 40), wave('percent', 100)] }],
  ['a negative probation', { probation_s: -1 }],
])('a draft with %s cannot be planned', (_name, change) => {
  expect(missing({ ...draft, ...change })).not.toBe('');
});

test('every device is asked for in so many words, never by an empty query', () => {
  expect(toRequest({ ...draft, target: 'all' })).toMatchObject({ all: true });
  expect(toRequest({ ...draft, target: 'all' })).not.toHaveProperty('q');
  expect(toRequest(draft)).toMatchObject({ q: 'site:lab' });
  expect(toRequest(draft)).not.toHaveProperty('all');
});

test('waves and canaries as the API has them', () => {
  const request = toRequest({ ...draft, canaries: 'edge-1, edge-2', waves: [wave('devices', 2), wave('percent', 100)] });
  expect(request.waves).toEqual([{ devices: 2, soak_s: 60, max_failures: 0 }, { percent: 100, soak_s: 60, max_failures: 0 }]);
  expect(request.canaries).toEqual(['edge-1', 'edge-2']);
});
