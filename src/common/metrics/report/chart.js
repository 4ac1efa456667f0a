'use strict';
// Charts as SVG: lines, points and stacked bars that share one cross-hair.
const SVG = 'http://www.w3.org/2000/svg';

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
// Typographic minus signs, no "e+".
function minus(text) {
  return text.replace('e+', 'e').replaceAll('-', '−');
}
function show(value, percent = false) {
  if (value === null || value === undefined) return '–';
  if (percent) return (100 * value).toFixed(1) + ' %';
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 1e6 || size < 1e-3) return minus(value.toExponential(1));
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4;
  const text =
      Number(value.toFixed(digits)).toLocaleString('en-US', {maximumFractionDigits: digits});
  return minus(text);
}
const color = index => `var(--s${index % 8})`;

// ---- Axes.
function ticks(low, high, count) {
  const span = high - low || 1;
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map(m => m * power).find(s => s >= raw * 0.999) || 10 * power;
  const result = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + span * 1e-9; ++i)
    result.push(i === 0 ? 0 : i * step);
  return result;
}
function tickText(value, all, percent) {
  if (percent) return Math.round(100 * value) + ' %';
  const size = Math.max(...all.map(Math.abs));
  if (value === 0) return '0';
  if (size >= 1e5 || size < 1e-3) return minus(value.toExponential(1)).replace('.0e', 'e');
  const step = all.length > 1 ? Math.abs(all[1] - all[0]) : size;
  const power = Math.floor(Math.log10(step) + 1e-9);
  const half =
      Math.abs(step / 10 ** power - 2.5) < 1e-6 ? 1 : 0;  // 0.25 needs one digit more than 0.2.
  const digits = Math.max(0, Math.min(6, half - power));
  return minus(value.toLocaleString(
      'en-US', {minimumFractionDigits: digits, maximumFractionDigits: digits}));
}
function extent(lists, floor, ceiling) {
  let low = Infinity, high = -Infinity;
  for (const list of lists)
    for (const v of list)
      if (v !== null) {
        if (v < low) low = v;
        if (v > high) high = v;
      }
  if (low > high) return null;
  if (floor !== undefined) low = Math.min(low, floor);
  if (ceiling !== undefined) high = Math.max(high, ceiling);
  if (low === high) {
    const pad = Math.abs(low) * 0.1 || 1;
    low -= low >= 0 && low - pad < 0 ? low : pad;
    high += pad;
  }
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
    if (values[i - 1] !== null && values[i] !== null && values[i + 1] !== null)
      bends.push(Math.abs(values[i - 1] - 2 * values[i] + values[i + 1]));
  }
  const range = extent([values]);
  return bends.length > 0 &&
      bends.sort((a, b) => a - b)[bends.length >> 1] > 0.01 * (range[1] - range[0]);
}

// ---- Charts. All of them share one cross-hair step.
const charts = [];
let crossStep = null;
let pickStep = () => {};  // Shows the completions of a step; set where they are drawn.
function setCross(step) {
  if (step === crossStep) return;
  crossStep = step;
  for (const chart of charts) chart.cross();
}
function nearest(xs, x) {
  let low = 0, high = xs.length - 1;
  while (high - low > 1) {
    const mid = (low + high) >> 1;
    if (xs[mid] < x)
      low = mid;
    else
      high = mid;
  }
  return high >= 0 && Math.abs(xs[high] - x) < Math.abs(xs[low] - x) ? high : low;
}

