// The page: what is asked for (#/ or #/jobs/ID), the stream that tells of it, and what its buttons do.

import { Charts } from "./charts.js";
import { at, bar, made, numbers, put, rows } from "./dom.js";
import { call, listen, Refused, signIn } from "./server.js";
import { binary, count, duration, left, millis, over, rate, share, shown, size, stateName } from "./text.js";

const RETRY_MILLISECONDS = 2000;
const BOUNDS = { work: "too little work", scan: "the scan", disk: "the disk", outage: "no address answers", pace: "the limit", cpu: "its processor", window: "the window", link: "the link", threads: "the cache's threads", too_short: "too short to tell" };
let route = "";
let reading = null; // the stream that is open
let heard = 0;
let told = null; // the last state
const charts = new Charts();

// -- all jobs -----------------------------------------------------------------------------------------------------------

function jobRow() {
  const link = made("a", {}, made("bdi"));
  return made("tr", {}, made("th", { scope: "row" }, link, made("small", {}, made("bdi"))),
    made("td", {}, made("span", { class: "state" })), made("td", {}, made("div", { class: "bar", role: "img" }, made("span"))),
    ...[0, 1, 2, 3].map(() => made("td", { class: "number" })));
}

function fillJob(row, job) {
  const [head, state, progress, files, bytes, speed, time] = row.children;
  head.firstElementChild.href = `#/jobs/${job.job}`;
  put(at("a bdi", head), shown(job.name || job.target || job.job));
  put(at("small bdi", head), shown(job.name ? job.target : job.job));
  showState(state.firstElementChild, job, over(job) || job.priority === "normal" ? "" : `, ${job.priority}`);
  bar(progress.firstElementChild, share(job), job.state);
  progress.firstElementChild.setAttribute("aria-label", `${Math.floor(100 * share(job))} %`);
  put(files, `${count(job.files)} files`);
  put(bytes, size(job.bytes));
  put(speed, rate(job.bytes_per_second));
  put(time, over(job) ? `took ${duration(job.seconds)}` : Number.isFinite(left(job)) ? `${duration(left(job))} left` : "–");
}

function showState(element, job, more = "") {
  put(element, stateName(job.state) + more);
  element.className = `state ${job.state}`;
}

function showOverview(state) {
  const active = state.jobs.filter((job) => !over(job));
  numbers(at("#totals"), [
    ["active jobs", count(active.length)],
    ["workers", count(state.workers.at_work)],
    ["lost workers", count(state.workers.lost), state.workers.lost],
    ["rate of active jobs", rate(active.reduce((sum, job) => sum + (job.state === "paused" ? 0 : job.bytes_per_second), 0))],
    ["files that failed", count(state.jobs.reduce((sum, job) => sum + job.failed_files, 0)), state.jobs.some((job) => job.failed_files)],
  ]);
  rows(at("#jobs tbody"), state.jobs, (job) => job.job, jobRow, fillJob);
  at("#jobs").hidden = !state.jobs.length;
  at("#overview .empty").hidden = state.jobs.length > 0;
  showFleet(state.fleet);
}

function showFleet(fleet) {
  const hint = at("#fleet .hint");
  at("#fleet dl").hidden = !fleet;
  if (!fleet) { put(hint, "This process starts no machines: workers are started by somebody else."); return; }
  const money = fleet.cost !== null ? [["cost so far", `${fleet.cost > 0 && fleet.cost < 0.01 ? "< 0.01" : fleet.cost.toFixed(2)} ${shown(fleet.currency)}`]]
    : fleet.most_dollars !== null ? [["cost so far, at most", `$${fleet.most_dollars.toFixed(2)}`]] : [];
  numbers(at("#fleet dl"), [["wanted", count(fleet.wanted)], ["running", count(fleet.running)], ["queued", count(fleet.queued)],
    ["evicted", count(fleet.evicted), fleet.evicted], ["machine time so far", duration(fleet.machine_seconds)], ...money]);
  const prices = fleet.prices ? ` Prices: ${shown(fleet.prices)}.` : "";
  put(hint, (fleet.seen ? `Fleet ${shown(fleet.name)}.` : `Fleet ${shown(fleet.name)} can't be seen at present.`) + prices);
}

// -- one job ------------------------------------------------------------------------------------------------------------

/** The rates of a job that has some by the hour. */
function hours(job) {
  const parts = job.max_bandwidth_hours.split(",").map((part) => part.split("="));
  return parts.map(([when, bytes]) => `${when || "else"} ${Number(bytes) ? rate(Number(bytes)) : "no limit"}`).join(", ");
}

