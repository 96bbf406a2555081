import { expect, test } from 'vitest';
import { driftBins } from './drift';

const edges = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

test('13 counters become shares, with the reference beside them', () => {
  const bins = driftBins([10, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 5, 5], edges);
  expect(bins).toHaveLength(13);
  expect(bins[0]).toEqual({ label: 'below 0', share: 0.25, expected: 0 });
  expect(bins[5]).toEqual({ label: '4 to 5', share: 0.5, expected: 0.1 });
  expect(bins[11]).toMatchObject({ label: 'above 10', expected: 0 });
  expect(bins[12]).toMatchObject({ label: 'missing', share: 0.125 });
});

test('no samples are no shares', () => {
  expect(driftBins(Array(13).fill(0), edges).every((bin) => bin.share === 0)).toBe(true);
});
