import type { MusterEvent } from '$lib/api/types';

export interface EventLine {
  /** What it is about: "wave 2", "rollout", "device". */
  subject: string;
  /** "running → paused", or the name of what happened. */
  what: string;
  /** Why, in words; empty when nothing more is known. */
  why: string;
}

const TRANSITION = new Set(['from', 'to', 'reason', 'detail', 'name', 'step', 'slot', 'summary', 'state']);

const text = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '');
const words = (value: string) => value.replaceAll('_', ' ');

/** One line for people from an event of any kind. What it does not know by name it shows as it is. */
export function describeEvent(event: MusterEvent): EventLine {
  const [noun = event.kind, verb = ''] = event.kind.split('.');
  const data = event.data as Record<string, unknown>;
  const to = text(data.to) || text(data.state);
  const from = text(data.from);
  const slot = text(data.slot);
  const named = text(data.name) || text(data.step) || verb;
  const what = to ? (from ? `${words(from)} → ${words(to)}` : words(to)) : words(named);
  const subject = noun === 'wave' && event.wave !== null ? `wave ${event.wave}` : noun === 'assignment' ? 'device' : noun;
  const why = text(data.reason) || text(data.detail) || text(data.summary);
  const rest = Object.entries(data)
    .filter(([key, value]) => !TRANSITION.has(key) && text(value) !== '')
    .map(([key, value]) => `${words(key)} ${text(value)}`);
  return { subject: slot ? `${subject}, ${slot}` : subject, what, why: [why, ...rest].filter(Boolean).join(' · ') };
}

/** "user:admin" is admin, "system" is Muster itself. */
export function actorName(actor: string): string {
  if (actor === 'system') return 'Muster';
  if (actor.startsWith('device:')) return 'the device';
  return actor.replace(/^user:/, '').replace(/^token:/, 'token ');
}