function showJob(job) {
  at("#job").hidden = false;
  const title = shown(job.name || job.target || job.job);
  document.title = `${title} – cachewarmer`;
  put(at("#job-name"), title);
  put(at("#job-target"), `${shown(job.target)} · ${job.job}`);
  showState(at("#job-state"), job);
  at("#job-reason").hidden = !job.reason;
  put(at("#job-reason"), shown(job.reason));
  const part = share(job);
  bar(at("#job-bar"), part, job.state);
  at("#job-bar").setAttribute("aria-valuenow", Math.floor(100 * part));
  const scanned = job.scan_finished ? "" : " so far";
  numbers(at("#job-numbers"), [
    ["files read", count(job.files)], [`files found${scanned}`, count(job.scanned_files)],
    ["bytes read", size(job.bytes)], [`bytes found${scanned}`, size(job.scanned_bytes)],
    ["average rate", rate(job.bytes_per_second)], ["failed files", count(job.failed_files), job.failed_files],
    over(job) ? ["took", duration(job.seconds)] : ["time left", duration(left(job))],
    ...(job.priority === "normal" ? [] : [["priority", job.priority]]),
    ["bound by", BOUNDS[job.bound_by] ?? "–"],
    ["limit", job.max_bandwidth_hours ? "hourly" : job.max_bandwidth ? rate(job.max_bandwidth) : "none"],
  ]);
  at("#job-hours").hidden = !job.max_bandwidth_hours;
  put(at("#job-hours"), job.max_bandwidth_hours ? `Limit: ${hours(job)}.` : "");
  const going = ["scanning", "warming"].includes(job.state);
  const can = { pause: going, resume: ["paused", "failed"].includes(job.state), cancel: !over(job), limit: !over(job), verify: job.state !== "queued" && job.verified?.state !== "running" };
  for (const button of document.querySelectorAll("[data-act]")) button.disabled = !can[button.dataset.act];
  const items = job.live.items;
  numbers(at("#items"), [["waiting", count(items.waiting)], ["leased", count(items.leased)], ["done", count(items.done)], ["poison", count(items.poison), items.poison]]);
  showWorkers(job.live.workers, over(job));
  showAddresses(job.live.addresses);
  histogram(at("#sizes"), [["", job.histogram.map((one) => [one.from ? `${binary(one.from)} to ${binary(one.below)}` : "empty", one.files])]], "Nothing was found yet.");
  histogram(at("#latency"), job.live.addresses.map((one) => [one.address, octaves(one.latencies)]), "No worker has reported READs recently.");
  showVerified(job.verified);
  rows(at("#failures tbody"), job.errors.map((one, place) => ({ ...one, place })), (one) => `${one.place} ${one.path}`,
    () => made("tr", {}, made("td", { class: "path" }, made("bdi")), made("td", { class: "wrap" })),
    (row, one) => { put(row.firstElementChild.firstElementChild, shown(one.path)); put(row.lastElementChild, shown(one.error)); });
  at("#failures table").hidden = !job.errors.length;
  at("#failures .empty").hidden = job.errors.length > 0;
  at("#warnings").hidden = !job.warnings.length;
  rows(at("#warnings ul"), job.warnings, (one) => one, () => made("li"), (row, one) => put(row, shown(one)));
}

// A cell for each column, which knows what it is: on a narrow screen there is no head above it.
function cells(table, kinds) {
  const heads = [...document.querySelectorAll(`${table} thead th`)].slice(1);
  return kinds.map((kind, place) => made("td", { class: kind, "data-label": heads[place].textContent }));
}

function showWorkers(workers, ended) {
  rows(at("#workers tbody"), workers, (one) => `${one.worker} ${one.host}`,
    () => made("tr", {}, made("th", { scope: "row" }, made("bdi"), made("small")), ...cells("#workers", ["", "", "number", "number", "number", "wrap"])),
    (row, one) => {
      const [head, seen, bound, items, files, bytes, addresses] = row.children;
      put(head.firstElementChild, shown(one.worker));
      put(head.lastElementChild, shown(one.host));
      put(seen, one.ended ? "ended" : one.at_work ? `${Math.round(one.seen_seconds)} s ago` : `lost, ${Math.round(one.seen_seconds)} s ago`);
      row.className = one.at_work ? "" : "away";
      const reading = one.at_work && !ended; // what it said last may be older than the end of the job
      put(bound, (reading && BOUNDS[one.bound]) || "–");
      put(items, reading ? count(one.items) : "–");
      put(files, reading ? count(one.files_per_second) : "–");
      put(bytes, reading ? rate(one.bytes_per_second) : "–");
      put(addresses, one.addresses.map(shown).join(", "));
    });
  at("#workers").hidden = !workers.length;
  at("#workers-title ~ .panel .empty").hidden = workers.length > 0;
}

