import type { Alert, Rollout, RolloutState, Status, Wave } from '$lib/api/types';

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

const WAVE_WORD: Record<Wave['state'], string> = {
  pending: 'Not started',
  running: 'Running',
  soaking: 'Soaking',
  passed: 'Passed',
  failed: 'Failed',
  inconclusive: 'Inconclusive',
};

const WAVE_TONE: Record<Wave['state'], Tone> = {
  pending: 'waiting',
  running: 'updating',
  soaking: 'updating',
  passed: 'healthy',
  failed: 'critical',
  inconclusive: 'degraded',
};

const OVER: readonly RolloutState[] = ['aborted', 'rolling_back', 'rolled_back'];

/** How a wave is. One that was on its way when its rollout was ended stays as it was on the server: here it has stopped. */
export function waveStatus({ state }: Pick<Rollout, 'state'>, wave: Pick<Wave, 'state'>): { tone: Tone; word: string; isMoving: boolean } {
  const isMoving = wave.state === 'running' || wave.state === 'soaking';
  if (isMoving && OVER.includes(state)) return { tone: 'offline', word: 'Stopped', isMoving: false };
  return { tone: WAVE_TONE[wave.state], word: WAVE_WORD[wave.state], isMoving };
}

export const alertTone = (alert: Alert): Tone =>
  alert.state === 'resolved' ? 'healthy' : alert.severity === 'critical' ? 'critical' : 'degraded';

const OPEN: readonly RolloutState[] = ['draft', 'awaiting_approval', 'scheduled', 'running', 'paused', 'rolling_back'];

export const isOpen = (state: RolloutState) => OPEN.includes(state);
