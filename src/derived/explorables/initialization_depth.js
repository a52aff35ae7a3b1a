// Signal through depth: how large signal and gradient are in each layer of random deep networks.
//
// A layer is y = W h, h = φ(y), with W of independent N(0, g²/d), width d, no bias. q_ℓ is the
// variance that layer ℓ + 1's pre-activations have, given layer ℓ: g² times the mean of h². The
// functions of the first half agree with derived.initialization to 1e-9, which a test checks.

import {
  barTable,
  button,
  clamp,
  colorRamp,
  draggable,
  element,
  format,
  handle,
  helpText,
  lineSample,
  mount,
  normals,
  paintField,
  plane,
  set,
  shape,
  significant,
  slider,
} from "./kit.js";

// ---------------------------------------------------------------------------------- mathematics

export const NETWORKS = 40;
export const DEEPEST = 50;
export const WIDEST = 256;

const SELU_SCALE = 1.0507009873554805;
const SELU_ALPHA = 1.6732632423543772;

/** The error function, by a series whose terms are all of one sign. */
export function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n += 1) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const below = (x) => (1 + erf(x / Math.SQRT2)) / 2; // the normal distribution function
const bell = (x) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);

/** Each activation and its derivative. */
export const ACTIVATIONS = {
  relu: [(x) => Math.max(x, 0), (x) => Number(x > 0)],
  gelu: [(x) => x * below(x), (x) => below(x) + x * bell(x)],
  tanh: [Math.tanh, (x) => 1 - Math.tanh(x) ** 2],
  selu: [
    (x) => SELU_SCALE * (x > 0 ? x : SELU_ALPHA * Math.expm1(x)),
    (x) => SELU_SCALE * (x > 0 ? 1 : SELU_ALPHA * Math.exp(x)),
  ],
};

/** Nodes and weights of Gauss and Legendre on [-1, 1]: roots of a Legendre polynomial, by Newton. */
function legendre(count) {
  return Array.from({ length: count }, (_, i) => {
    let x = Math.cos((Math.PI * (i + 0.75)) / (count + 0.5));
    let slope = 0;
    for (let round = 0; round < 8; round += 1) {
      let [before, value] = [1, x];
      for (let k = 2; k <= count; k += 1) {
        [before, value] = [value, ((2 * k - 1) * x * value - (k - 1) * before) / k];
      }
      slope = (count * (x * value - before)) / (x * x - 1);
      x -= value / slope;
    }
    return [x, 2 / ((1 - x * x) * slope * slope)];
  });
}

/** [z, weight] for means over a standard normal z. The pieces shrink toward 0, where φ has its kink. */
const NODES = (() => {
  const rule = legendre(16);
  const edges = [0, ...Array.from({ length: 27 }, (_, i) => 13 * 2 ** ((i - 26) / 1.5))];
  const half = edges.slice(1).flatMap((high, i) => {
    const [middle, reach] = [(high + edges[i]) / 2, (high - edges[i]) / 2];
    return rule.map(([x, weight]) => [middle + reach * x, reach * weight * bell(middle + reach * x)]);
  });
  return [...half, ...half.map(([z, weight]) => [-z, weight])];
})();

/** The mean of f(σ z) over a standard normal z. */
export const gaussianMean = (f, sigma) =>
  NODES.reduce((sum, [z, weight]) => sum + weight * f(sigma * z), 0);

/** The gain with which pre-activations of variance 1 keep it: 1/√E[φ(z)²]. */
export const gain = (name) => gaussianMean((y) => ACTIVATIONS[name][0](y) ** 2, 1) ** -0.5;

/** What one infinitely wide layer makes of q, and its factor χ on the gradient's mean square. */
export function momentMap(name, g, q) {
  const [phi, slope] = ACTIVATIONS[name];
  const mean = (f) => g * g * gaussianMean((y) => f(y) ** 2, Math.sqrt(q));
  return { q: mean(phi), chi: mean(slope) };
}

