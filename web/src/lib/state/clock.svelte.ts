/*
 * The server's clock, as well as this browser knows it: ages and countdowns must not depend on how the browser's own clock
 * is set.
 */

let skew = $state(0);
let localNow = $state(Date.now());

setInterval(() => {
  if (!document.hidden) localNow = Date.now();
}, 1_000);
document.addEventListener('visibilitychange', () => (localNow = Date.now()));

export const clock = {
  /** Server time in ms; moves once a second. */
  get now() {
    return localNow + skew;
  },
  /** Takes the time of an answer that has just arrived. Small differences are the way of the answer, not the clock. */
  learn(serverMs: number) {
    const seen = serverMs - Date.now();
    if (Math.abs(seen - skew) > 1_500) skew = seen;
  },
};
