import type uPlot from 'uplot';
import type { Band, ChartData, Limit, Line } from './types';

type Color = Line['color'] | '--chart-axis' | '--chart-limit' | '--chart-grid' | '--chart-gap' | '--chart-alarm';

/** The colour that a token has now, in the present theme. */
export const colorOf = (name: Color): string => getComputedStyle(document.documentElement).getPropertyValue(name);

/** Diagonal lines over a stretch of time. */
function hatch(plot: uPlot, from: number, to: number, color: string, ground?: string) {
  const { ctx, bbox } = plot;
  const left = Math.max(bbox.left, plot.valToPos(from, 'x', true));
  const right = Math.min(bbox.left + bbox.width, plot.valToPos(to, 'x', true));
  if (right - left < 1) return;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, bbox.top, right - left, bbox.height);
  ctx.clip();
  if (ground) {
    ctx.globalAlpha = 0.1;
    ctx.fillStyle = ground;
    ctx.fill();
    ctx.globalAlpha = 1;
  }
  const step = 7 * devicePixelRatio;
  ctx.strokeStyle = color;
  ctx.lineWidth = devicePixelRatio;
  ctx.globalAlpha = ground ? 0.45 : 0.7;
  ctx.beginPath();
  for (let x = left - bbox.height; x < right; x += step) {
    ctx.moveTo(x, bbox.top + bbox.height);
    ctx.lineTo(x + bbox.height, bbox.top);
  }
  ctx.stroke();
  ctx.restore();
}

/** Below the lines: where nothing was heard, and where something was wrong. */
export function drawGround(plot: uPlot, data: ChartData) {
  for (const [from, to] of data.gaps) hatch(plot, from, to, colorOf('--chart-gap'));
  for (const band of data.bands) drawBand(plot, band);
}

function drawBand(plot: uPlot, band: Band) {
  const alarm = colorOf('--chart-alarm');
  hatch(plot, band.from, band.to, alarm, alarm);
}

/** Above the lines: limits, each with its name. */
export function drawLimits(plot: uPlot, limits: Limit[]) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colorOf('--chart-limit');
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = 'right';
  // The highest limit is named above its line, the next one below its own, so that two that are close stay readable.
  const highestFirst = [...limits].sort((a, b) => b.value - a.value);
  highestFirst.forEach(({ value, label }, i) => {
    const y = Math.round(plot.valToPos(value, 'y', true)) + 0.5;
    if (y < bbox.top || y > bbox.top + bbox.height) return;
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    const isAbove = i % 2 === 0;
    ctx.textBaseline = isAbove ? 'bottom' : 'top';
    ctx.fillText(`${label} ${value}`, bbox.left + bbox.width - 4 * devicePixelRatio, y + (isAbove ? -2 : 3) * devicePixelRatio);
  });
  ctx.restore();
}
