import { expect, test } from 'vitest';
import { driftBins } from './drift';

const edges = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const even = [0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0];

test('13 counters become shares, with the reference beside them', () => {
  const bins = driftBins([10, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 5, 5], edges, even);
  expect(bins).toHaveLength(13);
  expect(bins[0]).toEqual({ label: 'below 0', isInside: false, share: 0.25, reference: 0 });
  expect(bins[5]).toEqual({ label: '4 to 5', isInside: true, share: 0.5, reference: 0.1 });
  expect(bins[11]).toMatchObject({ label: 'above 10', isInside: false });
  expect(bins[12]).toMatchObject({ label: 'missing', isInside: false, share: 0.125 });
});

test('a reference with many equal values is shown as it is, not as even tenths', () => {
  const tied = [0, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  expect(driftBins(tied, edges, tied).map((bin) => bin.reference)).toEqual([0, 1, ...Array(11).fill(0)]);
});

test('no samples are no shares, and no reference is not one of zeros', () => {
  const bins = driftBins(Array(13).fill(0), [], []);
  expect(bins.every((bin) => bin.share === 0 && bin.reference === null)).toBe(true);
  expect(bins[0]?.label).toBe('below ?');
});
