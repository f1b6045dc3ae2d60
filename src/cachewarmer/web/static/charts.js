// Charts over time, by uPlot. A point is [seconds, files, bytes, window, canary in ms]; files and bytes are counts.

import uPlot from "./uplot/uPlot.esm.js";
import { at, made } from "./dom.js";
import { count, millis, rate } from "./text.js";

const few = (value) => (value < 10 ? String(Math.round(10 * value) / 10) : count(value));

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

// The time of day; with seconds where the chart spans less than a quarter of an hour.
function times(chart, splits) {
  const { min, max } = chart.scales.x;
  const form = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", ...(max - min < 900 ? { second: "2-digit" } : {}) });
  const fits = (seconds) => chart.valToPos(seconds, "x") + 16 <= chart.bbox.width / devicePixelRatio; // else it would be cut off
  return splits.map((seconds) => (fits(seconds) ? form.format(seconds * 1000) : ""));
}

const canary = (chart) => chart.data?.[2]?.some((found) => found);

function axis(values, extra = {}) {
  return { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui", size: 58, values: (_, all) => all.map(values), ...extra };
}

const CHARTS = [
  { place: "#chart-bytes", series: [["Rate", "--accent", rate]], columns: (points) => [rates(points, 2)] },
  { place: "#chart-files", series: [["Files/s", "--calm", few]], columns: (points) => [rates(points, 1)] },
  { place: "#chart-window", axis: few, series: [["Window", "--good", (value) => `${few(value)} ${value === 1 ? "call" : "calls"}`], ["Canary", "--wait", millis, "ms"]],
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

  // Another job: its points come with the stream.
  forget() {
    this.points = [];
    this.clear();
    for (const { place } of CHARTS) {
      at(place).replaceChildren();
      at(place).previousElementSibling.lastElementChild.replaceChildren();
    }
  }

  begin(points) { this.points = points; this.draw(); }

  add(points) { this.points.push(...points); this.draw(); }

  draw() {
    if (!this.points.length) { this.nothing(); return; }
    CHARTS.forEach((one, place) => {
      const content = [this.points.map((point) => point[0]), ...one.columns(this.points)];
      if (this.drawn[place]) { this.drawn[place].chart.setData(content); return; }
      const holder = at(one.place);
      holder.replaceChildren();
      const axes = [axis(count, { size: 28, space: 76, values: times }), axis(one.axis ?? one.series[0][2])];
      if (one.series[1]) axes.push(axis(millis, { values: (chart, all) => all.map((value) => (canary(chart) ? `${Number(value.toPrecision(2))} ms` : "")), size: (chart) => (canary(chart) ? 58 : 4), scale: "ms", side: 1, grid: { show: false } }));
      const series = one.series.map(([label, stroke, value, scale = "y"]) => ({
        label, scale, stroke: colour(stroke), width: 2, spanGaps: true, points: { show: false },
        fill: one.series.length === 1 ? `${colour(stroke)}1f` : undefined, value: (_, raw) => (raw === null ? "–" : value(raw)),
      }));
      const scales = { y: { range: (_, low, high) => [0, (high || 1) * 1.1] }, ms: { range: (_, low, high) => [0, (high || 1) * 1.1] } };
      const options = { ...Charts.size(holder), axes, scales, series: [{}, ...series], legend: { show: false }, cursor: { y: false }, hooks: { setCursor: [() => this.describe()] }, padding: [8, 8, 0, 0] };
      const chart = new uPlot(options, content, holder);
      chart.root.setAttribute("role", "img");
      this.drawn[place] = { chart, holder };
      this.resized.observe(holder);
    });
    this.describe();
  }

  // A job that was over before anybody looked has no points: axes of nothing would only puzzle.
  nothing() {
    this.forget();
    for (const { place } of CHARTS) at(place).append(made("p", { class: "empty" }, "Nothing was measured."));
  }

  // The numbers beside the title: at the cursor, else the latest. They also tell those who can't see a chart.
  describe() {
    this.drawn.forEach(({ chart, holder }, place) => {
      const at = chart.cursor.idx ?? chart.data[0].length - 1;
      const parts = CHARTS[place].series.map(([label, stroke, value], number) => {
        const found = chart.data[number + 1][at] ?? null;
        return [label, stroke, found === null ? "–" : value(found)];
      });
      const title = holder.previousElementSibling;
      const values = parts.filter(([, , value], number) => !number || value !== "–").map(([, stroke, value]) => made("span", { class: `value ${stroke.slice(2)}` }, value));
      title.lastElementChild.replaceChildren(...values);
      chart.root.setAttribute("aria-label", `${title.firstElementChild.textContent}: ${parts.map(([label, , value]) => `${label} ${value}`).join(", ")}`);
    });
  }
}
