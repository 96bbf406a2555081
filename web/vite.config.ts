import { svelte } from '@sveltejs/vite-plugin-svelte';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { budget } from './build/budget.ts';
import { precompress } from './build/precompress.ts';

export default defineConfig({
  plugins: [
    svelte(),
    budget({ entryJs: 80, entryCss: 15, lazyRoute: 25, charts: 22, allJs: 260 }),
    precompress(),
  ],
  resolve: { alias: { $lib: fileURLToPath(new URL('./src/lib', import.meta.url)) } },
  build: {
    // light-dark(), :has() and <dialog> as written: no rewriting for older browsers.
    target: ['chrome125', 'firefox128', 'safari18'],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  worker: { format: 'es' },
  // `MUSTER_URL=https://localhost:8443 npm run dev`: this source, with the data of a running server.
  server: { proxy: { '/api': { target: process.env.MUSTER_URL ?? 'https://localhost:8443', secure: false } } },
  test: { include: ['src/**/*.test.ts'] },
});
