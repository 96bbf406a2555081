import { me } from '$lib/api/queries';
import { queryClient } from '$lib/api/query-client';
import type { Role } from '$lib/api/types';

/** Permissions of the API that the console asks about, and the lowest role that has each. */
const NEEDS = {
  'device.hold': 'operator',
  'alert.ack': 'operator',
  'rollout.pause': 'operator',
  'rollout.write': 'releaser',
} as const satisfies Record<string, Role>;

export type Right = keyof typeof NEEDS;

/** Why the person who is logged in may not do this; null when they may. The server decides again in any case. */
export function whyNotAllowed(right: Right): string | null {
  const who = queryClient.getQueryData(me().queryKey);
  if (!who || who.permissions.includes(right)) return null;
  return `Your role is ${who.role}; this needs ${NEEDS[right]} or more.`;
}
