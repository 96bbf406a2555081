import type { HealthSeries, InferenceSeries } from '$lib/api/types';
import type { Band, ChartData, Line } from './types';
import { silences, stretches, usualStep, withGaps, type Column } from './gaps';

/** Readings further apart than this many usual steps are a gap. */
const GAP_STEPS = 3;
const SHORTEST_GAP = 10_000;

interface Source {
  t: readonly number[];
  from: number;
  to: number;
}

/** A device that was not there yet was not silent: its charts begin with it, but never show less than this. */
const SHORTEST_RANGE = 120_000;

/** Where a chart begins, for a device that exists since `born`. */
const startOf = (series: { from: number; to: number }, born: number) =>
  Math.max(series.from, Math.min(born, series.to - SHORTEST_RANGE));

function build(source: Source, lines: (Omit<Line, 'values'> & { values: Column })[], bands: Band[] = []): ChartData {
  const limit = Math.max(usualStep(source.t) * GAP_STEPS, SHORTEST_GAP);
  const filled = withGaps(source.t, lines.map((line) => line.values), limit);
  return {
    t: filled.t,
    from: source.from,
    to: source.to,
    lines: lines.map((line, i) => ({ ...line, values: filled.columns[i] ?? [] })),
    gaps: silences(filled, source.from, source.to, limit),
    bands,
  };
}

const LINES = ['--chart-1', '--chart-2', '--chart-4', '--chart-5', '--chart-6'] as const;

const healthSource = (series: HealthSeries, born: number): Source => ({ t: series.t, from: startOf(series, born), to: series.to });

export function cpuChart(series: HealthSeries, born: number): ChartData {
  const percent = series.cpu.map((value) => (value === null ? null : value * 100));
  return build(healthSource(series, born), [{ label: 'CPU', color: '--chart-1', values: percent }]);
}

export function temperatureChart(series: HealthSeries, born: number): ChartData {
  const lines = series.temps.map((sensor, i) => ({
    label: sensor.name,
    color: LINES[i % LINES.length] ?? '--chart-1',
    values: sensor.c,
  }));
  const bands = stretches(series.t, series.throttled).map(([from, to]) => ({ from, to, label: 'throttled' }));
  const trips = new Map(series.temps.flatMap((sensor) => (sensor.trip_c === null ? [] : [[sensor.trip_c, sensor.name]])));
  const limits = [...trips].map(([value, name]) => ({ value: Number(value), label: `${name} trip` }));
  return { ...build(healthSource(series, born), lines, bands), limits };
}

type Window = InferenceSeries['windows'][number];

/** The slots that have windows, by name. */
export const slotsOf = (series: InferenceSeries) => [...new Set(series.windows.map((window) => window.slot))].sort();

/** Windows of one slot: those of two models never share a line. */
function windowsOf(series: InferenceSeries, slot: string, born: number): { windows: Window[]; source: Source } {
  const windows = series.windows.filter((window) => window.slot === slot);
  return { windows, source: { t: windows.map((window) => window.t), from: startOf(series, born), to: series.to } };
}

export function latencyChart(series: InferenceSeries, slot: string, born: number): ChartData {
  const { windows, source } = windowsOf(series, slot, born);
  const column = (key: 'p50_ms' | 'p95_ms' | 'p99_ms') => windows.map((window) => window[key]);
  return build(source, [
    { label: 'p50', color: '--chart-1', values: column('p50_ms') },
    { label: 'p95', color: '--chart-2', values: column('p95_ms') },
    { label: 'p99', color: '--chart-3', dash: [6, 3], values: column('p99_ms') },
  ]);
}

/** Inferences per second of one window. */
export const rateOf = (window: { count: number; window_ms: number }) =>
  window.window_ms > 0 ? (window.count * 1000) / window.window_ms : null;

export function rateChart(series: InferenceSeries, slot: string, born: number): ChartData {
  const { windows, source } = windowsOf(series, slot, born);
  const errors = windows.map((window) => rateOf({ count: window.errors, window_ms: window.window_ms }));
  return build(source, [
    { label: 'inferences', color: '--chart-4', values: windows.map(rateOf) },
    { label: 'errors', color: '--chart-3', values: errors },
  ]);
}
