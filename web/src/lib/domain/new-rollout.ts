import type { NewRollout } from '$lib/api/types';

/** One wave as the form has it: so many devices more, or as many as it needs to reach a share of all. */
export interface WaveDraft {
  unit: 'devices' | 'percent';
  amount: number;
  soak_s: number;
  max_failures: number;
}

export interface Draft {
  bundle: string;
  /** '' until the person has said which devices: nothing defaults to all of them. */
  target: '' | 'query' | 'all';
  q: string;
  waves: WaveDraft[];
  canaries: string;
  probation_s: number;
}

export const DEFAULT_WAVES: readonly WaveDraft[] = [
  { unit: 'devices', amount: 1, soak_s: 60, max_failures: 0 },
  { unit: 'percent', amount: 50, soak_s: 60, max_failures: 0 },
  { unit: 'percent', amount: 100, soak_s: 60, max_failures: 0 },
];

export const MOST_WAVES = 20;

const isWhole = (value: number, least: number) => Number.isInteger(value) && value >= least;

function waveMissing(wave: WaveDraft, n: number, isLast: boolean): string {
  if (wave.unit === 'devices' && !isWhole(wave.amount, 1)) return `Wave ${n}: say how many devices, 1 or more.`;
  if (wave.unit === 'percent' && !(wave.amount > 0 && wave.amount <= 100)) return `Wave ${n}: a share is more than 0 and at most 100 %.`;
  if (!isWhole(wave.soak_s, 0)) return `Wave ${n}: the soak is a number of seconds, 0 or more.`;
  if (!isWhole(wave.max_failures, 0)) return `Wave ${n}: say how many failures are allowed, 0 or more.`;
  if (isLast && !(wave.unit === 'percent' && wave.amount === 100)) return 'The last wave must take 100 %, so that no device is forgotten.';
  return '';
}

function sharesGrow(waves: readonly WaveDraft[]): boolean {
  const shares = waves.filter((wave) => wave.unit === 'percent').map((wave) => wave.amount);
  return shares.every((share, i) => i === 0 || share > (shares[i - 1] ?? 0));
}

/** What is still to be filled in, as one sentence; empty when the draft can be planned. */
export function missing(draft: Draft): string {
  if (!draft.bundle) return 'Choose a bundle.';
  if (!draft.target) return 'Say which devices: those that a query finds, or all of them.';
  if (draft.target === 'query' && !draft.q.trim()) return 'Write a query. An empty one never means every device.';
  if (draft.waves.length === 0) return 'Add a wave.';
  if (!isWhole(draft.probation_s, 0)) return 'Probation is a number of seconds, 0 or more.';
  const wrong = draft.waves.map((wave, i) => waveMissing(wave, i + 1, i === draft.waves.length - 1)).find(Boolean);
  return wrong ?? (sharesGrow(draft.waves) ? '' : 'Shares are counted over all waves: each must be larger than the one before.');
}

/** The request for a complete draft. */
export function toRequest(draft: Draft): NewRollout {
  const canaries = draft.canaries.split(/[\s,]+/).filter(Boolean);
  return {
    bundle: draft.bundle,
    ...(draft.target === 'all' ? { all: true } : { q: draft.q.trim() }),
    waves: draft.waves.map(({ unit, amount, soak_s, max_failures }) => ({ [unit]: amount, soak_s, max_failures })),
    ...(canaries.length > 0 && { canaries }),
    probation_s: draft.probation_s,
  };
}
