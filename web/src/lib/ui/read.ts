/** The parts of a svelte-query result that a panel needs; several results can be put together into one of these. */
export interface Read<T> {
  data: T | undefined;
  error: unknown;
  isError: boolean;
  isPlaceholderData: boolean;
  dataUpdatedAt: number;
  refetch: () => unknown;
}
