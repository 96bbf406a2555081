const LOCALE = 'en-GB';
const integer = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });

/** What is shown where a figure is not known. Never 0. */
export const NONE = '–';

export function formatCount(value: number): string {
  return integer.format(value);
}

/** One device, 12,431 devices. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

export function formatFixed(value: number | null | undefined, digits: number): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  return value.toFixed(digits).replace(/^-(0(?:\.0+)?)$/, '$1');
}

/** Three figures that matter: 0.84, 8.4, 84, 840. */
export function formatMs(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (value < 1) return value.toFixed(2);
  return value < 100 ? value.toFixed(1) : formatCount(value);
}

export function formatShare(part: number, whole: number): string {
  if (whole === 0) return NONE;
  const percent = (100 * part) / whole;
  if (percent > 0 && percent < 1) return '< 1 %';
  if (percent > 99 && percent < 100) return '> 99 %';
  return `${Math.round(percent)} %`;
}

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

/** Takes a number or the API's 64-bit string. */
export function formatBytes(value: number | string | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  let amount = Number(value);
  let unit = 0;
  while (amount >= 1000 && unit < UNITS.length - 1) {
    amount /= 1000;
    unit++;
  }
  return `${unit === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${UNITS[unit]}`;
}

/** The first figures of a digest, enough to tell two apart. */
export function shortDigest(digest: string): string {
  return digest.slice(0, 12);
}
