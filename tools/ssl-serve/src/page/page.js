// Shows what the server counts: reads /metrics once a second, as Prometheus would, and takes differences.

const SECONDS = 10; // that rates and latencies are of
const HISTORY = 120; // seconds of the small charts
const DRAW = "http://www.w3.org/2000/svg";

let token = sessionStorage.getItem("token");
const readings = []; // {time, values: name -> labels -> number}, the newest last
const shownLayers = new Map(); // of which model and version layers are drawn
const rates = new Map(); // model and version -> requests a second, the newest last

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) {
    document.getElementById("ask").hidden = false;
    throw new Error("This server asks for a token.");
  }
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answer.statusText}`);
  document.getElementById("ask").hidden = true;
  return answer;
}

document.getElementById("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = document.getElementById("token").value;
  sessionStorage.setItem("token", token);
  refresh();
});

// Lines such as sslm_images_total{model="lenet",version="1"} 42
function parse(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const found = /^([a-z_]+)(?:\{(.*)\})? ([^ ]+)/.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    samples.push({ name: found[1], labels, value: Number(found[3]) });
  }
  return samples;
}

const isOf = (sample, model) => sample.labels.model === model.name && sample.labels.version === model.version;

// What a counter of a model has grown by between two readings, over all labels that pass.
function grown(older, newer, name, model, passes = () => true) {
  const sum = (reading) =>
    reading.samples
      .filter((sample) => sample.name === name && isOf(sample, model) && passes(sample.labels))
      .reduce((all, sample) => all + sample.value, 0);
  return Math.max(0, sum(newer) - sum(older));
}

// A percentile of what came between two readings of a histogram, in seconds; undefined if nothing came.
function percentile(older, newer, name, model, part) {
  const buckets = (reading) =>
    new Map(
      reading.samples
        .filter((sample) => sample.name === `${name}_bucket` && isOf(sample, model))
        .map((sample) => [sample.labels.le, sample.value]),
    );
  const [before, after] = [buckets(older), buckets(newer)];
  const counts = [...after]
    .map(([edge, count]) => [edge === "+Inf" ? Infinity : Number(edge), count - (before.get(edge) ?? 0)])
    .sort(([a], [b]) => a - b);
  const all = counts.at(-1)?.[1] ?? 0;
  if (!all) return undefined;
  let [lower, below] = [0, 0];
  for (const [edge, count] of counts) {
    if (count >= part * all) {
      if (edge === Infinity) return lower;
      return lower + ((edge - lower) * (part * all - below)) / Math.max(1, count - below);
    }
    [lower, below] = [edge, count];
  }
  return lower;
}

function time(seconds) {
  if (seconds === undefined) return "–";
  const [value, unit] = seconds < 1e-3 ? [seconds * 1e6, "µs"] : seconds < 1 ? [seconds * 1e3, "ms"] : [seconds, "s"];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

const figure = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(3)).toString());

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function drawn(name, attributes, ...children) {
  const made = document.createElementNS(DRAW, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function chart(values) {
  const most = Math.max(1e-9, ...values);
  const points = values.map((value, i) => `${HISTORY - values.length + i},${1 - value / most}`);
  const line = drawn("polyline", { points: points.join(" ") });
  const title = drawn("title", {}, `at most ${figure(most)} requests/s`);
  return drawn("svg", { class: "rate", viewBox: `0 -0.05 ${HISTORY} 1.1`, preserveAspectRatio: "none", role: "img" }, title, line);
}

function row(model) {
  const newer = readings.at(-1);
  const older = readings.find((reading) => newer.time - reading.time <= SECONDS * 1000 + 500) ?? newer;
  const last = readings.at(-2) ?? newer;
  const seconds = Math.max(1e-3, (newer.time - older.time) / 1000);
  const key = `${model.name} ${model.version}`;
  const history = rates.get(key) ?? [];
  history.push(grown(last, newer, "sslm_requests_total", model) / Math.max(1e-3, (newer.time - last.time) / 1000));
  rates.set(key, history.slice(-HISTORY));
  const cell = (text) => element("td", { className: "number", textContent: text });
  const state = model.state === "READY" ? "ready" : `not ready: ${model.reason}`;
  return element(
    "tr",
    {},
    element("td", { textContent: model.name }),
    element("td", { textContent: model.version }),
    element("td", { textContent: state, className: model.state === "READY" ? "" : "failed" }),
    cell(figure(grown(older, newer, "sslm_requests_total", model) / seconds)),
    cell(figure(grown(older, newer, "sslm_images_total", model) / seconds)),
    cell(figure(grown(older, newer, "sslm_requests_total", model, (labels) => labels.code !== "200") / seconds)),
    cell(time(percentile(older, newer, "sslm_request_seconds", model, 0.5))),
    cell(time(percentile(older, newer, "sslm_request_seconds", model, 0.99))),
    cell(time(percentile(older, newer, "sslm_queue_seconds", model, 0.5))),
    element("td", {}, chart(rates.get(key))),
  );
}

// The matrix of a layer: filters downwards, columns to the right.
function layer({ name, filters, columns, weights }) {
  const part = (count) => (count ? count.kept / Math.max(1, count.of) : 1);
  const [width, height] = [100 * part(columns), 100 * part(filters)];
  const kept = (what, count) => (count ? `${count.kept} of ${count.of} ${what}` : "");
  const text = [kept("filters", filters), kept("columns", columns)].filter(Boolean).join(", ");
  return element(
    "figure",
    {},
    drawn(
      "svg",
      { viewBox: "-1 -1 102 102", preserveAspectRatio: "none", role: "img" },
      drawn("title", {}, `${name}: ${text}, ${weights ?? 0} weights`),
      drawn("rect", { class: "compact", width, height }),
      drawn("rect", { class: "dense", width: 100, height: 100 }),
    ),
    element("figcaption", {}, element("b", { textContent: name }), element("br"), text),
  );
}

async function drawLayers(models) {
  const place = document.getElementById("layers");
  for (const [key, shown] of shownLayers) {
    if (!models.some((model) => `${model.name} ${model.version}` === key)) {
      shown.remove();
      shownLayers.delete(key);
    }
  }
  for (const model of models.filter((model) => model.state === "READY")) {
    const key = `${model.name} ${model.version}`;
    if (shownLayers.has(key)) continue;
    const path = `v2/models/${encodeURIComponent(model.name)}/versions/${encodeURIComponent(model.version)}/layers`;
    const { layers } = await (await ask(path)).json();
    const title = element("summary", { textContent: `${model.name}, version ${model.version}: ${layers.length} layers` });
    const shown = element("details", { open: shownLayers.size === 0 }, title, element("div", { className: "grid" }, ...layers.map(layer)));
    shownLayers.set(key, shown);
    place.append(shown);
  }
}

async function refresh() {
  const status = document.getElementById("server");
  try {
    const metrics = await ask("metrics");
    readings.push({ time: performance.now(), samples: parse(await metrics.text()) });
    readings.splice(0, readings.length - SECONDS - 2);
    const models = await (await ask("v2/repository/index", { method: "POST" })).json();
    document.getElementById("models").replaceChildren(...models.map(row));
    await drawLayers(models);
    const of = (name) => readings.at(-1).samples.find((sample) => sample.name === name)?.value ?? 0;
    status.className = "";
    status.textContent = `${of("sslm_connections")} connections, ${of("sslm_queue_requests")} requests waiting, ${of("sslm_refused_total")} refused.`;
  } catch (error) {
    status.className = "failed";
    status.textContent = error.message;
  }
}

await refresh();
setInterval(refresh, 1000);
