import type { Assignment } from '$lib/api/types';
import { partOf } from './progress';

export interface FailureGroup {
  code: string;
  stage: string | null;
  detail: string | null;
  count: number;
  /** Devices that could not go back to what they ran before. */
  stuck: number;
}

/** Failed assignments with the same code and stage, most devices first. */
export function failureGroups(assignments: readonly Assignment[]): FailureGroup[] {
  const groups = new Map<string, FailureGroup>();
  for (const one of assignments) {
    if (partOf(one.state) !== 'failed') continue;
    const code = one.code ?? one.state;
    const key = `${code} ${one.stage ?? ''}`;
    const group = groups.get(key) ?? { code, stage: one.stage, detail: one.detail, count: 0, stuck: 0 };
    group.count++;
    if (one.device_left === 'unable_to_roll_back') group.stuck++;
    groups.set(key, group);
  }
  return [...groups.values()].sort((a, b) => b.count - a.count);
}
