import { expect, test } from 'vitest';
import { formatBytes, formatFixed, formatMs, formatShare, NONE, plural } from './number';
import { clockTime, countdown, duration, fullTime } from './time';
import { indexOfByte, wordAt } from './utf8';

test('an unknown figure is never 0', () => {
  expect([formatFixed(null, 1), formatMs(undefined), formatBytes(null), formatShare(0, 0)]).toEqual(Array(4).fill(NONE));
});

test('figures', () => {
  expect(formatFixed(-0.04, 1)).toBe('0.0');
  expect([0.123, 4.56, 123.4].map(formatMs)).toEqual(['0.12', '4.6', '123']);
  expect(['0', '999', '5182976', '123000000'].map(formatBytes)).toEqual(['0 B', '999 B', '5.2 MB', '123 MB']);
  expect([plural(1, 'device'), plural(12431, 'device')]).toEqual(['1 device', '12,431 devices']);
});

test('a share rounds neither to nothing nor to all', () => {
  expect([formatShare(1, 1000), formatShare(999, 1000), formatShare(1, 6), formatShare(6, 6)]).toEqual(['< 1 %', '> 99 %', '17 %', '100 %']);
});

test('times', () => {
  expect([0, -5_000, 119_000, 120_000, 7_200_000, 172_800_000].map(duration)).toEqual(['0 s', '0 s', '119 s', '2 min', '2 h', '2 d']);
  expect([65_000, 0, -1, 3_700_000].map(countdown)).toEqual(['1:05', '0:00', '0:00', '1 h 1 min']);
  expect(clockTime(Date.UTC(2026, 10, 21, 0, 4, 7), 'utc')).toBe('00:04:07');
  expect(fullTime(Date.UTC(2026, 10, 21, 0, 4, 7), 'utc')).toContain('UTC');
});

test('the server counts bytes, the browser counts UTF-16', () => {
  expect(indexOfByte('site:a status:x', 7)).toBe(7);
  expect(indexOfByte('tag:é status:x', 7)).toBe(6);
  expect(indexOfByte('tag:😀 status:x', 9)).toBe(7);
  expect(indexOfByte('abc', 99)).toBe(3);
});

test('an error is about the word at its place', () => {
  expect(wordAt('site:a stats:x', 7)).toEqual([7, 14]);
  expect(wordAt('site:', 5)).toEqual([5, 6]);
  expect(wordAt('a  b', 1)).toEqual([1, 2]);
});
