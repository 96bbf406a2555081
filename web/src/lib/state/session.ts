import { api, unwrap } from '$lib/api/client';
import { me } from '$lib/api/queries';
import { queryClient } from '$lib/api/query-client';
import { router, safeReturn } from '$lib/router/router.svelte';
import { stopLive } from '$lib/live/live.svelte';

/** To the login page; after it the person is back where they were. */
export function requireLogin() {
  if (router.path === '/login') return;
  const target = safeReturn(router.here);
  router.go(target === '/' ? '/login' : `/login?return=${encodeURIComponent(target)}`, { replace: true });
  queryClient.clear();
}

/** Throws ApiError; `password_change_required` asks for a new password. */
export async function logIn(user: string, password: string, newPassword?: string) {
  const body = { user, password, ...(newPassword && { new_password: newPassword }) };
  const answer = await unwrap(api.POST('/api/v1/session', { body }));
  queryClient.setQueryData(me().queryKey, answer);
  router.go(safeReturn(router.search.get('return')), { replace: true });
}

export async function logOut() {
  await unwrap(api.DELETE('/api/v1/session'));
  stopLive();
  router.go('/login', { replace: true });
  queryClient.clear();
}
