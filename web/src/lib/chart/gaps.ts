export type Column = (number | null)[];

export interface Columns {
  t: number[];
  columns: Column[];
}

/** The middle of the distances between neighbours; 0 with fewer than two. */
export function usualStep(t: readonly number[]): number {
  const steps = t.slice(1).map((value, i) => value - (t[i] ?? value));
  steps.sort((a, b) => a - b);
  return steps[Math.floor(steps.length / 2)] ?? 0;
}

/** Puts a row of nulls wherever two readings are further apart than `limit`, so that no line is drawn over silence. */
export function withGaps(t: readonly number[], columns: readonly Column[], limit: number): Columns {
  const out: Columns = { t: [], columns: columns.map(() => []) };
  t.forEach((time, i) => {
    const before = t[i - 1];
    if (before !== undefined && time - before > limit) {
      out.t.push(before + (time - before) / 2);
      out.columns.forEach((column) => column.push(null));
    }
    out.t.push(time);
    out.columns.forEach((column, n) => column.push(columns[n]?.[i] ?? null));
  });
  return out;
}

/** Stretches of [from, to] without a reading in any column, longer than `limit`: where nothing was heard. */
export function silences(data: Columns, from: number, to: number, limit: number): [number, number][] {
  const heard = data.t.filter((_, i) => data.columns.some((column) => column[i] !== null));
  const marks = [from, ...heard.filter((time) => time >= from && time <= to), to];
  return marks.slice(1).flatMap((time, i): [number, number][] => {
    const before = marks[i] ?? time;
    return time - before > limit ? [[before, time]] : [];
  });
}

/** Stretches where `flags` is true, as [from, to] of t. */
export function stretches(t: readonly number[], flags: readonly boolean[]): [number, number][] {
  const out: [number, number][] = [];
  flags.forEach((flag, i) => {
    const time = t[i];
    if (!flag || time === undefined) return;
    const last = out.at(-1);
    if (flags[i - 1] && last) last[1] = time;
    else out.push([time, time]);
  });
  return out;
}
