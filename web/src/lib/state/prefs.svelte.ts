import { readStored, writeStored } from './stored';

export type Theme = 'system' | 'light' | 'dark';
export type Zone = 'local' | 'utc';

let theme = $state<Theme>(readStored('muster.theme', ['system', 'light', 'dark'], 'system'));
let zone = $state<Zone>(readStored('muster.zone', ['local', 'utc'], 'local'));

const systemDark = matchMedia('(prefers-color-scheme: dark)');
let systemIsDark = $state(systemDark.matches);
systemDark.addEventListener('change', (event) => (systemIsDark = event.matches));

function apply() {
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
apply();

export const prefs = {
  /** What is on the screen now: follows the system until the person has chosen. */
  get isDark() {
    return theme === 'system' ? systemIsDark : theme === 'dark';
  },
  toggleTheme() {
    const next = prefs.isDark ? 'light' : 'dark';
    theme = next === (systemIsDark ? 'dark' : 'light') ? 'system' : next;
    writeStored('muster.theme', theme);
    apply();
  },
  get zone() {
    return zone;
  },
  toggleZone() {
    zone = zone === 'utc' ? 'local' : 'utc';
    writeStored('muster.zone', zone);
  },
};
