import { expect, test } from 'vitest';
import { silences, stretches, usualStep, withGaps } from './gaps';

test('the usual step is not moved by one long gap', () => {
  expect(usualStep([0, 5, 10, 15, 500, 505])).toBe(5);
  expect(usualStep([7])).toBe(0);
});

test('a line is cut where two readings are too far apart', () => {
  const { t, columns } = withGaps([0, 5, 60, 65], [[1, 2, 3, 4]], 15);
  expect(t).toEqual([0, 5, 32.5, 60, 65]);
  expect(columns).toEqual([[1, 2, null, 3, 4]]);
});

test('nulls of the server stay nulls, and are not bridged', () => {
  expect(withGaps([0, 5, 10], [[1, null, 3]], 15).columns).toEqual([[1, null, 3]]);
});

test('silence is told at the start, in the middle and at the end', () => {
  const data = withGaps([100, 105, 200], [[1, 1, 1]], 15);
  expect(silences(data, 0, 300, 15)).toEqual([[0, 100], [105, 200], [200, 300]]);
});

test('readings that are all null are silence', () => {
  expect(silences({ t: [0, 5, 10, 50], columns: [[1, null, null, 1]] }, 0, 50, 15)).toEqual([[0, 50]]);
});

test('no readings at all are one silence', () => {
  expect(silences({ t: [], columns: [[]] }, 0, 900, 15)).toEqual([[0, 900]]);
});

test('flags become stretches', () => {
  expect(stretches([1, 2, 3, 4, 5], [true, true, false, false, true])).toEqual([[1, 2], [5, 5]]);
});