function showAddresses(addresses) {
  at("#addresses-part").hidden = !addresses.length;
  rows(at("#addresses tbody"), addresses, (one) => one.address,
    () => made("tr", {}, made("th", { scope: "row" }, made("bdi"), made("small")), ...cells("#addresses", Array(8).fill("number"))),
    (row, one) => {
      const [head, flight, window, knee, canary, p50, p95, p99, retries] = row.children;
      put(head.firstElementChild, shown(one.address));
      put(head.lastElementChild, one.silent_seconds ? shown(`silent for ${duration(one.silent_seconds)}: ${one.problem}`) : "");
      put(flight, count(one.in_flight));
      put(window, count(one.window));
      put(knee, one.knee ? count(one.knee) : "–");
      put(canary, one.canary_ms ? `${millis(one.canary_ms)} (idle ${millis(one.canary_idle_ms)})` : "–");
      put(p50, millis(one.latency_ms.p50));
      put(p95, millis(one.latency_ms.p95));
      put(p99, millis(one.latency_ms.p99));
      put(retries, count(one.retries));
    });
}

// Four buckets to a doubling are more than a reader wants.
function octaves(latencies) {
  const found = new Map();
  for (const { below_ms, calls } of latencies) {
    const exponent = Math.max(-2, Math.ceil(Math.log2(below_ms) - 1e-9));
    found.set(exponent, (found.get(exponent) ?? 0) + calls);
  }
  return [...found].map(([exponent, calls]) => [`below ${time(2 ** exponent)}`, calls]);
}

const time = (ms) => (ms < 1 ? `${ms} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

function histogram(place, groups, nothing) {
  const filled = groups.filter(([, pairs]) => pairs.length);
  const content = JSON.stringify(filled);
  if (place.content === content) return;
  place.content = content;
  place.replaceChildren(...filled.flatMap(([name, pairs]) => {
    const most = Math.max(...pairs.map(([, value]) => value));
    const list = made("dl", {}, ...pairs.flatMap(([label, value]) => {
      const strip = made("div", { class: "bar", "aria-hidden": "true" }, made("span"));
      strip.firstElementChild.style.width = `${(100 * value) / most}%`;
      return [made("dt", {}, label), made("dd", {}, strip), made("dd", { class: "number" }, count(value))];
    }));
    return name ? [made("h3", {}, shown(name)), list] : [list];
  }));
  if (!filled.length) place.append(made("p", { class: "empty" }, nothing));
}

function showVerified(verified) {
  at("#verified").hidden = !verified;
  if (!verified) return;
  const { state, said, result } = verified;
  const known = result?.warm_fraction ?? null;
  put(at("#verified p"), state === "running" ? `Reading a sample twice… ${shown(said)}` : state === "failed" ? `It could not be verified: ${shown(said)}` : known === null ? `It can't be told${result?.reason ? `: ${shown(result.reason)}` : "."}` : "");
  if (state !== "running" && at("#act-said").textContent === DONE.verify) put(at("#act-said"), "");
  at("#verified dl").hidden = known === null;
  if (known !== null) {
    const percent = (value) => `${(100 * value).toFixed(1)} %`;
    numbers(at("#verified dl"), [["warm", percent(known)], ["95 % interval", result.interval ? result.interval.map(percent).join(" to ") : "–"], ["samples", count(result.samples)],
      ["first read, p50", millis(result.latency_ms.first.p50)], ["second read, p50", millis(result.latency_ms.second.p50)]]);
  }
}

// -- the stream -----------------------------------------------------------------------------------------------------------

// What is wrong is announced once; how long it has been so changes every second, and is only shown.
function alertOf(text, age = "") {
  at("#alert").hidden = !text;
  put(at("#alert").firstElementChild, shown(text));
  put(at("#alert").lastElementChild, age);
}

function connection(text, good) {
  put(at("#connection"), text);
  at("#connection").classList.toggle("off", !good);
}

