import type { Phase, Slot } from '$lib/api/types';
import type { Tone } from './status';

export const PHASE_WORD: Record<Phase, string> = {
  empty: 'nothing yet',
  downloading: 'downloading',
  verifying: 'verifying',
  testing: 'testing itself',
  staged: 'staged',
  held: 'held',
  switching: 'switching',
  probation: 'on probation',
  running: 'running',
  failed: 'failed',
};

export const PHASE_TONE: Record<Phase, Tone> = {
  empty: 'waiting',
  downloading: 'updating',
  verifying: 'updating',
  testing: 'updating',
  staged: 'updating',
  held: 'held',
  switching: 'updating',
  probation: 'updating',
  running: 'healthy',
  failed: 'critical',
};

/** The way of an update through a device, in order. */
export const STEPS: readonly Phase[] = ['downloading', 'verifying', 'testing', 'staged', 'held', 'switching', 'probation', 'running'];

export const DEVICE_LEFT: Record<string, string> = {
  no_change: 'the device kept what it ran before',
  rolled_back: 'the device went back to what it ran before',
  unable_to_roll_back: 'the device could not go back: it needs a person',
};

/** True when the slot is on its way to something other than what it runs. */
export const isMoving = (slot: Slot) => slot.target !== null && slot.target !== slot.running;

/** A version, or the start of the digest when the server does not know the bundle. */
export const versionOf = (version: string | null, digest: string | null) =>
  version ?? (digest === null ? null : digest.slice(0, 8));
