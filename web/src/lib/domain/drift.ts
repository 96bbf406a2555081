/** A feature's 13 counters as shares: below the reference's range, its ten deciles, above it, missing. */
export interface DriftBin {
  label: string;
  /** Inside the reference's range. */
  isInside: boolean;
  share: number;
  /** What the signed reference has in this bin; null when there is no reference. */
  reference: number | null;
}

const DECILES = 10;

const figure = (value: number | undefined) => (value === undefined ? '?' : Number(value.toPrecision(3)).toString());

/** Each count's part of their sum; nothing counted gives 0 everywhere. */
function shares(counts: readonly number[]): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count) => (total === 0 ? 0 : count / total));
}

function labelOf(i: number, edges: readonly number[]): string {
  if (i === 0) return `below ${figure(edges[0])}`;
  if (i <= DECILES) return `${figure(edges[i - 1])} to ${figure(edges[i])}`;
  return i === DECILES + 1 ? `above ${figure(edges[DECILES])}` : 'missing';
}

/** `edges`: minimum, nine deciles, maximum of the reference. `reference`: its counts, or empty. */
export function driftBins(counts: readonly number[], edges: readonly number[], reference: readonly number[]): DriftBin[] {
  const expected = shares(reference);
  return shares(counts).map((share, i) => ({
    label: labelOf(i, edges),
    isInside: i >= 1 && i <= DECILES,
    share,
    reference: expected[i] ?? null,
  }));
}
