import type { Query, QueryKey } from '@tanstack/svelte-query';
import { isFinal } from '$lib/api/problem';

/** Which reads a topic of the stream makes old. `id` also matches a page that was opened by the device's name. */
export function isTouchedBy(topics: ReadonlySet<string>, query: Pick<Query, 'queryKey' | 'state'>): boolean {
  if (isFinal(query.state.error)) return false; // a wrong query stays wrong
  const [resource, id] = query.queryKey as [string, unknown];
  switch (resource) {
    case 'fleet':
      return topics.size > 0;
    case 'sites':
    case 'bundles':
      return topics.has('fleet');
    case 'devices':
      return topics.has('fleet') || topics.has('alerts') || some(topics, 'device:');
    case 'device':
      return topics.has(`device:${String(id)}`) || topics.has(`device:${ownId(query.state.data)}`);
    case 'rollouts':
      return some(topics, 'rollout:');
    case 'rollout':
      return topics.has(`rollout:${String(id)}`);
    case 'alerts':
      return topics.has('alerts');
    default:
      return false;
  }
}

/** Charts cover minutes: they follow their device at a slower pace than figures do. */
export function isSeriesTouchedBy(topics: ReadonlySet<string>, queryKey: QueryKey): boolean {
  return queryKey[0] === 'series' && topics.has(`device:${String(queryKey[1])}`);
}

function some(topics: ReadonlySet<string>, prefix: string): boolean {
  for (const topic of topics) if (topic.startsWith(prefix)) return true;
  return false;
}

function ownId(data: unknown): string {
  return typeof data === 'object' && data !== null && 'id' in data ? String(data.id) : '';
}
