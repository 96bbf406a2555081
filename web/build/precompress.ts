import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { Plugin, ResolvedConfig } from 'vite';

const TEXT = /\.(html|js|css|svg|json|txt)$/;
const SMALLEST = 512; // below this a compressed copy saves less than one packet

/** Puts FILE.br and FILE.gz beside every text file, so that the server never compresses at run time. */
export function precompress(): Plugin {
  let config: ResolvedConfig;
  return {
    name: 'muster:precompress',
    apply: 'build',
    enforce: 'post',
    configResolved(resolved) {
      config = resolved;
    },
    async closeBundle(error) {
      if (error) return;
      const root = config.build.outDir;
      const files = await readdir(root, { recursive: true, withFileTypes: true });
      for (const file of files.filter((entry) => entry.isFile() && TEXT.test(entry.name))) {
        const path = join(file.parentPath, file.name);
        const bytes = await readFile(path);
        if (bytes.length < SMALLEST) continue;
        const quality = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
        await writeFile(`${path}.br`, brotliCompressSync(bytes, { params: quality }));
        await writeFile(`${path}.gz`, gzipSync(bytes, { level: 9 }));
      }
    },
  };
}
