import type { Link } from './stream';

/** From a tab to the shared worker. */
export type ToWorker =
  | { kind: 'open' } // this tab wants the stream; also after a login
  | { kind: 'leave' } // this tab goes away
  | { kind: 'logged-out' }; // the session has ended, for all tabs

/** From the shared worker to every tab. */
export type FromWorker =
  | { kind: 'link'; state: Link; since: number }
  | { kind: 'change'; topics: string[] }
  | { kind: 'resync' };

export const STREAM_URL = '/api/v1/stream';