function take(kind, content) {
  heard = Date.now();
  if (kind === "state") {
    told = content;
    const { broker } = content;
    const age = broker.age_seconds === null ? "Nothing is known yet." : `For ${duration(broker.away_seconds)}; what you see is ${duration(broker.age_seconds)} old.`;
    if (!broker.away) alertOf(...managerAlert(content));
    else if (broker.away_seconds || broker.age_seconds !== null) alertOf(`The broker does not answer: ${broker.problem}.`, age);
    connection(broker.away ? "broker away" : "live", !broker.away);
    if (!route) showOverview(content);
  } else if (kind === "job") showJob(content);
  else if (kind === "history") charts.begin(content);
  else if (kind === "points") charts.add(content);
}

function managerAlert(state) {
  const waits = state.jobs.some((job) => job.state === "queued" || job.state === "scanning");
  const seen = state.manager_seen_seconds;
  return waits && seen !== null && seen > 30 ? ["No manager is at work: jobs wait.", `It was last seen ${duration(seen)} ago.`] : [""];
}

async function follow(signal) {
  while (!signal.aborted) {
    try {
      await signIn();
      at("#login").hidden = true;
      at("#overview").hidden = Boolean(route);
      await listen(route, take, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status === 401) { askForToken(); return; }
      const since = heard ? `What you see is ${duration((Date.now() - heard) / 1000)} old.` : "";
      alertOf(error instanceof Refused ? `${error.message}.` : "The server does not answer.", since);
      connection("not connected", false);
    }
    await new Promise((resume) => setTimeout(resume, RETRY_MILLISECONDS));
  }
}

function askForToken() {
  at("#overview").hidden = at("#job").hidden = true;
  at("#login").hidden = false;
  connection("signed out", false);
  at("#login input").focus();
}

function go() {
  const wanted = location.hash.match(/^#\/jobs\/([0-9A-Za-z]{1,64})$/)?.[1] ?? "";
  reading?.abort();
  reading = new AbortController();
  route = wanted;
  charts.forget();
  put(at("#act-said"), "");
  at("#job").hidden = true;
  at("#overview").hidden = Boolean(route);
  if (!route) document.title = "cachewarmer";
  if (!route && told) showOverview(told);
  follow(reading.signal);
}

// -- acting -------------------------------------------------------------------------------------------------------------

const DONE = { pause: "Paused.", resume: "Resumed.", cancel: "Cancelled.", verify: "Verifying.", limit: "Limited." };

async function act(name) {
  const said = at("#act-said");
  try {
    await call(`/jobs/${route}/${name}`, { method: "POST" });
    put(said, DONE[name]);
  } catch (error) {
    put(said, shown(error.message));
  }
}

const ASKED = {
  cancel: () => at("#sure").showModal(),
  limit: () => { put(at("#limit .fault"), ""); at("#limit").showModal(); },
};

for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => (ASKED[button.dataset.act] ?? act)(button.dataset.act));
}
at("#sure").addEventListener("close", (event) => { if (event.target.returnValue === "yes") act("cancel"); event.target.returnValue = ""; });
at("#new").addEventListener("click", () => { put(at("#submit .fault"), ""); at("#submit").showModal(); });
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());

at("#limit form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  try {
    await call(`/jobs/${route}/limit`, { method: "POST", body: { bandwidth: form.elements.bandwidth.value } });
    at("#limit").close();
    form.reset();
    put(at("#act-said"), DONE.limit);
  } catch (error) {
    put(at("#limit .fault"), shown(error.message));
  }
});

at("#submit form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const words = (name) => form.elements[name].value.split(/\s+/).filter(Boolean);
  const body = { targets: [form.elements.target.value.trim()], name: form.elements.name.value, include: words("include"), exclude: words("exclude"), priority: form.elements.priority.value };
  if (form.elements.bandwidth.value.trim()) body.bandwidth = form.elements.bandwidth.value;
  try {
    const { job } = await call("/jobs", { method: "POST", body });
    at("#submit").close();
    form.reset();
    location.hash = `#/jobs/${job}`;
  } catch (error) {
    put(at("#submit .fault"), shown(error.message));
  }
});

at("#login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await signIn(event.target.elements.token.value.trim());
    put(at("#login .fault"), "");
    go();
  } catch (error) {
    put(at("#login .fault"), error.status === 401 ? "That is not the token." : shown(error.message));
  }
});

addEventListener("hashchange", () => { go(); at("#main").focus({ preventScroll: true }); });
go();
