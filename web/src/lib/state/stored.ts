/** Reads a preference; `fallback` when there is none, or when the browser keeps none. */
export function readStored<T extends string>(key: string, allowed: readonly T[], fallback: T): T {
  try {
    const value = localStorage.getItem(key) as T | null;
    return value !== null && allowed.includes(value) ? value : fallback;
  } catch {
    return fallback;
  }
}

/** Keeps a preference. A browser that keeps none still shows it until the page is closed. */
export function writeStored(key: string, value: string) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Storage is off or full: nothing that could be done here.
  }
}
