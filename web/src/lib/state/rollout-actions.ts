import { api, unwrap } from '$lib/api/client';
import { rollout as read } from '$lib/api/queries';
import { queryClient } from '$lib/api/query-client';
import type { Rollout } from '$lib/api/types';

export type RolloutAction = 'pause' | 'resume' | 'abort' | 'rollback';

/** Throws ApiError. What comes back is the truth about the rollout, so it is shown at once. */
export async function actOnRollout({ id }: Pick<Rollout, 'id'>, action: RolloutAction, reason = ''): Promise<Rollout> {
  const body = reason ? { reason } : {};
  const now = await unwrap(api.POST('/api/v1/rollouts/{id}/{action}', { params: { path: { id, action } }, body }));
  queryClient.setQueryData(read(id).queryKey, now);
  void queryClient.invalidateQueries({ queryKey: ['rollout', id, 'events'] });
  void queryClient.invalidateQueries({ queryKey: ['rollouts'] });
  return now;
}