class Chart {
  // spec: {title, unit, size, percent, floor, ceiling, kind: "line" | "points" | "bars", xs,
  // series: [{label, values}],
  //        total: {label, values} drawn as a line over bars}
  constructor(parent, spec) {
    this.spec = spec;
    this.card = el(parent, 'figure', {class: 'card chart ' + (spec.size || ''), style: 'margin:0'});
    const title = el(this.card, 'h3', {}, spec.title + ' ');
    if (spec.unit) el(title, 'span', {class: 'unit'}, spec.unit);
    this.at = el(this.card, 'span', {class: 'at'});
    this.legend = el(this.card, 'div', {class: 'legend'});
    this.values = [...spec.series, ...(spec.total ? [spec.total] : [])].map((series, i) => {
      const item = el(this.legend, 'span');
      el(item, 'i', {style: `background:${series.color || color(i)}`});
      item.appendChild(document.createTextNode(series.label ? series.label + ' ' : ''));
      return {series, text: el(item, 'b')};
    });
    this.plot = el(this.card, 'div', {class: 'plot'});
    this.draw();
    this.cross();
    charts.push(this);
    if (window.ResizeObserver) new ResizeObserver(() => this.draw()).observe(this.plot);
    this.plot.addEventListener('pointermove', event => this.point(event));
    this.plot.addEventListener('pointerdown', event => this.point(event));
    this.plot.addEventListener('pointerleave', () => setCross(null));
    this.plot.addEventListener('click', () => {
      if (crossStep !== null) pickStep(crossStep);
    });
  }
  point(event) {
    const box = this.plot.getBoundingClientRect();
    const x = event.clientX - box.left;
    const {left, width, low, high} = this.frame;
    setCross(this.spec.xs[nearest(this.spec.xs, low + (x - left) / width * (high - low))]);
  }
  draw() {
    const w = this.plot.clientWidth || 340, h = this.plot.clientHeight || 168;
    if (this.drawn === w + 'x' + h) return;
    this.drawn = w + 'x' + h;
    this.plot.replaceChildren();
    const {spec} = this, {xs} = spec, bars = spec.kind === 'bars';
    const sums =
        bars ? xs.map((_, i) => spec.series.reduce((sum, s) => sum + (s.values[i] || 0), 0)) : null;
    const lists =
        bars ? [sums, ...(spec.total ? [spec.total.values] : [])] : spec.series.map(s => s.values);
    const range = extent(lists, bars ? 0 : spec.floor, spec.ceiling);
    if (!range || !xs.length) {
      el(this.plot, 'div', {class: 'empty'}, 'no values');
      return;
    }
    const svg =
        shape(this.plot, 'svg', {viewBox: `0 0 ${w} ${h}`, role: 'img', 'aria-label': spec.title});
    const yTicks = ticks(range[0], range[1], h > 200 ? 5 : 4);
    const labels = yTicks.map(v => tickText(v, yTicks, spec.percent));
    const left = 10 + 6.4 * Math.max(...labels.map(t => t.length)), right = w - 8,
          top = spec.fill ? 24 : 8, bottom = h - 22;
    const half = bars ? (xs.length > 1 ? (xs[1] - xs[0]) / 2 : 0.5) : 0;
    const low = xs[0] - half, high = xs[xs.length - 1] + half + (xs.length === 1 && !bars ? 1 : 0);
    this.frame = {left, width: right - left, low, high, top, bottom};
    this.x = v => left + (v - low) / (high - low || 1) * (right - left);
    this.y = v => bottom - (v - range[0]) / (range[1] - range[0]) * (bottom - top);
    yTicks.forEach((v, i) => {
      shape(svg, 'line', {
        x1: left,
        x2: right,
        y1: this.y(v),
        y2: this.y(v),
        class: v === 0 ? 'zero' : 'gridline'
      });
      shape(svg, 'text', {x: left - 6, y: this.y(v) + 4, 'text-anchor': 'end'}, labels[i]);
    });
    for (const v of ticks(low, high, Math.max(3, Math.floor(w / 75)))
             .filter(v => Number.isInteger(v) && v >= 0)) {
      const anchor = this.x(v) > right - 12 ? 'end' : this.x(v) < left + 8 ? 'start' : 'middle';
      shape(
          svg, 'text', {x: this.x(v), y: h - 5, 'text-anchor': anchor}, v.toLocaleString('en-US'));
    }
    if (bars)
      this.drawBars(svg, half);
    else
      spec.series.forEach((s, i) => this.drawLine(svg, s, i));
    if (spec.total)
      this.path(svg, spec.total.values, {stroke: spec.total.color, 'stroke-width': 1.5});
    this.hair = shape(svg, 'g', {'pointer-events': 'none'});
    this.cross();
  }
  path(svg, values, style) {
    let d = '', pen = false;
    values.forEach((v, i) => {
      if (v === null) {
        pen = false;
        return;
      }
      d += (pen ? 'L' : 'M') + this.x(this.spec.xs[i]).toFixed(1) + ' ' + this.y(v).toFixed(1);
      pen = true;
    });
    shape(
        svg, 'path',
        {d, fill: 'none', 'stroke-linejoin': 'round', 'stroke-linecap': 'round', ...style});
  }
  drawLine(svg, series, index) {
    const stroke = series.color || color(index);
    if (this.spec.kind === 'points') {
      this.drawPoints(svg, series, stroke);
      return;
    }
    const known = series.values.filter(v => v !== null).length;
    if (known > 40 && noisy(series.values)) {
      this.path(svg, series.values, {stroke, 'stroke-width': 1, opacity: 0.3});
      this.path(svg, smooth(series.values), {stroke, 'stroke-width': 2});
    } else {
      this.path(svg, series.values, {stroke, 'stroke-width': 2});
      if (known === 1) this.drawPoints(svg, series, stroke);
    }
  }
  drawPoints(svg, series, stroke) {
    const {bottom, left, width} = this.frame, {xs} = this.spec;
    const known = xs.map((x, i) => i).filter(i => series.values[i] !== null);
    if (this.spec.fill && known.length > 1) {
      const d = known
                    .map(
                        (i, n) => (n ? 'L' : 'M') + this.x(xs[i]).toFixed(1) + ' ' +
                            this.y(series.values[i]).toFixed(1))
                    .join('');
      shape(svg, 'path', {
        d: `${d}L${this.x(xs[known.at(-1)])} ${bottom}L${this.x(xs[known[0]])} ${bottom}Z`,
        fill: stroke,
        opacity: 0.09
      });
    }
    this.path(svg, series.values, {stroke, 'stroke-width': 2.5});
    for (const i of known.length > 60 ? [] : known) {
      shape(svg, 'circle', {
        cx: this.x(xs[i]),
        cy: this.y(series.values[i]),
        r: 4,
        fill: 'var(--card)',
        stroke,
        'stroke-width': 2
      });
    }
    if (!this.spec.fill) return;
    for (const i of new Set([known[0], known.at(-1)])) {
      const x = this.x(xs[i]), y = this.y(series.values[i]);
      const first = i === known[0] && known.length > 1;
      shape(
          svg, 'text', {
            x: first ? Math.max(x, left) + 8 : Math.min(x, left + width - 2),
            y: y + (first && y + 24 < bottom ? 18 : -11),
            'text-anchor': first ? 'start' : 'end',
            class: 'value'
          },
          show(series.values[i], this.spec.percent));
    }
  }
  drawBars(svg, half) {
    const {xs, series} = this.spec;
    const gap = this.frame.width / xs.length > 6 ? 1 : 0;
    xs.forEach((x, i) => {
      const begin = this.x(x - half) + gap / 2,
            width = Math.max(0.5, this.x(x + half) - this.x(x - half) - gap);
      let sum = 0;
      series.forEach((s, n) => {
        const v = s.values[i];
        if (!v) return;
        shape(svg, 'rect', {
          x: begin.toFixed(2),
          width: width.toFixed(2),
          y: this.y(sum + v).toFixed(2),
          height: Math.max(0, this.y(sum) - this.y(sum + v)).toFixed(2),
          fill: s.color || color(n),
          class: 'bar'
        });
        sum += v;
      });
    });
  }
  cross() {
    const {xs} = this.spec;
    const index = crossStep === null || !xs.length ? xs.length - 1 : nearest(xs, crossStep);
    this.at.textContent = crossStep === null || !xs.length ?
        '' :
        (this.spec.xName || 'step') + ' ' + xs[index].toLocaleString('en-US');
    for (const {series, text} of this.values) {
      let at = index;
      if (crossStep === null)
        while (at > 0 && series.values[at] === null) --at;
      text.textContent = show(series.values[at], this.spec.percent);
    }
    if (!this.hair) return;
    this.hair.replaceChildren();
    if (crossStep === null || !xs.length) return;
    const x = this.x(xs[index]);
    shape(
        this.hair, 'line',
        {x1: x, x2: x, y1: this.frame.top, y2: this.frame.bottom, class: 'cross'});
    if (this.spec.kind === 'bars') return;
    this.spec.series.forEach((s, i) => {
      if (s.values[index] === null) return;
      shape(this.hair, 'circle', {
        cx: x,
        cy: this.y(s.values[index]),
        r: 3.5,
        fill: s.color || color(i),
        stroke: 'var(--card)',
        'stroke-width': 1.5
      });
    });
  }
}
