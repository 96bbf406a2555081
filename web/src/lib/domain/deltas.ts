import type { Delta } from '$lib/api/types';
import type { Tone } from './status';

export const DELTA_TONE: Record<Delta['state'], Tone> = {
  none: 'waiting',
  wanted: 'waiting',
  making: 'updating',
  ready: 'healthy',
  not_worth_it: 'waiting',
  failed: 'degraded',
};

const WORD: Record<Delta['state'], string> = {
  none: 'saves too little',
  wanted: 'to be made',
  making: 'being made',
  ready: 'ready',
  not_worth_it: 'hardly smaller, not kept',
  failed: 'failed',
};

export const deltaWord = ({ state, worth }: Pick<Delta, 'state' | 'worth'>): string =>
  state === 'none' && worth ? 'worth it' : WORD[state];
