import { expect, test } from 'vitest';
import type { MusterEvent } from '$lib/api/types';
import { actorName, describeEvent, type EventLine } from './events';

const line = (kind: string, data: Record<string, unknown>, wave: number | null = null) =>
  describeEvent({ id: '1', t: 0, kind, actor: 'system', device: null, rollout: null, wave, data } as MusterEvent);

test.each<[string, Record<string, unknown>, EventLine]>([
  ['rollout.state', { from: 'running', to: 'rolling_back', reason: 'p95 doubled' }, { subject: 'rollout', what: 'running → rolling back', why: 'p95 doubled' }],
  ['assignment.state', { from: 'applying', to: 'failed', reason: 'hash', stage: 'verify', code: 'payload_mismatch', device_left: 'no_change' },
    { subject: 'update', what: 'applying → failed', why: 'hash · at verify: payload_mismatch · the device kept what it ran before' }],
  ['assignment.recall', { name: 'recalled', reason: 'The rollout is rolled back.' }, { subject: 'update', what: 'recalled', why: 'The rollout is rolled back.' }],
  ['device.update', { slot: 'digits', bundle: 'a'.repeat(64), step: 'rolled_back', detail: 'by the server', code: null }, { subject: 'digits', what: 'rolled back', why: 'by the server' }],
  ['device.event', { name: 'infer_exited', slot: 'digits', detail: 'signal 11' }, { subject: 'digits', what: 'infer exited', why: 'signal 11' }],
  ['device.hold', { held: true, hold: { reason: 'calibration' } }, { subject: 'device', what: 'held', why: 'calibration' }],
  ['device.hold', { held: false, holds: [{ reason: 'calibration' }, { reason: 'shift' }] }, { subject: 'device', what: 'released', why: 'calibration; shift' }],
  ['device.enrolled', { certificate: 'f'.repeat(64), by: 'enrolment_token:3' }, { subject: 'device', what: 'enrolled', why: 'with enrolment token 3' }],
  ['alert.state', { alert: '4', kind: 'temperature', state: 'firing', value: 3.21739, threshold: 5 }, { subject: 'alert', what: 'temperature firing', why: 'measured 3.22, limit 5' }],
  ['alert.ack', { alert: '4', kind: 'heartbeat_missing', note: 'on my way' }, { subject: 'alert', what: 'heartbeat missing acknowledged', why: 'on my way' }],
  ['rack.moved', { reason: 'new rack', shelf: 3, digest: '0'.repeat(64), more: { deep: 1 } }, { subject: 'rack', what: 'moved', why: 'new rack · shelf 3 · digest 000000000000' }],
  ['odd', {}, { subject: 'odd', what: '', why: '' }],
])('%s %j', (kind, data, expected) => {
  expect(line(kind, data)).toEqual(expected);
});

test('a wave has its number', () => {
  expect(line('wave.state', { from: 'soaking', to: 'passed' }, 2)).toEqual({ subject: 'wave 2', what: 'soaking → passed', why: '' });
});

test('actors as people call them', () => {
  expect(['user:ada', 'token:ci', 'system', 'device:abc'].map(actorName)).toEqual(['ada', 'token ci', 'Muster', 'the device']);
});
