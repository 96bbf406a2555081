import type { Alert, RolloutState, Status, Wave } from '$lib/api/types';

/** The order of the overview: what needs a person comes first. */
export const STATUSES: readonly Status[] = ['critical', 'degraded', 'offline', 'held', 'updating', 'healthy'];

/** Shapes of status icons; a colour never stands alone. */
export type Tone = Status | 'waiting';

export const STATUS_WORD: Record<Status, string> = {
  critical: 'Critical',
  degraded: 'Degraded',
  offline: 'Offline',
  held: 'Held',
  updating: 'Updating',
  healthy: 'Healthy',
};

export const ROLLOUT_WORD: Record<RolloutState, string> = {
  draft: 'Draft',
  awaiting_approval: 'Awaiting approval',
  scheduled: 'Scheduled',
  running: 'Running',
  paused: 'Paused',
  completed: 'Completed',
  aborted: 'Aborted',
  rolling_back: 'Rolling back',
  rolled_back: 'Rolled back',
};

export const ROLLOUT_TONE: Record<RolloutState, Tone> = {
  draft: 'waiting',
  awaiting_approval: 'held',
  scheduled: 'waiting',
  running: 'updating',
  paused: 'held',
  completed: 'healthy',
  aborted: 'offline',
  rolling_back: 'degraded',
  rolled_back: 'offline',
};

export const WAVE_WORD: Record<Wave['state'], string> = {
  pending: 'Not started',
  running: 'Running',
  soaking: 'Soaking',
  passed: 'Passed',
  failed: 'Failed',
  inconclusive: 'Inconclusive',
};

export const WAVE_TONE: Record<Wave['state'], Tone> = {
  pending: 'waiting',
  running: 'updating',
  soaking: 'updating',
  passed: 'healthy',
  failed: 'critical',
  inconclusive: 'degraded',
};

export const alertTone = (alert: Alert): Tone =>
  alert.state === 'resolved' ? 'healthy' : alert.severity === 'critical' ? 'critical' : 'degraded';

const OPEN: readonly RolloutState[] = ['draft', 'awaiting_approval', 'scheduled', 'running', 'paused', 'rolling_back'];

export const isOpen = (state: RolloutState) => OPEN.includes(state);
