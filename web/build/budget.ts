import { gzipSync } from 'node:zlib';
import type { Plugin, Rollup } from 'vite';

/** Limits in KB (1000 bytes) after gzip. */
export interface Limits {
  entryJs: number;
  entryCss: number;
  /** One page that is loaded when it is opened, without what the entry already has. */
  lazyRoute: number;
  /** What a page with charts may take beyond `lazyRoute`. */
  charts: number;
  allJs: number;
}

const CHART_LIBRARY = 'uPlot';

const gzipped = (content: string | Uint8Array) => gzipSync(content, { level: 9 }).length;
const kb = (bytes: number) => (bytes / 1000).toFixed(1).padStart(6);

/** Fails the build when the console grows past its limits, and prints what it weighs. */
export function budget(limits: Limits): Plugin {
  return {
    name: 'muster:budget',
    apply: 'build',
    applyToEnvironment: (environment) => environment.name === 'client',
    writeBundle(_options, bundle) {
      const chunks = Object.values(bundle).filter((file): file is Rollup.OutputChunk => file.type === 'chunk');
      const byName = new Map(chunks.map((chunk) => [chunk.fileName, chunk]));
      const closure = (start: Rollup.OutputChunk, into = new Set<Rollup.OutputChunk>()) => {
        if (into.has(start)) return into;
        into.add(start);
        for (const name of start.imports) {
          const next = byName.get(name);
          if (next) closure(next, into);
        }
        return into;
      };
      const size = (set: Iterable<Rollup.OutputChunk>) => [...set].reduce((sum, chunk) => sum + gzipped(chunk.code), 0);
      const css = (set: Iterable<Rollup.OutputChunk>) => {
        const names = new Set([...set].flatMap((chunk) => [...(chunk.viteMetadata?.importedCss ?? [])]));
        return [...names].reduce((sum, name) => {
          const file = bundle[name];
          return sum + (file?.type === 'asset' ? gzipped(file.source) : 0);
        }, 0);
      };

      const entry = chunks.find((chunk) => chunk.isEntry && chunk.facadeModuleId?.endsWith('index.html'));
      if (!entry) return this.error('no entry chunk in the bundle');
      const base = closure(entry);

      const lines: string[] = [];
      const over: string[] = [];
      const report = (name: string, bytes: number, limit: number) => {
        lines.push(`${kb(bytes)} of ${String(limit).padStart(3)} KB  ${name}`);
        if (bytes > limit * 1000) over.push(name);
      };
      report('entry, script', size(base), limits.entryJs);
      report('entry, style', css(base), limits.entryCss);
      for (const chunk of chunks.filter((chunk) => chunk.isDynamicEntry)) {
        const own = [...closure(chunk)].filter((part) => !base.has(part));
        const charts = own.some((part) => part.moduleIds.some((id) => id.includes(CHART_LIBRARY)));
        report(`${chunk.name}, when opened`, size(own), limits.lazyRoute + (charts ? limits.charts : 0));
      }
      const workers = Object.values(bundle).filter((file) => file.type === 'asset' && file.fileName.endsWith('.js'));
      const workerSize = workers.reduce((sum, file) => sum + (file.type === 'asset' ? gzipped(file.source) : 0), 0);
      report('all script, with the worker', size(chunks) + workerSize, limits.allJs);

      this.info(`\n${lines.join('\n')}`);
      if (over.length > 0) this.error(`over the size budget: ${over.join('; ')}`);
    },
  };
}
