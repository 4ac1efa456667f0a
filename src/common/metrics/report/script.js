"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

// ---- Small helpers. Text from the run only ever enters the page through textContent.
function el(parent, tag, attributes = {}, text = null) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}
function shape(parent, tag, attributes = {}, text = null) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  parent.appendChild(node);
  return node;
}
function show(value, percent = false) {
  if (value === null || value === undefined) return "–";
  if (percent) return (100 * value).toFixed(1) + " %";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1).replace("e+", "e").replace("-", "−").replace("e-", "e−");
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4;
  const text = Number(value.toFixed(digits)).toLocaleString("en-US", {maximumFractionDigits: digits});
  return text.replace("-", "−");
}
const color = index => `var(--s${index % 8})`;

// ---- Axes.
function ticks(low, high, count) {
  const span = high - low || 1;
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map(m => m * power).find(s => s >= raw * 0.999) || 10 * power;
  const result = [];
  for (let i = Math.ceil(low / step - 1e-9) + 0; i * step <= high + span * 1e-9; ++i) result.push(i === 0 ? 0 : i * step);
  return result;
}
function tickText(value, all, percent) {
  if (percent) return Math.round(100 * value) + " %";
  const size = Math.max(...all.map(Math.abs));
  if (value === 0) return "0";
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("e+", "e").replace("-", "−").replace("e-", "e−").replace(".0e", "e");
  const step = all.length > 1 ? Math.abs(all[1] - all[0]) : size;
  const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9) + (String(step / 10 ** Math.floor(Math.log10(step) + 1e-9)).startsWith("2.5") ? 1 : 0)));
  return value.toLocaleString("en-US", {minimumFractionDigits: digits, maximumFractionDigits: digits}).replace("-", "−");
}
function extent(lists, floor, ceiling) {
  let low = Infinity, high = -Infinity;
  for (const list of lists) for (const v of list) if (v !== null) { if (v < low) low = v; if (v > high) high = v; }
  if (low > high) return null;
  if (floor !== undefined) low = Math.min(low, floor);
  if (ceiling !== undefined) high = Math.max(high, ceiling);
  if (low === high) { const pad = Math.abs(low) * 0.1 || 1; low -= low >= 0 && low - pad < 0 ? low : pad; high += pad; }
  const pad = (high - low) * 0.06;
  return [floor === low || low === 0 ? low : low - pad, ceiling === high ? high : high + pad];
}
// Exponential mean over about a twentieth of the curve; gaps stay gaps.
function smooth(values) {
  const keep = Math.exp(-1 / Math.max(1, values.length / 25));
  let mean = 0, weight = 0;
  return values.map(v => {
    if (v === null) return null;
    mean = keep * mean + (1 - keep) * v;
    weight = keep * weight + (1 - keep);
    return mean / weight;
  });
}

// Whether smoothing helps: the typical bend of the curve is above a hundredth of its range.
function noisy(values) {
  const bends = [];
  for (let i = 1; i + 1 < values.length; ++i) {
    if (values[i - 1] !== null && values[i] !== null && values[i + 1] !== null) bends.push(Math.abs(values[i - 1] - 2 * values[i] + values[i + 1]));
  }
  const range = extent([values]);
  return bends.length > 0 && bends.sort((a, b) => a - b)[bends.length >> 1] > 0.01 * (range[1] - range[0]);
}

// ---- Charts. All of them share one cross-hair step.
const charts = [];
let crossStep = null;
function setCross(step) {
  if (step === crossStep) return;
  crossStep = step;
  for (const chart of charts) chart.cross();
}
function nearest(xs, x) {
  let low = 0, high = xs.length - 1;
  while (high - low > 1) { const mid = (low + high) >> 1; if (xs[mid] < x) low = mid; else high = mid; }
  return high >= 0 && Math.abs(xs[high] - x) < Math.abs(xs[low] - x) ? high : low;
}

