import type { Column } from './gaps';

export interface Line {
  label: string;
  /** A registered custom property of tokens.css. */
  color: `--chart-${number}`;
  dash?: number[];
  values: Column;
}

export interface Limit {
  value: number;
  label: string;
}

export interface Band {
  from: number;
  to: number;
  label: string;
}

/** Times are Unix ms. `gaps`: where nothing was heard, drawn as hatching and never bridged. */
export interface ChartData {
  t: number[];
  from: number;
  to: number;
  lines: Line[];
  gaps: [number, number][];
  bands: Band[];
  limits?: Limit[];
}
