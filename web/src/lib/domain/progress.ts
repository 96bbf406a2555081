import type { AssignmentState } from '$lib/api/types';

/** The parts of a wave's bar, in the order in which they are drawn. */
export type Part = 'done' | 'failed' | 'flight' | 'held' | 'back' | 'cancelled' | 'waiting';

export const PARTS: readonly Part[] = ['done', 'failed', 'flight', 'held', 'back', 'cancelled', 'waiting'];

export const PART_WORD: Record<Part, string> = {
  done: 'succeeded',
  failed: 'failed',
  flight: 'in flight',
  held: 'held',
  back: 'rolled back',
  cancelled: 'cancelled',
  waiting: 'waiting',
};

const PART_OF: Record<AssignmentState, Part> = {
  succeeded: 'done',
  already_running: 'done',
  failed: 'failed',
  rejected: 'failed',
  timed_out: 'failed',
  offered: 'flight',
  downloading: 'flight',
  staged: 'flight',
  applying: 'flight',
  probation: 'flight',
  held: 'held',
  waiting: 'waiting',
  rolled_back: 'back',
  cancelled: 'cancelled',
  superseded: 'cancelled',
};

export const partOf = (state: AssignmentState): Part => PART_OF[state];

export interface Segment {
  part: Part;
  count: number;
}

/**
 * Assignments by state, as the parts of a bar that sum up to `devices`. Whatever the counts do not mention is waiting, so a
 * bar is never shorter than its wave.
 */
export function segments(counts: Record<string, number>, devices: number): Segment[] {
  const sums = new Map<Part, number>();
  let known = 0;
  for (const [state, count] of Object.entries(counts)) {
    const part = PART_OF[state as AssignmentState] ?? 'waiting';
    sums.set(part, (sums.get(part) ?? 0) + count);
    known += count;
  }
  if (known < devices) sums.set('waiting', (sums.get('waiting') ?? 0) + devices - known);
  return PARTS.flatMap((part) => {
    const count = sums.get(part) ?? 0;
    return count > 0 ? [{ part, count }] : [];
  });
}

export const countOf = (list: Segment[], part: Part) => list.find((segment) => segment.part === part)?.count ?? 0;

/** "3 succeeded, 1 in flight, 2 waiting" */
export function describe(list: Segment[]): string {
  return list.map(({ part, count }) => `${count} ${PART_WORD[part]}`).join(', ') || 'no devices';
}
