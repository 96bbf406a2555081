/** A feature's 13 counters as shares: below the reference's range, its ten deciles, above it, missing. */
export interface DriftBin {
  label: string;
  share: number;
  /** What the signed reference has in this bin. */
  expected: number;
}

const DECILES = 10;

const figure = (value: number | undefined) => (value === undefined ? '?' : Number(value.toPrecision(3)).toString());

/** `edges`: minimum, nine deciles, maximum of the reference. No samples: all shares are 0. */
export function driftBins(counts: readonly number[], edges: readonly number[]): DriftBin[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count, i) => {
    const inRange = i >= 1 && i <= DECILES;
    const label =
      i === 0
        ? `below ${figure(edges[0])}`
        : inRange
          ? `${figure(edges[i - 1])} to ${figure(edges[i])}`
          : i === DECILES + 1
            ? `above ${figure(edges[DECILES])}`
            : 'missing';
    return { label, share: total === 0 ? 0 : count / total, expected: inRange ? 1 / DECILES : 0 };
  });
}
