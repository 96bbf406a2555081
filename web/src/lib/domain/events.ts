import type { MusterEvent } from '$lib/api/types';
import { DEVICE_LEFT } from './slots';

export interface EventLine {
  /** What it is about: "wave 2", "rollout", "digits". */
  subject: string;
  /** "running → paused", or the name of what happened. */
  what: string;
  /** Why, in words; empty when nothing more is known. */
  why: string;
}

type Data = Record<string, unknown>;
type Describe = (data: Data, event: MusterEvent) => EventLine;

const text = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '');
const words = (value: unknown) => text(value).replaceAll('_', ' ');
const join = (...parts: string[]) => parts.filter(Boolean).join(' · ');

const transition = ({ from, to, state }: Data) => (to ? `${words(from)} → ${words(to)}` : words(state));

/** "at verify: payload_mismatch" */
const failure = ({ stage, code }: Data) => [stage ? `at ${words(stage)}` : '', text(code)].filter(Boolean).join(': ');

function holdReasons({ hold, holds }: Data): string {
  const all = (Array.isArray(holds) ? holds : [hold]) as (Data | undefined)[];
  return all.map((one) => text(one?.reason)).filter(Boolean).join('; ');
}

const moved =
  (subject: string): Describe =>
  (data) => ({
    subject,
    what: transition(data),
    why: join(text(data.reason), failure(data), DEVICE_LEFT[text(data.device_left)] ?? text(data.device_left)),
  });

const KINDS: Record<string, Describe> = {
  'rollout.state': moved('rollout'),
  'wave.state': (data, event) => moved(`wave ${event.wave ?? ''}`)(data, event),
  'assignment.state': moved('update'),
  'assignment.recall': (data) => ({ subject: 'update', what: 'recalled', why: text(data.reason) }),
  'device.update': (data) => ({ subject: text(data.slot), what: words(data.step), why: join(text(data.detail), text(data.code)) }),
  'device.event': (data) => ({ subject: text(data.slot) || 'device', what: words(data.name), why: text(data.detail) }),
  'device.hold': (data) => ({ subject: 'device', what: data.held ? 'held' : 'released', why: holdReasons(data) }),
  'device.enrolled': (data) => ({ subject: 'device', what: 'enrolled', why: `with ${actorName(text(data.by))}` }),
  'device.enrolled_again': (data) => ({ subject: 'device', what: 'enrolled again', why: `with ${actorName(text(data.by))}` }),
  'device.renewed': () => ({ subject: 'device', what: 'renewed its certificate', why: '' }),
  'alert.state': (data) => ({
    subject: 'alert',
    what: `${words(data.kind)} ${words(data.state)}`,
    why: text(data.value) ? `measured ${rounded(data.value)}, limit ${rounded(data.threshold)}` : '',
  }),
  'alert.ack': (data) => ({ subject: 'alert', what: `${words(data.kind)} acknowledged`, why: text(data.note) }),
};

const rounded = (value: unknown) => (typeof value === 'number' ? String(Number(value.toPrecision(3))) : text(value));

const SAID = new Set(['reason', 'detail']);

/** A kind that this console does not know yet: all that it says, with long digests shortened. */
const unknownKind: Describe = (data, event) => {
  const [subject = event.kind, what = ''] = event.kind.split('.');
  const facts = Object.entries(data).filter(([name, value]) => !SAID.has(name) && text(value) !== '');
  const short = (value: string) => (/^[0-9a-f]{64}$/.test(value) ? value.slice(0, 12) : value);
  return { subject, what: words(what), why: join(text(data.reason), text(data.detail), ...facts.map(([name, value]) => `${words(name)} ${short(text(value))}`)) };
};

/** One line for people from an event of any kind. */
export function describeEvent(event: MusterEvent): EventLine {
  return (KINDS[event.kind] ?? unknownKind)(event.data as Data, event);
}

/** "user:admin" is admin, "system" is Muster itself. */
export function actorName(actor: string): string {
  if (actor === 'system') return 'Muster';
  if (actor.startsWith('device:')) return 'the device';
  return actor.replace(/^user:/, '').replace(/^token:/, 'token ').replace(/^enrolment_token:/, 'enrolment token ');
}
