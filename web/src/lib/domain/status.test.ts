import { expect, test } from 'vitest';
import { waveStatus } from './status';

test('a wave that was on its way when its rollout was ended has stopped', () => {
  expect(waveStatus({ state: 'running' }, { state: 'soaking' })).toEqual({ tone: 'updating', word: 'Soaking', isMoving: true });
  expect(waveStatus({ state: 'rolled_back' }, { state: 'soaking' })).toEqual({ tone: 'offline', word: 'Stopped', isMoving: false });
  expect(waveStatus({ state: 'aborted' }, { state: 'passed' })).toMatchObject({ word: 'Passed', isMoving: false });
});
