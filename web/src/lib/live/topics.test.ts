import { expect, test } from 'vitest';
import { ApiError, foreignProblem } from '$lib/api/problem';
import { isSeriesTouchedBy, isTouchedBy } from './topics';

type Query = Parameters<typeof isTouchedBy>[1];
const query = (queryKey: unknown[], data?: unknown, error: Error | null = null) =>
  ({ queryKey, state: { data, error } }) as unknown as Query;

test.each([
  [['fleet'], ['fleet'], true],
  [['device:a'], ['fleet'], true],
  [['fleet'], ['devices', '', ''], true],
  [['device:a'], ['devices', 'status:held', ''], true],
  [['rollout:1'], ['devices', '', ''], false],
  [['device:a'], ['device', 'a'], true],
  [['device:a'], ['device', 'a', 'events', 10], true],
  [['device:b'], ['device', 'a'], false],
  [['fleet'], ['device', 'a'], false],
  [['rollout:7'], ['rollouts', ''], true],
  [['rollout:7'], ['rollout', '7', 'devices'], true],
  [['rollout:70'], ['rollout', '7'], false],
  [['alerts'], ['alerts', 'firing', ''], true],
  [['device:a'], ['alerts', 'firing', ''], false],
  [['fleet', 'alerts'], ['me'], false],
])('topics %j and the read %j: %s', (topics, key, expected) => {
  expect(isTouchedBy(new Set(topics), query(key))).toBe(expected);
});

test('a device that was opened by its name follows the topic of its id', () => {
  expect(isTouchedBy(new Set(['device:abc']), query(['device', 'edge-1'], { id: 'abc' }))).toBe(true);
});

test('a query that the server did not understand is not asked again', () => {
  const wrong = new ApiError(foreignProblem(400, ''));
  const down = new ApiError(foreignProblem(503, ''));
  const busy = new ApiError(foreignProblem(429, ''));
  expect(isTouchedBy(new Set(['fleet']), query(['devices', 'x', ''], undefined, wrong))).toBe(false);
  expect(isTouchedBy(new Set(['fleet']), query(['devices', 'x', ''], undefined, down))).toBe(true);
  expect(isTouchedBy(new Set(['fleet']), query(['devices', 'x', ''], undefined, busy))).toBe(true);
});

test('charts follow their own device only', () => {
  expect(isSeriesTouchedBy(new Set(['device:a']), ['series', 'a', 'health'])).toBe(true);
  expect(isSeriesTouchedBy(new Set(['device:b', 'fleet']), ['series', 'a', 'health'])).toBe(false);
});
