import { parse } from 'regexparam';
import type { Component } from 'svelte';

/** Pages of a pattern with names take `params`; the others take nothing. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- the two kinds have no common type
type PageModule = { default: Component<any> };

export interface Route {
  pattern: string;
  load: () => Promise<PageModule>;
}

export interface Match {
  route: Route;
  params: Record<string, string>;
}

/** The first route that fits the path; its parameters are decoded. */
export function matchRoute(routes: Route[], path: string): Match | undefined {
  for (const route of routes) {
    const { keys, pattern } = parse(route.pattern);
    const found = pattern.exec(path);
    if (!found) continue;
    const params: Record<string, string> = {};
    keys.forEach((key, i) => (params[key] = decode(found[i + 1] ?? '')));
    return { route, params };
  }
  return undefined;
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Only a path of this console: never another origin, and never the login page itself. */
export function safeReturn(target: string | null): string {
  if (!target?.startsWith('/') || target.startsWith('//') || target.startsWith('/\\')) return '/';
  return target.startsWith('/login') ? '/' : target;
}

const scroller = () => document.getElementById('main');
// eslint-disable-next-line svelte/prefer-svelte-reactivity -- nothing renders it
const scrolls = new Map<string, number>();
const keyNow = () => (history.state as { key?: string } | null)?.key ?? 'first';

let url = $state.raw(new URL(globalThis.location?.href ?? 'http://localhost/'));

function leave() {
  scrolls.set(keyNow(), scroller()?.scrollTop ?? 0);
}

/** The URL is the state of a page: its path, and its search parameters. */
export const router = {
  get path() {
    return url.pathname;
  },
  get search() {
    return url.searchParams;
  },
  /** Path and search, for a return after a login. */
  get here() {
    return url.pathname + url.search;
  },
  go(target: string, { replace = false } = {}) {
    // eslint-disable-next-line svelte/prefer-svelte-reactivity -- replaced whole, never changed
    const next = new URL(target, url);
    if (next.href === url.href) return;
    leave();
    if (replace) history.replaceState(history.state, '', next);
    else history.pushState({ key: crypto.randomUUID() }, '', next);
    const samePage = next.pathname === url.pathname;
    url = next;
    if (!samePage) queueMicrotask(() => scroller()?.scrollTo(0, 0));
  },
  /** Changes search parameters of this page; an empty value removes its name. */
  setSearch(values: Record<string, string>, options?: { replace?: boolean }) {
    router.go(searchLink(values), options);
  },
};

/** This page with other search parameters, as a link. */
export function searchLink(values: Record<string, string>): string {
  // eslint-disable-next-line svelte/prefer-svelte-reactivity -- gone when the link is made
  const next = new URL(url);
  for (const [name, value] of Object.entries(values)) {
    if (value) next.searchParams.set(name, value);
    else next.searchParams.delete(name);
  }
  return next.pathname + next.search;
}

function onClick(event: MouseEvent) {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const anchor = (event.target as Element | null)?.closest('a');
  if (!anchor?.href || anchor.target || anchor.hasAttribute('download')) return;
  const target = new URL(anchor.href);
  if (target.origin !== location.origin || target.pathname.startsWith('/api/')) return;
  if (target.hash && target.pathname === url.pathname) return;
  event.preventDefault();
  router.go(target.href);
}

function onPopState() {
  url = new URL(location.href);
  const top = scrolls.get(keyNow());
  if (top !== undefined) requestAnimationFrame(() => scroller()?.scrollTo(0, top));
}

/** Follows links and the browser's Back and Forward. Returns how to stop. */
export function startRouter(): () => void {
  history.scrollRestoration = 'manual';
  document.addEventListener('click', onClick);
  addEventListener('popstate', onPopState);
  return () => {
    document.removeEventListener('click', onClick);
    removeEventListener('popstate', onPopState);
  };
}
