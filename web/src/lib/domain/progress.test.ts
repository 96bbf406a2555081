import { expect, test } from 'vitest';
import { failureGroups } from './failures';
import { countOf, describe as say, segments } from './progress';

test('the parts of a bar add up to all devices', () => {
  const parts = segments({ succeeded: 2, already_running: 1, downloading: 1, failed: 1 }, 8);
  expect(parts).toEqual([{ part: 'done', count: 3 }, { part: 'failed', count: 1 }, { part: 'flight', count: 1 }, { part: 'waiting', count: 3 }]);
  expect(parts.reduce((sum, { count }) => sum + count, 0)).toBe(8);
});

test('a state this console does not know yet counts as waiting', () => {
  expect(segments({ dreaming: 2 }, 2)).toEqual([{ part: 'waiting', count: 2 }]);
});

test('a bar is said in words', () => {
  expect(say(segments({ succeeded: 1, held: 1 }, 3))).toBe('1 succeeded, 1 held, 1 waiting');
  expect(say(segments({}, 0))).toBe('no devices');
  expect(countOf(segments({ held: 4 }, 4), 'held')).toBe(4);
});

test('failures are grouped by code and stage, most devices first', () => {
  const one = { name: '', site: '', wave: 1, state_since: 0, detail: 'why' };
  const failed = { ...one, state: 'failed' as const, device_left: 'no_change' };
  const groups = failureGroups([
    { ...failed, device: 'a', stage: 'verify', code: 'payload_mismatch' },
    { ...failed, device: 'b', stage: 'download', code: 'disk_full' },
    { ...failed, device: 'c', stage: 'download', code: 'disk_full', device_left: 'unable_to_roll_back' },
    { ...one, device: 'd', state: 'succeeded', stage: null, code: null, device_left: null },
  ]);
  expect(groups.map(({ code, count, stuck }) => [code, count, stuck])).toEqual([['disk_full', 2, 1], ['payload_mismatch', 1, 0]]);
});

test('after a rollback, what went back and what never came are told apart', () => {
  expect(say(segments({ rolled_back: 2, cancelled: 3, succeeded: 1 }, 6))).toBe('1 succeeded, 2 rolled back, 3 cancelled');
});
