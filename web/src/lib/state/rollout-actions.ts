import { api, unwrap } from '$lib/api/client';
import { rollout as read } from '$lib/api/queries';
import { queryClient } from '$lib/api/query-client';
import type { Rollout } from '$lib/api/types';
import { whyNotAllowed } from './rights';

export type RolloutAction = 'pause' | 'resume' | 'abort' | 'rollback';

/** Why this cannot be done now, in the server's words or because of the person's role; null when it can. */
export function whyNot(rollout: Rollout, action: RolloutAction): string | null {
  const state = rollout.actions[action];
  if (!state?.allowed) return state?.reason ?? 'The server does not offer this now.';
  return whyNotAllowed(action === 'pause' ? 'rollout.pause' : 'rollout.write');
}

/** Throws ApiError. What comes back is the truth about the rollout, so it is shown at once. */
export async function actOnRollout({ id }: Pick<Rollout, 'id'>, action: RolloutAction, reason = ''): Promise<Rollout> {
  const body = reason ? { reason } : {};
  const now = await unwrap(api.POST('/api/v1/rollouts/{id}/{action}', { params: { path: { id, action } }, body }));
  queryClient.setQueryData(read(id).queryKey, now);
  void queryClient.invalidateQueries({ queryKey: ['rollout', id, 'events'] });
  void queryClient.invalidateQueries({ queryKey: ['rollouts'] });
  return now;
}
