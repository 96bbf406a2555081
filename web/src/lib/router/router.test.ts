import { expect, test, vi } from 'vitest';

vi.stubGlobal('location', new URL('http://localhost/'));
const { matchRoute, safeReturn } = await import('./router.svelte');

const load = () => Promise.reject(new Error('not loaded in this test'));
const routes = ['/', '/rollouts', '/rollouts/new', '/rollouts/:id', '/devices/:id'].map((pattern) => ({ pattern, load }));

test.each([
  ['/', '/', {}],
  ['/rollouts', '/rollouts', {}],
  ['/rollouts/new', '/rollouts/new', {}],
  ['/rollouts/42', '/rollouts/:id', { id: '42' }],
  ['/devices/edge%2D1', '/devices/:id', { id: 'edge-1' }],
  ['/devices/%ff', '/devices/:id', { id: '%ff' }],
])('%s is the page %s', (path, pattern, params) => {
  const found = matchRoute(routes, path);
  expect(found?.route.pattern).toBe(pattern);
  expect(found?.params).toEqual(params);
});

test.each(['/nope', '/rollouts/1/2', '/devices'])('%s is no page', (path) => {
  expect(matchRoute(routes, path)).toBeUndefined();
});

test.each([
  ['/devices?q=status:critical', '/devices?q=status:critical'],
  [null, '/'],
  ['', '/'],
  ['https://elsewhere.example/', '/'],
  ['//elsewhere.example/', '/'],
  ['/\\elsewhere.example/', '/'],
  ['/login?return=/login', '/'],
])('after a login, %s leads to %s', (target, expected) => {
  expect(safeReturn(target)).toBe(expected);
});
