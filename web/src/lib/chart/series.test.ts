import { expect, test } from 'vitest';
import type { InferenceSeries } from '$lib/api/types';
import { latencyChart, rateChart, slotsOf, temperatureChart } from './series';

const window = (t: number, slot: string, count: number) => ({
  t, slot, count, errors: 1, window_ms: 5_000, bundle: 'b', version: '1.0.0', p50_ms: count, p95_ms: count, p99_ms: count,
});
const series: InferenceSeries = {
  from: 0,
  to: 20_000,
  total: { count: 0, errors: 0, p50_ms: null, p95_ms: null, p99_ms: null },
  windows: [window(5_000, 'digits', 100), window(5_000, 'faces', 7), window(10_000, 'digits', 50)],
};

test('windows of two models never share a line', () => {
  expect(slotsOf(series)).toEqual(['digits', 'faces']);
  expect(latencyChart(series, 'digits', 0).lines[0]?.values).toEqual([100, 50]);
  expect(latencyChart(series, 'faces', 0).lines[0]?.values).toEqual([7]);
});

test('a rate is a count over the length of its window', () => {
  expect(rateChart(series, 'digits', 0).lines.map((line) => line.values)).toEqual([[20, 10], [0.2, 0.2]]);
});

test('temperatures have their trip points as limits, and throttling as bands', () => {
  const chart = temperatureChart({
    from: 0, to: 15_000, t: [0, 5_000, 10_000], cpu: [0, 0, 0], memory_used: [0, 0, 0], memory_total: [0, 0, 0], margin_c: [1, 1, 1],
    throttled: [false, true, true],
    temps: [{ name: 'cpu', c: [60, null, 84], trip_c: 85 }, { name: 'board', c: [40, 41, 42], trip_c: null }],
  }, 0);
  expect(chart.lines.map((line) => line.values)).toEqual([[60, null, 84], [40, 41, 42]]);
  expect(chart.limits).toEqual([{ value: 85, label: 'cpu trip' }]);
  expect(chart.bands).toEqual([{ from: 5_000, to: 10_000, label: 'throttled' }]);
});

test('a chart begins with its device, and has at least two minutes', () => {
  const quarter = { ...series, from: 0, to: 900_000 };
  expect(latencyChart(quarter, 'digits', 600_000).from).toBe(600_000);
  expect(latencyChart(quarter, 'digits', 890_000).from).toBe(780_000);
  expect(latencyChart(quarter, 'digits', -5).from).toBe(0);
});
