import { createParser } from 'eventsource-parser';

/** `live`: bytes are coming. `reconnecting`: they were, or never have. `unauthorized`: nobody is logged in, and the stream is over. */
export type Link = 'reconnecting' | 'live' | 'unauthorized';

export interface StreamListener {
  /** `since` is when bytes last came (ms of the local clock), or 0. */
  link(state: Link, since: number): void;
  change(topics: string[]): void;
  /** Everything may have changed. */
  resync(): void;
}

export interface Stream {
  close(): void;
}

const SILENCE = 40_000; // two heartbeats of 15 s and some patience
const FIRST_WAIT = 500;
const LONGEST_WAIT = 3_000;

/**
 * Reads the server's stream of changes until close() and reconnects by itself. Unlike EventSource it sees 401, notices a
 * connection that has died without a word, and can be shared by all tabs.
 */
export function openStream(url: string, listener: StreamListener): Stream {
  let closed = false;
  let attempt: AbortController | undefined;
  let lastByte = 0;
  let wait = FIRST_WAIT;
  let wasLive = false;

  const parser = createParser({
    onEvent(event) {
      if (event.event === 'resync') listener.resync();
      else if (event.event === 'change') listener.change(topicsOf(event.data));
    },
  });

  function gotBytes() {
    lastByte = Date.now();
    wait = FIRST_WAIT;
    listener.link('live', lastByte);
    if (wasLive) return;
    wasLive = true;
    listener.resync();
  }

  async function read(body: ReadableStream<Uint8Array>, alive: () => void) {
    const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      gotBytes();
      parser.feed(value);
    }
  }

  /** One connection, from its start to its end. False when there shall be no other. */
  async function connect(): Promise<boolean> {
    const controller = (attempt = new AbortController());
    let watchdog = setTimeout(() => controller.abort(), SILENCE);
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => controller.abort(), SILENCE);
    };
    try {
      const response = await fetch(url, {
        signal: controller.signal,
        credentials: 'same-origin',
        cache: 'no-store',
        headers: { Accept: 'text/event-stream' },
      });
      if (response.status === 401) return false;
      if (response.ok && response.body) {
        gotBytes();
        await read(response.body, alive);
      }
    } catch {
      // No connection, or it broke: the loop below tries again and the listener hears of it.
    } finally {
      clearTimeout(watchdog);
      parser.reset();
    }
    return true;
  }

  async function run() {
    listener.link('reconnecting', lastByte);
    while (!closed) {
      const goOn = await connect();
      if (closed) return;
      if (!goOn) {
        listener.link('unauthorized', lastByte);
        return;
      }
      wasLive = false;
      listener.link('reconnecting', lastByte);
      await new Promise((resolve) => setTimeout(resolve, wait * (0.8 + 0.4 * Math.random())));
      wait = Math.min(wait * 2, LONGEST_WAIT);
    }
  }

  void run();
  return {
    close() {
      closed = true;
      attempt?.abort();
    },
  };
}

function topicsOf(data: string): string[] {
  try {
    const { topics } = JSON.parse(data) as { topics?: unknown };
    return Array.isArray(topics) ? topics.filter((topic) => typeof topic === 'string') : [];
  } catch {
    return [];
  }
}
