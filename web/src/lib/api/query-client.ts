import { QueryClient } from '@tanstack/svelte-query';
import { isFinal } from './problem';

/** Answers of 4xx are final; what may pass (no answer, 5xx) is tried twice more. */
function retry(failures: number, error: Error): boolean {
  return !isFinal(error) && failures < 2;
}

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      retry,
      staleTime: 5_000,
      // "No network" says nothing about a server in the same building or on this machine.
      networkMode: 'always',
    },
    mutations: { networkMode: 'always' },
  },
});
