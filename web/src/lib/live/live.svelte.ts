import { queryClient } from '$lib/api/query-client';
import { STREAM_URL, type FromWorker, type ToWorker } from './protocol';
import { openStream, type Link, type Stream } from './stream';
import { isSeriesTouchedBy, isTouchedBy } from './topics';
import workerUrl from './stream.worker.ts?sharedworker&url';

/** How fresh what is on the screen is. `since`: when the server was last heard, ms of the local clock, 0 for never. */
export type Freshness = 'connecting' | 'live' | 'reconnecting' | 'offline';

const OFFLINE_AFTER = 15_000;
const FIGURES_PACE = 1_000;
const SERIES_PACE = 5_000;

let link = $state<Link>('reconnecting');
let since = $state(0);
let isLong = $state(false);
let longTimer: ReturnType<typeof setTimeout> | undefined;

export const live = {
  get freshness(): Freshness {
    if (link === 'live') return 'live';
    if (isLong) return 'offline';
    return since === 0 ? 'connecting' : 'reconnecting';
  },
  get since() {
    return since;
  },
};

function onLink(state: Link, heard: number) {
  since = heard;
  if (state === 'unauthorized') void queryClient.invalidateQueries({ queryKey: ['me'] });
  if (state === link && longTimer) return;
  link = state;
  clearTimeout(longTimer);
  isLong = false;
  if (state !== 'live') longTimer = setTimeout(() => (isLong = true), OFFLINE_AFTER);
}

/** Calls `flush` with all topics since the last call: at once, and then at most once per `pace` ms. */
function paced(pace: number, flush: (topics: ReadonlySet<string>) => void) {
  // eslint-disable-next-line svelte/prefer-svelte-reactivity -- nothing renders it
  let waiting = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const run = () => {
    timer = undefined;
    if (waiting.size === 0) return;
    const topics = waiting;
    waiting = new Set();
    timer = setTimeout(run, pace);
    flush(topics);
  };
  return (topics: string[]) => {
    topics.forEach((topic) => waiting.add(topic));
    if (!timer) run();
  };
}

const refreshFigures = paced(FIGURES_PACE, (topics) => {
  void queryClient.invalidateQueries({ predicate: (query) => isTouchedBy(topics, query) });
});
const refreshSeries = paced(SERIES_PACE, (topics) => {
  void queryClient.invalidateQueries({ predicate: (query) => isSeriesTouchedBy(topics, query.queryKey) });
});

/** A tab that nobody sees asks for nothing; it catches up when it is looked at. */
let missed = false;

function onChange(topics: string[]) {
  if (document.hidden) {
    missed = true;
    return;
  }
  refreshFigures(topics);
  refreshSeries(topics);
}

function onResync() {
  if (document.hidden) missed = true;
  else void queryClient.invalidateQueries();
}

function onVisible() {
  if (document.hidden || !missed) return;
  missed = false;
  void queryClient.invalidateQueries();
}

/** The one script address a worker may be made of; anything else throws. */
const workerPolicy = window.trustedTypes?.createPolicy('muster-worker', {
  createScriptURL(url: string) {
    if (url !== workerUrl) throw new TypeError(`not the console's worker: ${url}`);
    return url;
  },
});

let worker: SharedWorker | undefined;
let ownStream: Stream | undefined;

function post(message: ToWorker) {
  worker?.port.postMessage(message);
}

function openInPage() {
  ownStream ??= openStream(STREAM_URL, { link: onLink, change: onChange, resync: onResync });
}

function receive({ data }: MessageEvent<FromWorker>) {
  if (data.kind === 'link') onLink(data.state, data.since);
  else if (data.kind === 'change') onChange(data.topics);
  else onResync();
}

function openShared() {
  if (!worker) {
    const url = (workerPolicy?.createScriptURL(workerUrl) ?? workerUrl) as string;
    worker = new SharedWorker(url, { type: 'module', name: 'muster-stream' });
    worker.port.onmessage = receive;
    worker.onerror = () => {
      worker = undefined;
      openInPage();
    };
    addEventListener('pagehide', () => post({ kind: 'leave' }));
    addEventListener('pageshow', (event) => event.persisted && post({ kind: 'open' }));
  }
  post({ kind: 'open' });
}

/** Starts to listen to the server; call it again after a login. */
export function startLive() {
  document.addEventListener('visibilitychange', onVisible);
  onLink('reconnecting', since);
  if (typeof SharedWorker === 'undefined') openInPage();
  else openShared();
}

/** Ends the stream, and tells the other tabs that the session is over. */
export function stopLive() {
  document.removeEventListener('visibilitychange', onVisible);
  clearTimeout(longTimer);
  post({ kind: 'logged-out' });
  ownStream?.close();
  ownStream = undefined;
}