/** What such a layer makes of a small deviation of q from a fixed point at 1: dq′/dq there. */
export function stability(name, g) {
  const [phi, slope] = ACTIVATIONS[name];
  return g * g * gaussianMean((y) => y * phi(y) * slope(y), 1);
}

/** Infinite width: q after 0, 1, … layers; the squared gradient at layers 1, 2, …, the last one’s being 1. */
export function meanField(name, g, depth) {
  const q = [1];
  const gradient = [1];
  const chi = [];
  for (let layer = 0; layer < depth; layer += 1) {
    const next = momentMap(name, g, q[layer]);
    q.push(next.q);
    chi.push(next.chi);
  }
  for (let layer = depth - 2; layer >= 0; layer -= 1) gradient.unshift(gradient[0] * chi[layer]);
  return { q, gradient };
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** The standard normal numbers of all networks for a seed: the forward pass's, then the backward's. */
export const sample = (seed) => normals(seed, 2 * NETWORKS * DEEPEST * WIDEST);

/**
 * One random network: q after 0, 1, … layers, the pre-activations of layers 1, 2, …, and the squared
 * norm of the gradient by them, for a random gradient of norm 1 by the last.
 *
 * No weight is drawn. Given h, the entries of W h are independent N(0, g² |h|²/d). Given y = W h too,
 * Wᵀ δ is h (y·δ)/|h|² plus a normal vector without its part along h: what y does not tell about W.
 */
export function simulate(name, g, depth, width, numbers, network) {
  const [phi, slope] = ACTIVATIONS[name];
  const row = (pass, layer) => {
    const start = ((pass * NETWORKS + network) * DEEPEST + layer) * WIDEST;
    return numbers.subarray(start, start + width);
  };
  const q = [1];
  const [before, after] = [[], []];
  for (let layer = 0; layer < depth; layer += 1) {
    const size = Math.sqrt(q[layer]);
    before.push(row(0, layer).map((z) => size * z));
    after.push(before[layer].map(phi));
    q.push((g * g * dot(after[layer], after[layer])) / width);
  }
  const random = row(1, depth - 1);
  const norm = Math.sqrt(dot(random, random));
  let delta = random.map((z) => z / norm);
  const gradient = [1];
  for (let layer = depth - 2; layer >= 0; layer -= 1) {
    const h = after[layer];
    const spread = g * Math.sqrt(gradient[0] / width);
    const fresh = row(1, layer).map((z) => spread * z);
    const square = dot(h, h);
    const along = square > 0 ? (dot(before[layer + 1], delta) - dot(h, fresh)) / square : 0;
    delta = fresh.map((value, i) => slope(before[layer][i]) * (value + along * h[i]));
    gradient.unshift(dot(delta, delta));
  }
  return { q, before, gradient };
}

// ---------------------------------------------------------------------------------- the figure

const NAMES = { relu: "ReLU", gelu: "GELU", tanh: "tanh", selu: "SELU" };
const SERIES = { relu: 3, gelu: 2, tanh: 4, selu: 1 };
const LEAST = 1e-5; // where the axes of q and of the gradient end
const MOST = 1e5;
const POWERS = [[1e-4, "10⁻⁴"], [0.01, "0.01"], [1, "1"], [100, "100"], [1e4, "10⁴"]];
const DRAWN = 20; // of the networks, as lines
const REACH = 4; // of the pre-activations shown
const BINS = 40;
const SEEDS = 100;

const italic = (text) => element("i", {}, text);
const number = (text) => element("span", { class: "xp-number" }, text);

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

/** The share of `values` in each of BINS equal parts of [-REACH, REACH]. */
function histogram(rows) {
  const counts = new Float64Array(BINS);
  let total = 0;
  for (const row of rows) {
    for (const value of row) {
      const bin = Math.floor(((value + REACH) / (2 * REACH)) * BINS);
      if (bin >= 0 && bin < BINS) counts[bin] += 1;
    }
    total += row.length;
  }
  return counts.map((count) => count / total);
}

function build({ root, state, initial, change, save }) {
  let numbers = { seed: null, values: null };
  let networks = { key: "" }; // what was simulated last

  function chart(height, ...title) {
    const axes = plane({ height, left: 44, right: 12, top: 10 });
    const frame = element("div", { class: "xp-frame" }, axes.node);
    const cursor = shape("path", { class: "xp-cursor" });
    axes.content.append(cursor);
    const heading = element("p", { class: "xp-title" }, ...title);
    return { ...axes, frame, cursor, heading, box: element("div", {}, heading, frame) };
  }
  function lines(where) {
    const many = shape("path", { class: "xp-many" });
    const theory = shape("path", { class: "xp-theory" });
    const typical = shape("path", { class: "xp-curve" });
    where.content.append(many, theory, typical);
    return { many, theory, typical };
  }
  const key = [
    lineSample("xp-many"),
    " a network, ",
    lineSample("xp-curve"),
    " median, ",
    lineSample("xp-theory"),
    " infinite width",
  ];
  const signal = chart(226, "Signal ", italic("q"), ": ", ...key);
  const gradient = chart(226, "Squared gradient, the last layer’s being 1");
  const heat = chart(150, "Pre-activations in all networks, layer by layer");
  const bars = chart(226);
  const [forward, backward] = [lines(signal), lines(gradient)];
  const knob = shape("circle", { class: "xp-chosen", r: 7 });
  signal.front.append(knob);
  const canvas = element("canvas", { class: "xp-heat", "aria-hidden": "true" });
  heat.frame.prepend(canvas);
  const columns = shape("path", { class: "xp-columns" });
  const normal = shape("path", { class: "xp-theory" });
  bars.content.append(columns, normal);

  const help = helpText("Arrow keys choose another layer, with Shift five further.");
  const grip = handle({
    label: "Layer",
    name: "layer",
    help,
    min: 1,
    max: DEEPEST,
    step: 1,
    bigStep: 5,
    onStep: (dx, dy) => change({ layer: clamp(shownLayer() + dx - dy, 1, state.depth) }),
  });
  signal.frame.append(grip.node);

  const gains = Object.fromEntries(Object.keys(NAMES).map((name) => [name, gain(name)]));
  const table = barTable({
    legend: "activation",
    columns: ["gain for q = 1", "χ there", "dq′/dq"],
    rows: Object.entries(NAMES).map(([value, label]) => ({ value, label, series: SERIES[value] })),
    onSelect: (activation) => change({ activation, gain: gains[activation] }),
  });
  for (const [name, g] of Object.entries(gains)) {
    const data = { gain: g, chi: momentMap(name, g, 1).chi, stability: stability(name, g) };
    const digits = Object.values(data).map((value) => format(value));
    table.update(name, { share: data.chi - 1, numbers: digits, data });
  }
  const readout = element("p", { class: "xp-readout" });
  const sliders = {
    gain: slider({
      label: ["gain ", italic("g")],
      min: 0.5,
      max: 2.5,
      step: 0.01,
      onInput: (value) => change({ gain: value }),
    }),
    depth: slider({
      label: ["layers ", italic("L")],
      min: 2,
      max: DEEPEST,
      step: 1,
      onInput: (value) => change({ depth: value }),
    }),
    width: slider({
      label: ["width ", italic("d")],
      min: 3,
      max: 8,
      step: 1,
      onInput: (value) => change({ width: 2 ** value }),
    }),
  };
  const again = button("Other networks", () => change({ seed: (state.seed + 1) % SEEDS }), {
    "data-action": "again",
  });
  const reset = button("Reset", () => change(initial), { "data-action": "reset" });
  const body = element(
    "div",
    { class: "xp-body" },
    element(
      "div",
      {},
      ...[signal.box, heat.box],
      element("div", { class: "xp-controls xp-presets" }, again, reset),
    ),
    element(
      "div",
      {},
      table.node,
      element(
        "div",
        { class: "xp-controls xp-run" },
        ...Object.values(sliders).map(({ node }) => node),
      ),
      readout,
    ),
    element("div", { class: "xp-charts" }, gradient.box, bars.box),
    element(
      "p",
      { class: "xp-small" },
      "Lines show half of the networks. Weights are independent N(0, g²/d), without bias; the input ",
      "has q = 1. After a layer, q is g² times the mean square of its activations: the variance of ",
      "the next layer’s pre-activations. χ is a layer’s factor on the squared gradient (the bars ",
      "show χ − 1), dq′/dq its factor on a small deviation of q from 1: above 1 the deviation grows.",
    ),
  );

  const shownLayer = () => Math.min(state.layer, state.depth);

  /** All networks in the present state, and what infinite width says. */
  function simulated() {
    const { activation, gain: g, depth, width, seed } = state;
    const key = JSON.stringify([activation, g, depth, width, seed]);
    if (networks.key === key) return networks;
    if (numbers.seed !== seed) numbers = { seed, values: sample(seed) };
    const all = Array.from({ length: NETWORKS }, (_, i) =>
      simulate(activation, g, depth, width, numbers.values, i),
    );
    const layers = Array.from({ length: depth }, (_, layer) => layer);
    networks = {
      key,
      all,
      field: meanField(activation, g, depth),
      q: [...layers, depth].map((layer) => median(all.map(({ q }) => q[layer]))),
      gradient: layers.map((layer) => median(all.map((one) => one.gradient[layer]))),
      histograms: layers.map((layer) => histogram(all.map(({ before }) => before[layer]))),
    };
    return networks;
  }

  function summary() {
    const { q, field } = simulated();
    return (
      `${NAMES[state.activation]}, gain ${format(state.gain)}: after ${state.depth} layers q is ` +
      `${significant(field.q.at(-1))} at infinite width, ${significant(q.at(-1))} in the median network. ` +
      `Layer ${shownLayer()}.`
    );
  }

  function drawLines(where, { many, theory, typical }, first, rows, middle, ideal) {
    const points = (values) => values.map((value, i) => [first + i, clamp(value, 1e-9, 1e9)]);
    set(many, { d: rows.map((row) => where.path(points(row))).join("") });
    set(typical, { d: where.path(points(middle)) });
    set(theory, { d: where.path(points(ideal)) });
  }

  function drawCharts(wide, narrow) {
    const { all, field, q, gradient: middle } = simulated();
    const { depth } = state;
    const ticks = [...[0, 10, 20, 30, 40].filter((tick) => tick < depth - 4), depth];
    const across = {
      low: 0,
      high: depth + 0.5, // the last column of the heat map is whole
      ticks: ticks.map((tick) => [tick, String(tick)]),
      title: "layer",
    };
    const up = { low: LEAST, high: MOST, log: true, ticks: POWERS };
    signal.fit(wide, across, up);
    gradient.fit(narrow, across, up);
    const some = all.slice(0, DRAWN);
    drawLines(signal, forward, 0, some.map((one) => one.q), q, field.q);
    drawLines(gradient, backward, 1, some.map((one) => one.gradient), middle, field.gradient);
    drawHeat(wide, across);
    drawBars(narrow);
    const layer = shownLayer();
    for (const where of [signal, gradient, heat]) {
      const [x] = where.at(layer, 1);
      set(where.cursor, { d: `M${x} 0V${where.size[1]}` });
    }
    const [x, y] = signal.at(layer, clamp(q[layer], LEAST, MOST));
    set(knob, { cx: x, cy: y });
    const side = matchMedia("(pointer: coarse)").matches ? 44 : 24;
    const [left, top] = signal.origin;
    grip.place({ left: left + x - side / 2, top: top + y - side / 2, width: side, height: side });
    grip.describe(layer, `layer ${layer} of ${depth}: q ${significant(q[layer])} in the median network`);
  }

  function drawHeat(width, across) {
    const ticks = [-4, -2, 0, 2, 4].map((tick) => [tick, format(tick, 0)]);
    heat.fit(width, across, { low: -REACH, high: REACH, ticks });
    const [left, top] = heat.origin;
    const [start] = heat.at(0.5, 0);
    const [wide, high] = [heat.size[0] - start, heat.size[1]];
    const place = { left: left + start, top, width: wide, height: high };
    for (const [name, pixels] of Object.entries(place)) canvas.style[name] = `${pixels}px`;
    set(canvas, { width: state.depth, height: BINS }); // a pixel for each bin, which CSS enlarges
    const { histograms } = simulated();
    const values = new Float64Array(BINS * state.depth);
    histograms.forEach((row, layer) => {
      const most = Math.max(...row);
      row.forEach((share, bin) => {
        values[(BINS - 1 - bin) * state.depth + layer] = most > 0 ? Math.sqrt(share / most) : 0;
      });
    });
    const field = { values, columns: state.depth, rows: BINS };
    paintField(canvas, field, { ramp: colorRamp(root), low: 0, high: 1, levels: [], line: "none" });
  }

  function drawBars(width) {
    const { histograms, field } = simulated();
    const layer = shownLayer();
    const shares = histograms[layer - 1];
    const size = Math.sqrt(field.q[layer - 1]);
    const step = (2 * REACH) / BINS;
    const upTo = (x) => below(x / size);
    const ideal = Array.from({ length: BINS }, (_, bin) => {
      const left = -REACH + bin * step;
      return [left + step / 2, upTo(left + step) - upTo(left)];
    });
    const high = 1.1 * Math.max(...shares, ...ideal.map(([, share]) => share));
    const ticks = [-4, -2, 0, 2, 4].map((tick) => [tick, format(tick, 0)]);
    const values = { low: -REACH, high: REACH, ticks, title: "pre-activation" };
    bars.fit(width, values, { low: 0, high, ticks: [[0, "0"]] });
    const [, bottom] = bars.at(0, 0);
    const d = [...shares].map((share, bin) => {
      const [x, y] = bars.at(-REACH + bin * step, share);
      const [right] = bars.at(-REACH + (bin + 1) * step, share);
      return `M${x} ${bottom}V${y}H${right}V${bottom}`;
    });
    set(columns, { d: d.join("") });
    set(normal, { d: bars.path(ideal) });
    const sampled = lineSample("xp-theory");
    bars.heading.replaceChildren(`Layer ${layer}: all networks, `, sampled, " infinite width");
  }

  function drawPanel() {
    const { activation, gain: g, depth, width } = state;
    const { all, field, q } = simulated();
    table.select(activation);
    sliders.gain.set(g, format(g));
    sliders.depth.set(depth);
    sliders.width.set(Math.log2(width), String(width));
    const average = all.reduce((sum, one) => sum + one.q.at(-1), 0) / NETWORKS;
    readout.replaceChildren(
      `After ${depth} layers `,
      italic("q"),
      " is ",
      number(significant(field.q.at(-1))),
      " at infinite width, ",
      number(significant(average)),
      ` in the mean of ${NETWORKS} networks, and `,
      element("b", { class: "xp-number" }, significant(q.at(-1))),
      " in the median one.",
    );
    root.dataset.median = q.at(-1);
    root.dataset.limit = field.q.at(-1);
    set(body, { "data-series": SERIES[activation] });
  }

  function draw() {
    drawCharts(signal.frame.clientWidth, gradient.frame.clientWidth);
    drawPanel();
  }

  function pick(x, y, touch) {
    const layerAt = (pixels) => {
      const [layer] = signal.valueAt(pixels - signal.origin[0], 0);
      return clamp(Math.round(layer), 1, state.depth);
    };
    const [kx, ky] = ["cx", "cy"].map((name) => Number(knob.getAttribute(name)));
    const near = Math.hypot(x - signal.origin[0] - kx, y - signal.origin[1] - ky) < 24;
    if (touch && !near) return null;
    return {
      cursor: "ew-resize",
      node: grip.node,
      drag: (dx) => change({ layer: layerAt(x + dx) }),
      drop: save.now,
    };
  }
  draggable(signal.frame, pick);

  return { body: [body, help], draw, summary };
}

const ABOUT = {
  ...{ name: "signal_through_depth", title: "Signal through depth" },
  style: "--xp-label-width: 7em; --xp-first-column: 40%",
};

export default { render: (page) => mount(page, ABOUT, build) };
