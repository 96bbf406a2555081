import { keepPreviousData, queryOptions } from '@tanstack/svelte-query';
import { clock } from '$lib/state/clock.svelte';
import { api, unwrap } from './client';
import { isFinal } from './problem';
import type { AlertState, NewRollout } from './types';

/*
 * Every read of the console. Keys start with the resource, so that a topic of the stream maps to a prefix (live/topics.ts).
 * Statuses also change by the passing of time, with no event: what shows them is read again every 15 s.
 */

const TIMED = 15_000;

/** Rows of one page of a list. */
export const PAGE = 100;

/** How far back the device page looks, in ms. */
export const SERIES_RANGE = 15 * 60_000;

/** An answer that says when it was true tells the server's time, at the moment it arrives. */
function dated<T extends { as_of: number }>(answer: T): T {
  clock.learn(answer.as_of);
  return answer;
}

/** Again after a while, but not what the server has refused for good. */
const again = ({ state }: { state: { error: Error | null } }) => (isFinal(state.error) ? false : TIMED);

export const me = () => queryOptions({ queryKey: ['me'], queryFn: () => unwrap(api.GET('/api/v1/me')), staleTime: 60_000 });

export const fleet = () =>
  queryOptions({ queryKey: ['fleet'], queryFn: async () => dated(await unwrap(api.GET('/api/v1/fleet'))), refetchInterval: again });

export const sites = () =>
  queryOptions({
    queryKey: ['sites'],
    queryFn: async () => (await unwrap(api.GET('/api/v1/sites'))).sites,
    refetchInterval: again,
  });

export const devices = (q: string, after: string) =>
  queryOptions({
    queryKey: ['devices', q, after],
    queryFn: async () =>
      dated(await unwrap(api.GET('/api/v1/devices', { params: { query: { ...(q && { q }), ...(after && { after }), limit: PAGE } } }))),
    placeholderData: keepPreviousData,
    refetchInterval: again,
  });

export const device = (id: string) =>
  queryOptions({
    queryKey: ['device', id],
    queryFn: () => unwrap(api.GET('/api/v1/devices/{id}', { params: { path: { id } } })),
    refetchInterval: again,
  });

export const deviceHealth = (id: string) =>
  queryOptions({
    queryKey: ['series', id, 'health'],
    queryFn: () => unwrap(api.GET('/api/v1/devices/{id}/health', { params: { path: { id } } })),
    refetchInterval: again,
  });

export const deviceInference = (id: string) =>
  queryOptions({
    queryKey: ['series', id, 'inference'],
    queryFn: () => unwrap(api.GET('/api/v1/devices/{id}/inference', { params: { path: { id } } })),
    refetchInterval: again,
  });

export const deviceDrift = (id: string) =>
  queryOptions({
    queryKey: ['series', id, 'drift'],
    queryFn: () => unwrap(api.GET('/api/v1/devices/{id}/drift', { params: { path: { id } } })),
    refetchInterval: again,
  });

export const deviceEvents = (id: string, limit = 100) =>
  queryOptions({
    queryKey: ['device', id, 'events', limit],
    queryFn: async () =>
      (await unwrap(api.GET('/api/v1/devices/{id}/events', { params: { path: { id }, query: { limit } } }))).events,
  });

export const bundles = (before = '') =>
  queryOptions({
    queryKey: ['bundles', before],
    queryFn: async () =>
      (await unwrap(api.GET('/api/v1/bundles', { params: { query: { limit: PAGE, ...(before && { before }) } } }))).bundles,
    refetchInterval: again,
  });

export const deltas = (bundle: string) =>
  queryOptions({
    queryKey: ['bundles', 'deltas', bundle],
    queryFn: async () => (await unwrap(api.GET('/api/v1/bundles/{id}/deltas', { params: { path: { id: bundle } } }))).deltas,
    refetchInterval: again,
  });

export const rollouts = (before = '') =>
  queryOptions({
    queryKey: ['rollouts', before],
    queryFn: async () =>
      (await unwrap(api.GET('/api/v1/rollouts', { params: { query: { limit: PAGE, ...(before && { before }) } } }))).rollouts,
  });

export const rollout = (id: string) =>
  queryOptions({
    queryKey: ['rollout', id],
    queryFn: () => unwrap(api.GET('/api/v1/rollouts/{id}', { params: { path: { id } } })),
  });

export const rolloutDevices = (id: string) =>
  queryOptions({
    queryKey: ['rollout', id, 'devices'],
    queryFn: async () => (await unwrap(api.GET('/api/v1/rollouts/{id}/devices', { params: { path: { id } } }))).assignments,
  });

export const rolloutEvents = (id: string) =>
  queryOptions({
    queryKey: ['rollout', id, 'events'],
    queryFn: async () =>
      (await unwrap(api.GET('/api/v1/rollouts/{id}/events', { params: { path: { id }, query: { limit: 200 } } }))).events,
  });

export const rolloutPlan = (spec: NewRollout) =>
  queryOptions({
    queryKey: ['rollout-plan', spec],
    queryFn: () => unwrap(api.POST('/api/v1/rollout-plans', { body: spec })),
    placeholderData: keepPreviousData,
    retry: false,
  });

export const alerts = (state: AlertState, device = '') =>
  queryOptions({
    queryKey: ['alerts', state, device],
    queryFn: async () =>
      (await unwrap(api.GET('/api/v1/alerts', { params: { query: { state, ...(device && { device }), limit: 200 } } }))).alerts,
    placeholderData: keepPreviousData,
    refetchInterval: again,
  });
