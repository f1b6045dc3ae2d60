// Charts over time, by uPlot. A point is [seconds, files, bytes, window, canary in ms]; files and bytes are counts.

import uPlot from "./uplot/uPlot.esm.js";
import { at } from "./dom.js";
import { count, millis, rate } from "./text.js";

const SPAN = 10; // seconds that a rate is taken over: a worker tells of itself every five

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function rates(points, column) {
  const found = [];
  let from = 0;
  points.forEach((point, place) => {
    while (from < place - 1 && point[0] - points[from + 1][0] >= SPAN) from += 1;
    const seconds = point[0] - points[from][0];
    found.push(seconds > 0 ? Math.max(0, point[column] - points[from][column]) / seconds : null);
  });
  return found;
}

function axis(values, extra = {}) {
  return { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui", size: 58, values: (_, all) => all.map(values), ...extra };
}

const CHARTS = [
  { place: "#chart-bytes", series: [["Rate", "--accent", rate]], columns: (points) => [rates(points, 2)] },
  { place: "#chart-files", series: [["Files/s", "--calm", count]], columns: (points) => [rates(points, 1)] },
  { place: "#chart-window", series: [["Window", "--good", count], ["Canary", "--wait", millis, "ms"]],
    columns: (points) => [points.map((point) => point[3] || null), points.map((point) => point[4] || null)] },
];

export class Charts {
  constructor() {
    this.points = [];
    this.drawn = [];
    this.resized = new ResizeObserver(() => this.drawn.forEach(({ chart, holder }) => chart.setSize(Charts.size(holder))));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.clear(); this.draw(); });
  }

  static size(holder) { return { width: Math.max(200, holder.clientWidth), height: 160 }; }

  clear() {
    this.resized.disconnect();
    this.drawn.forEach(({ chart }) => chart.destroy());
    this.drawn = [];
  }

  begin(points) { this.points = points; this.draw(); }

  add(points) { this.points.push(...points); this.draw(); }

  draw() {
    CHARTS.forEach((one, place) => {
      const content = [this.points.map((point) => point[0]), ...one.columns(this.points)];
      if (this.drawn[place]) { this.drawn[place].chart.setData(content); return; }
      const holder = at(one.place);
      const axes = [axis((time) => time, { size: 28, values: undefined }), axis(one.series[0][2])];
      if (one.series[1]) axes.push(axis(one.series[1][2], { scale: "ms", side: 1, grid: { show: false } }));
      const series = one.series.map(([label, stroke, value, scale = "y"]) => ({
        label, scale, stroke: colour(stroke), width: 2, spanGaps: true, points: { show: false },
        fill: one.series.length === 1 ? `${colour(stroke)}1f` : undefined, value: (_, raw) => (raw === null ? "–" : value(raw)),
      }));
      const scales = { y: { range: (_, low, high) => [0, (high || 1) * 1.1] }, ms: { range: (_, low, high) => [0, (high || 1) * 1.1] } };
      const options = { ...Charts.size(holder), axes, scales, series: [{}, ...series], legend: { live: true }, cursor: { y: false }, padding: [8, 8, 0, 0] };
      const chart = new uPlot(options, content, holder);
      chart.root.setAttribute("role", "img");
      this.drawn[place] = { chart, holder };
      this.resized.observe(holder);
    });
    this.describe();
  }

  describe() { // what a chart shows, for those who can't see it
    this.drawn.forEach(({ chart }, place) => {
      const parts = CHARTS[place].series.map(([label, , value], number) => {
        const last = chart.data[number + 1].at(-1);
        return `${label} now ${last === null || last === undefined ? "not known" : value(last)}`;
      });
      chart.root.setAttribute("aria-label", parts.join(", "));
    });
  }
}
