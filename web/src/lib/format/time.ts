import type { Zone } from '$lib/state/prefs.svelte';

const LOCALE = 'en-GB';

const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: Zone, style: 'time' | 'minute' | 'date' | 'full'): Intl.DateTimeFormat {
  const key = `${zone} ${style}`;
  let found = formats.get(key);
  if (!found) {
    const timeZone = zone === 'utc' ? 'UTC' : undefined;
    const time = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' } as const;
    const date = { year: 'numeric', month: 'short', day: '2-digit' } as const;
    const minute = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const;
    const options = { time, minute, date, full: { ...date, ...time, timeZoneName: 'short' } as const }[style];
    found = new Intl.DateTimeFormat(LOCALE, { timeZone, ...options });
    formats.set(key, found);
  }
  return found;
}

/** 10:42:07 */
export const clockTime = (ms: number, zone: Zone) => format(zone, 'time').format(ms);

/** 10:42 */
export const minuteTime = (ms: number, zone: Zone) => format(zone, 'minute').format(ms);

/** 21 Nov 2026 */
export const dateOnly = (ms: number, zone: Zone) => format(zone, 'date').format(ms);

/** 21 Nov 2026, 10:42:07 UTC */
export const fullTime = (ms: number, zone: Zone) => format(zone, 'full').format(ms);

/** 42 s, 14 min, 3 h, 12 d. Negative spans count as none. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d`;
}

/** 1:05 for a countdown of 65 s; 0:00 when it is over. */
export function countdown(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes}:${String(seconds % 60).padStart(2, '0')}`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
