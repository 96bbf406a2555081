import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openStream, type Link } from './stream';

type Line = ['link', Link] | ['change', string[]] | ['resync'];

let heard: Line[] = [];
const listener = {
  link: (state: Link) => {
    if (heard.findLast(([kind]) => kind === 'link')?.[1] !== state) heard.push(['link', state]);
  },
  change: (topics: string[]) => heard.push(['change', topics]),
  resync: () => heard.push(['resync']),
};

/** A connection whose bytes the test sends. */
function connection() {
  let sink: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({ start: (controller) => void (sink = controller) });
  return {
    response: new Response(body, { status: 200 }),
    send: (text: string) => sink.enqueue(new TextEncoder().encode(text)),
    end: () => sink.close(),
  };
}

const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  heard = [];
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test('changes come through, also when a frame is cut in two', async () => {
  const one = connection();
  vi.stubGlobal('fetch', vi.fn().mockResolvedValue(one.response));
  const stream = openStream('/stream', listener);
  await settle();
  one.send('event: change\ndata: {"topics":["fleet","dev');
  await settle();
  one.send('ice:a"]}\n\n:hb\n\n');
  await settle();
  stream.close();
  expect(heard).toEqual([['link', 'reconnecting'], ['link', 'live'], ['resync'], ['change', ['fleet', 'device:a']]]);
});

test('a broken connection is made again, and everything is read again', async () => {
  const first = connection();
  const second = connection();
  const fetch = vi.fn().mockResolvedValueOnce(first.response).mockRejectedValueOnce(new TypeError('down')).mockResolvedValue(second.response);
  vi.stubGlobal('fetch', fetch);
  const stream = openStream('/stream', listener);
  await settle();
  first.end();
  await settle(5_000);
  stream.close();
  expect(fetch).toHaveBeenCalledTimes(3);
  expect(heard).toEqual([
    ['link', 'reconnecting'], ['link', 'live'], ['resync'],
    ['link', 'reconnecting'], ['link', 'live'], ['resync'],
  ]);
});

test('a connection that says nothing for longer than its heartbeats is given up', async () => {
  const silent = connection();
  const fetch = vi.fn((_url: string, { signal }: RequestInit) => {
    const isFirst = fetch.mock.calls.length === 1;
    if (isFirst) signal?.addEventListener('abort', silent.end);
    return Promise.resolve(isFirst ? silent.response : connection().response);
  });
  vi.stubGlobal('fetch', fetch);
  const stream = openStream('/stream', listener);
  await settle(39_000);
  expect(fetch).toHaveBeenCalledTimes(1);
  await settle(5_000);
  stream.close();
  expect(fetch).toHaveBeenCalledTimes(2);
});

test('401 ends the stream', async () => {
  const fetch = vi.fn().mockResolvedValue(new Response(null, { status: 401 }));
  vi.stubGlobal('fetch', fetch);
  openStream('/stream', listener);
  await settle(60_000);
  expect(fetch).toHaveBeenCalledTimes(1);
  expect(heard.at(-1)).toEqual(['link', 'unauthorized']);
});

test('503 is tried again, at most every 3.6 s', async () => {
  const fetch = vi.fn().mockResolvedValue(new Response(null, { status: 503 }));
  vi.stubGlobal('fetch', fetch);
  const stream = openStream('/stream', listener);
  await settle(40_000);
  stream.close();
  expect(fetch.mock.calls.length).toBeGreaterThan(10);
  expect(heard.every(([, state]) => state === 'reconnecting')).toBe(true);
});

test('frames that make no sense are passed over', async () => {
  const one = connection();
  vi.stubGlobal('fetch', vi.fn().mockResolvedValue(one.response));
  const stream = openStream('/stream', listener);
  await settle();
  one.send('event: change\ndata: not json\n\nevent: change\ndata: {"topics":[1,"alerts"]}\n\nevent: other\ndata: x\n\n');
  await settle();
  stream.close();
  expect(heard.filter(([kind]) => kind === 'change')).toEqual([['change', []], ['change', ['alerts']]]);
});
