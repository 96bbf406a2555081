import { defineConfig } from '@playwright/test';
import { browser, server } from './server';

export default defineConfig({
  testDir: '.',
  projects: [
    { name: 'console', testMatch: 'console.spec.ts' },
    { name: 'screenshots', testMatch: 'screenshots.ts' },
  ],
  outputDir: 'test-results',
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: 'list',
  use: {
    baseURL: server.url,
    ignoreHTTPSErrors: true,
    viewport: { width: 1440, height: 900 },
    contextOptions: { reducedMotion: 'reduce' }, // colours are judged as they are, not on their way
    launchOptions: browser,
  },
});
