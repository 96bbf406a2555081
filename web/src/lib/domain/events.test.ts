import { expect, test } from 'vitest';
import type { MusterEvent } from '$lib/api/types';
import { actorName, describeEvent } from './events';

const event = (kind: string, data: Record<string, unknown>, wave: number | null = null) =>
  ({ id: '1', t: 0, kind, actor: 'system', device: null, rollout: null, wave, data }) as MusterEvent;

test('a transition says from where to where, and why', () => {
  expect(describeEvent(event('rollout.state', { from: 'running', to: 'rolling_back', reason: 'p95 doubled' }))).toEqual({
    subject: 'rollout', what: 'running → rolling back', why: 'p95 doubled',
  });
  expect(describeEvent(event('wave.state', { from: 'soaking', to: 'passed' }, 2)).subject).toBe('wave 2');
});

test('a step of an update names its slot', () => {
  const line = describeEvent(event('device.update', { slot: 'digits', step: 'rolled_back', detail: 'by the server' }));
  expect(line).toEqual({ subject: 'device, digits', what: 'rolled back', why: 'by the server' });
});

test('what is not known by name is shown as it is', () => {
  expect(describeEvent(event('device.moved', { reason: 'new rack', shelf: 3 }))).toEqual({
    subject: 'device', what: 'moved', why: 'new rack · shelf 3',
  });
  expect(describeEvent(event('odd', {})).subject).toBe('odd');
});

test('actors as people call them', () => {
  expect(['user:ada', 'token:ci', 'system', 'device:abc'].map(actorName)).toEqual(['ada', 'token ci', 'Muster', 'the device']);
});