class Chart {
  // spec: {title, unit, size, percent, floor, ceiling, kind: "line" | "points" | "bars", xs, series: [{label, values}],
  //        total: {label, values} drawn as a line over bars}
  constructor(parent, spec) {
    this.spec = spec;
    this.card = el(parent, "figure", {class: "card chart " + (spec.size || ""), style: "margin:0"});
    const title = el(this.card, "h3", {}, spec.title + " ");
    if (spec.unit) el(title, "span", {class: "unit"}, spec.unit);
    this.at = el(this.card, "span", {class: "at"});
    this.legend = el(this.card, "div", {class: "legend"});
    this.values = [...spec.series, ...(spec.total ? [spec.total] : [])].map((series, i) => {
      const item = el(this.legend, "span");
      el(item, "i", {style: `background:${series.color || color(i)}`});
      item.appendChild(document.createTextNode(series.label ? series.label + " " : ""));
      return {series, text: el(item, "b")};
    });
    this.plot = el(this.card, "div", {class: "plot"});
    this.draw();
    this.cross();
    charts.push(this);
    if (window.ResizeObserver) new ResizeObserver(() => this.draw()).observe(this.plot);
    this.plot.addEventListener("pointermove", event => this.point(event));
    this.plot.addEventListener("pointerdown", event => this.point(event));
    this.plot.addEventListener("pointerleave", () => setCross(null));
    this.plot.addEventListener("click", () => { if (crossStep !== null && window.retortPick) window.retortPick(crossStep); });
  }
  point(event) {
    const box = this.plot.getBoundingClientRect();
    const x = event.clientX - box.left;
    const {left, width, low, high} = this.frame;
    setCross(this.spec.xs[nearest(this.spec.xs, low + (x - left) / width * (high - low))]);
  }
  draw() {
    const w = this.plot.clientWidth || 340, h = this.plot.clientHeight || 168;
    if (this.drawn === w + "x" + h) return;
    this.drawn = w + "x" + h;
    this.plot.replaceChildren();
    const {spec} = this, {xs} = spec, bars = spec.kind === "bars";
    const sums = bars ? xs.map((_, i) => spec.series.reduce((sum, s) => sum + (s.values[i] || 0), 0)) : null;
    const lists = bars ? [sums, ...(spec.total ? [spec.total.values] : [])] : spec.series.map(s => s.values);
    const range = extent(lists, bars ? 0 : spec.floor, spec.ceiling);
    if (!range || !xs.length) { el(this.plot, "div", {class: "empty"}, "no values"); return; }
    const svg = shape(this.plot, "svg", {viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": spec.title});
    const yTicks = ticks(range[0], range[1], h > 200 ? 5 : 4);
    const labels = yTicks.map(v => tickText(v, yTicks, spec.percent));
    const left = 10 + 6.4 * Math.max(...labels.map(t => t.length)), right = w - 8, top = spec.fill ? 24 : 8, bottom = h - 22;
    const half = bars ? (xs.length > 1 ? (xs[1] - xs[0]) / 2 : 0.5) : 0;
    const low = xs[0] - half, high = xs[xs.length - 1] + half + (xs.length === 1 && !bars ? 1 : 0);
    this.frame = {left, width: right - left, low, high, top, bottom};
    this.x = v => left + (v - low) / (high - low || 1) * (right - left);
    this.y = v => bottom - (v - range[0]) / (range[1] - range[0]) * (bottom - top);
    yTicks.forEach((v, i) => {
      shape(svg, "line", {x1: left, x2: right, y1: this.y(v), y2: this.y(v), class: v === 0 ? "zero" : "gridline"});
      shape(svg, "text", {x: left - 6, y: this.y(v) + 4, "text-anchor": "end"}, labels[i]);
    });
    for (const v of ticks(low, high, Math.max(3, Math.floor(w / 75))).filter(v => Number.isInteger(v) && v >= 0)) {
      const anchor = this.x(v) > right - 12 ? "end" : this.x(v) < left + 8 ? "start" : "middle";
      shape(svg, "text", {x: this.x(v), y: h - 5, "text-anchor": anchor}, v.toLocaleString("en-US"));
    }
    if (bars) this.drawBars(svg, half); else spec.series.forEach((s, i) => this.drawLine(svg, s, i));
    if (spec.total) this.path(svg, spec.total.values, {stroke: spec.total.color, "stroke-width": 1.5});
    this.hair = shape(svg, "g", {"pointer-events": "none"});
    this.cross();
  }
  path(svg, values, style) {
    let d = "", pen = false;
    values.forEach((v, i) => {
      if (v === null) { pen = false; return; }
      d += (pen ? "L" : "M") + this.x(this.spec.xs[i]).toFixed(1) + " " + this.y(v).toFixed(1);
      pen = true;
    });
    shape(svg, "path", {d, fill: "none", "stroke-linejoin": "round", "stroke-linecap": "round", ...style});
  }
  drawLine(svg, series, index) {
    const stroke = series.color || color(index);
    if (this.spec.kind === "points") { this.drawPoints(svg, series, stroke); return; }
    const known = series.values.filter(v => v !== null).length;
    if (known > 40 && noisy(series.values)) {
      this.path(svg, series.values, {stroke, "stroke-width": 1, opacity: 0.3});
      this.path(svg, smooth(series.values), {stroke, "stroke-width": 2});
    } else {
      this.path(svg, series.values, {stroke, "stroke-width": 2});
      if (known === 1) this.drawPoints(svg, series, stroke);
    }
  }
  drawPoints(svg, series, stroke) {
    const {bottom, left, width} = this.frame, {xs} = this.spec;
    const known = xs.map((x, i) => i).filter(i => series.values[i] !== null);
    if (this.spec.fill && known.length > 1) {
      const d = known.map((i, n) => (n ? "L" : "M") + this.x(xs[i]).toFixed(1) + " " + this.y(series.values[i]).toFixed(1)).join("");
      shape(svg, "path", {d: `${d}L${this.x(xs[known.at(-1)])} ${bottom}L${this.x(xs[known[0]])} ${bottom}Z`, fill: stroke, opacity: 0.09});
    }
    this.path(svg, series.values, {stroke, "stroke-width": 2.5});
    for (const i of known.length > 60 ? [] : known) {
      shape(svg, "circle", {cx: this.x(xs[i]), cy: this.y(series.values[i]), r: 4, fill: "var(--card)", stroke, "stroke-width": 2});
    }
    if (!this.spec.fill) return;
    for (const i of new Set([known[0], known.at(-1)])) {
      const x = this.x(xs[i]), first = i === known[0] && known.length > 1;
      shape(svg, "text", {x: first ? Math.max(x, left) + 8 : Math.min(x, left + width - 2), y: this.y(series.values[i]) + (first ? 18 : -11),
                          "text-anchor": first ? "start" : "end", class: "value"}, show(series.values[i], this.spec.percent));
    }
  }
  drawBars(svg, half) {
    const {xs, series} = this.spec;
    const gap = this.frame.width / xs.length > 6 ? 1 : 0;
    xs.forEach((x, i) => {
      const begin = this.x(x - half) + gap / 2, width = Math.max(0.5, this.x(x + half) - this.x(x - half) - gap);
      let sum = 0;
      series.forEach((s, n) => {
        const v = s.values[i];
        if (!v) return;
        shape(svg, "rect", {x: begin.toFixed(2), width: width.toFixed(2), y: this.y(sum + v).toFixed(2),
                            height: Math.max(0, this.y(sum) - this.y(sum + v)).toFixed(2), fill: s.color || color(n), class: "bar"});
        sum += v;
      });
    });
  }
  cross() {
    const {xs} = this.spec;
    const index = crossStep === null || !xs.length ? xs.length - 1 : nearest(xs, crossStep);
    this.at.textContent = crossStep === null || !xs.length ? "" : (this.spec.xName || "step") + " " + xs[index].toLocaleString("en-US");
    for (const {series, text} of this.values) {
      let at = index;
      if (crossStep === null) while (at > 0 && series.values[at] === null) --at;
      text.textContent = show(series.values[at], this.spec.percent);
    }
    if (!this.hair) return;
    this.hair.replaceChildren();
    if (crossStep === null || !xs.length) return;
    const x = this.x(xs[index]);
    shape(this.hair, "line", {x1: x, x2: x, y1: this.frame.top, y2: this.frame.bottom, class: "cross"});
    if (this.spec.kind === "bars") return;
    this.spec.series.forEach((s, i) => {
      if (s.values[index] === null) return;
      shape(this.hair, "circle", {cx: x, cy: this.y(s.values[index]), r: 3.5, fill: s.color || color(i), stroke: "var(--card)", "stroke-width": 1.5});
    });
  }
}

// ---- Which scalars make a chart. A chart appears if the run has any of its scalars.
const taken = new Set();
function lines(parentId, title, unit, names, options = {}) {
  const found = names.filter(([name]) => data.series[name]);
  if (!found.length) return;
  found.forEach(([name]) => taken.add(name));
  new Chart(document.getElementById(parentId), {
    title, unit, kind: "line", xs: data.steps,
    series: found.map(([name, label]) => ({label: found.length > 1 ? label : "", values: data.series[name]})), ...options});
}
function learning() {
  if (data.evals.length) {
    new Chart(document.getElementById("learning"), {
      title: "Held-out exact match", unit: `greedy, ${data.evals.at(-1).rows.toLocaleString("en-US")} rows`, size: "wide", kind: "points",
      fill: true, percent: true, floor: 0, ceiling: data.evals.some(e => e.match > 0.5) ? 1 : undefined, xName: "version",
      xs: data.evals.map(e => e.version), series: [{label: "", values: data.evals.map(e => e.match)}]});
  }
  const parts = Object.keys(data.series).filter(n => /^rewards\/.*\/mean$/.test(n)).sort();
  const rewards = [["env/reward_mean", "score"]];
  if (parts.length > 1) parts.forEach(n => rewards.push([n, n.slice(8, -5)])); else parts.forEach(n => taken.add(n));
  lines("learning", "Reward", "mean score of a completion", rewards);
  lines("learning", "KL to the reference", "nats per sequence", [["objective/kl", ""]], {floor: 0});
  lines("learning", "Loss", "", [["ppo/loss/policy", "policy"], ["ppo/loss/value", "value"], ["ppo/loss/total", "total"]]);
  if (!data.series["ppo/loss/total"]) lines("learning", "Loss", "", [["loss", ""]], {size: data.evals.length ? "" : "wide"});
  taken.add("loss");
  lines("learning", "Lengths", "tokens", [["tokens/queries_len_mean", "prompt"], ["tokens/responses_len_mean", "response"]], {floor: 0});
  if (!data.series["tokens/responses_len_mean"]) lines("learning", "Response length", "tokens", [["completions/mean_length", ""]], {floor: 0});
}
function policy() {
  lines("policy", "Entropy", "nats per token", [["ppo/policy/entropy", ""]], {floor: 0});
  if (!data.series["ppo/policy/entropy"]) lines("policy", "Entropy", "nats per token", [["entropy", ""]], {floor: 0});
  lines("policy", "Gradient norm", "before clipping", [["grad_norm", ""]], {floor: 0});
  lines("policy", "Learning rate", "", [["learning_rate", ""]], {floor: 0});
  taken.add("ppo/learning_rate");
  lines("policy", "KL coefficient", "", [["objective/kl_coef", ""]], {floor: 0});
  lines("policy", "KL of the update", "nats per token", [["ppo/policy/approxkl", "approx"], ["ppo/policy/policykl", "policy"]]);
  lines("policy", "Clipped", "share of tokens", [["ppo/policy/clipfrac", "policy"], ["ppo/val/clipfrac", "value"]], {percent: true, floor: 0});
  lines("policy", "Value function", "explained variance", [["ppo/val/var_explained", ""]]);
  lines("policy", "Value error", "mean square", [["ppo/val/error", ""]], {floor: 0});
  lines("policy", "Completions cut off", "share without EOS", [["completions/clipped_ratio", ""]], {percent: true, floor: 0});
}
function system() {
  const phases = Object.entries(data.phases.seconds).filter(([name]) => name !== "step" && name !== "idle");
  const order = ["generate", "score", "install", "score_fetch", "fetch", "train", "reduce", "publish"];
  const rank = name => (order.indexOf(name) + order.length + 1) % (order.length + 1) - (order.includes(name) ? 1 : 0);
  phases.sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const wall = data.phases.seconds.step;
  if (phases.length) {
    new Chart(document.getElementById("system"), {
      title: "Seconds per step, by phase", unit: "phases of different processes may overlap", size: "full", kind: "bars", xs: data.phases.steps,
      series: phases.map(([name, values]) => ({label: name.replace("_", " "), values})),
      total: wall ? {label: "wall clock", values: wall, color: "var(--ink)"} : null});
  }
  lines("system", "Behaviour vs learner", "log-prob difference", [["sampling/sampling_logp_difference/mean", "mean"], ["sampling/sampling_logp_difference/max", "max"]], {floor: 0});
  lines("system", "Tokens per second", "", [["rollout/tokens_per_second", "generated"], ["learner/tokens_per_second", "trained"]], {floor: 0});
  lines("system", "Staleness", "versions behind", [["rollout/staleness", ""]], {floor: 0});
}

// ---- Sample completions.
function histogram(parent, name, [low, high, counts]) {
  const figure = el(parent, "figure");
  el(figure, "figcaption", {title: name}, name);
  const svg = shape(figure, "svg", {viewBox: "0 0 128 46", preserveAspectRatio: "none", "aria-label": name});
  const most = Math.max(1, ...counts);
  counts.forEach((count, i) => {
    const h = count ? Math.max(1, 44 * count / most) : 0;
    shape(svg, "rect", {x: i * 128 / counts.length + 0.3, width: 128 / counts.length - 0.6, y: 46 - h, height: h, fill: "var(--s0)", opacity: 0.75});
  });
  const range = el(figure, "div", {class: "range"});
  el(range, "span", {}, show(low));
  el(range, "span", {}, show(high));
}
function samples() {
  const root = document.getElementById("samples");
  const sets = {training: data.samples, "held-out": data.evalSamples};
  const kinds = Object.keys(sets).filter(kind => sets[kind].length);
  if (!kinds.length) { el(root, "div", {class: "empty", style: "padding:20px 16px"}, "The run recorded no completions."); return; }
  const scores = [...data.samples, ...data.evalSamples].flatMap(s => s.rows.map(r => r[2]).filter(v => v !== null));
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity), least = scores.reduce((a, b) => Math.min(a, b), Infinity);
  const bar = el(root, "div", {class: "pick"});
  const choice = el(bar, "div", {class: "switch", role: "group"});
  const back = el(bar, "button", {type: "button", "aria-label": "earlier"}, "‹");
  const slider = el(bar, "input", {type: "range", min: 0, step: 1, "aria-label": "step"});
  const forth = el(bar, "button", {type: "button", "aria-label": "later"}, "›");
  const where = el(bar, "output");
  const list = el(root, "div", {class: "samples"});
  const hists = el(root, "div", {class: "hists"});
  let kind = kinds.at(0);
  const buttons = kinds.map(k => {
    const button = el(choice, "button", {type: "button"}, k);
    button.addEventListener("click", () => select(k, sets[k].length - 1));
    return button;
  });
  function select(newKind, index) {
    kind = newKind;
    const set = sets[kind];
    slider.max = set.length - 1;
    slider.value = Math.max(0, Math.min(index, set.length - 1));
    buttons.forEach((b, i) => b.setAttribute("aria-pressed", kinds[i] === kind));
    const chosen = set[Number(slider.value)];
    where.textContent = (kind === "training" ? "step " : "version ") + chosen.at.toLocaleString("en-US");
    list.replaceChildren();
    for (const [prompt, completion, score] of chosen.rows) {
      const row = el(list, "div", {class: "sample"});
      const text = el(row, "div", {class: "text"});
      el(text, "span", {class: "prompt"}, prompt);
      el(text, "span", {class: "completion"}, completion);
      const tone = most > least && score !== null ? (score >= least + 0.999 * (most - least) ? " high" : score <= least + 0.001 * (most - least) ? " low" : "") : "";
      el(row, "span", {class: "score" + tone, title: "score"}, show(score));
    }
    hists.replaceChildren();
    for (const [name, bins] of Object.entries(chosen.histograms || {})) histogram(hists, name, bins);
    hists.style.display = hists.children.length ? "" : "none";
  }
  slider.addEventListener("input", () => select(kind, Number(slider.value)));
  back.addEventListener("click", () => select(kind, Number(slider.value) - 1));
  forth.addEventListener("click", () => select(kind, Number(slider.value) + 1));
  window.retortPick = step => select(kind, nearest(sets[kind].map(s => s.at), step));
  select(kind, sets[kind].length - 1);
}

// ---- Everything else.
function everything() {
  const names = Object.keys(data.series).sort();
  const more = document.getElementById("more");
  const rest = names.filter(name => !taken.has(name));
  if (!rest.length) more.remove();
  else {
    more.querySelector("summary").textContent = `${rest.length} more curves`;
    more.addEventListener("toggle", () => {
      const grid = more.querySelector(".charts");
      if (more.open && !grid.children.length) {
        for (const name of rest) new Chart(grid, {title: name, kind: "line", xs: data.steps, series: [{label: "", values: data.series[name]}]});
      }
    });
  }
  const table = document.getElementById("table");
  table.addEventListener("toggle", () => {
    const box = table.querySelector(".scroll");
    if (!table.open || box.children.length) return;
    const body = el(el(box, "table"), "tbody");
    const head = el(body, "tr");
    el(head, "th", {}, "scalar");
    for (const column of ["first", "last", "least", "most"]) el(head, "th", {class: "number"}, column);
    for (const name of names) {
      const known = data.series[name].filter(v => v !== null);
      const row = el(body, "tr");
      el(row, "td", {class: "code"}, name);
      const least = known.reduce((a, b) => Math.min(a, b), Infinity), most = known.reduce((a, b) => Math.max(a, b), -Infinity);
      for (const value of known.length ? [known[0], known.at(-1), least, most] : [null, null, null, null]) el(row, "td", {class: "number"}, show(value));
    }
  });
}
function theme() {
  const button = document.getElementById("theme"), root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
  label();
}
// The last chart of a grid takes what its row has left.
function fill(grid) {
  for (const columns of [2, 3]) {
    let cells = 0;
    for (const chart of grid.children) {
      const size = chart.classList.contains("full") ? columns : chart.classList.contains("wide") ? 2 : 1;
      if (cells % columns + size > columns) cells += columns - cells % columns;
      cells += size;
    }
    const spare = (columns - cells % columns) % columns;
    if (spare) grid.lastElementChild.classList.add(`grow${columns}-${spare}`);
  }
}
for (const part of [theme, learning, policy, system, samples, everything]) part();
for (const id of ["learning", "policy", "system"]) {
  const grid = document.getElementById(id);
  if (!grid.children.length) { grid.previousElementSibling.remove(); grid.remove(); }
  else fill(grid);
}
})();
