import { STREAM_URL, type FromWorker, type ToWorker } from './protocol';
import { openStream, type Link, type Stream } from './stream';

/*
 * One stream for all tabs. A browser opens at most six HTTP/1.1 connections to a host: with one stream per tab, the seventh
 * tab would never load.
 */

interface SharedScope {
  onconnect: ((event: MessageEvent) => void) | null;
}

const tabs = new Set<MessagePort>();
let stream: Stream | undefined;
let link: { state: Link; since: number } = { state: 'reconnecting', since: 0 };

function tell(message: FromWorker) {
  for (const tab of tabs) tab.postMessage(message);
}

function close() {
  stream?.close();
  stream = undefined;
}

function setLink(state: Link, since: number) {
  if (state === 'unauthorized') close();
  const moved = state !== link.state;
  link = { state, since };
  if (moved) tell({ kind: 'link', state, since });
}

function open() {
  stream ??= openStream(STREAM_URL, {
    link: setLink,
    change: (topics) => tell({ kind: 'change', topics }),
    resync: () => tell({ kind: 'resync' }),
  });
}

function receive(tab: MessagePort, message: ToWorker) {
  switch (message.kind) {
    case 'open':
      tabs.add(tab);
      open();
      tab.postMessage({ kind: 'link', ...link } satisfies FromWorker);
      return;
    case 'leave':
      tabs.delete(tab);
      if (tabs.size === 0) close();
      return;
    case 'logged-out':
      close();
      setLink('unauthorized', link.since);
  }
}

(globalThis as unknown as SharedScope).onconnect = (event) => {
  const tab = event.ports[0];
  if (!tab) return;
  tab.onmessage = (received: MessageEvent<ToWorker>) => receive(tab, received.data);
};
