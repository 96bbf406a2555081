import createClient, { type Middleware } from 'openapi-fetch';
import { ApiError, foreignProblem } from './problem';
import type { paths } from './schema';
import type { Problem } from './types';

const unauthorized = new Set<() => void>();

/** Calls `listener` whenever the server says that nobody is logged in. Returns how to stop. */
export function onUnauthorized(listener: () => void): () => void {
  unauthorized.add(listener);
  return () => unauthorized.delete(listener);
}

const middleware: Middleware = {
  onRequest({ request }) {
    if (request.method !== 'GET') request.headers.set('X-Muster-Csrf', '1');
  },
  onResponse({ request, response }) {
    const loggingIn = request.method === 'POST' && new URL(request.url).pathname === '/api/v1/session';
    if (response.status === 401 && !loggingIn) unauthorized.forEach((listener) => listener());
  },
};

export const api = createClient<paths>({ baseUrl: '/', credentials: 'same-origin' });
api.use(middleware);

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of an answer; throws ApiError for every other answer. */
export async function unwrap<T>(pending: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await pending;
  if (response.ok) return data as T;
  if (isProblem(error)) throw new ApiError(error);
  throw new ApiError(foreignProblem(response.status, response.statusText));
}

function isProblem(value: unknown): value is Problem {
  return typeof value === 'object' && value !== null && 'code' in value && 'detail' in value && 'status' in value;
}
