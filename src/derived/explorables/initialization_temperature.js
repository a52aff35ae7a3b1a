// Temperature of attention: what the scale of the logits does to a softmax over n keys.
//
// The logits of a random query and n random keys are drawn as N(0, σ²), which is what they are for
// keys of unit variance and a query of typical length: σ = σ_q √d · d^(−exponent). The functions of
// the first half agree with derived.initialization to 1e-9, which a test checks.

import {
  barTable,
  button,
  clamp,
  draggable,
  element,
  format,
  handle,
  helpText,
  lineSample,
  mount,
  normals,
  plane,
  set,
  shape,
  signed,
  significant,
  slider,
} from "./kit.js";

// ---------------------------------------------------------------------------------- mathematics

export const DRAWS = 200;
export const MOST_KEYS = 1024;

/** The standard normal numbers of all draws: row after row, MOST_KEYS to a row. */
export const sample = () => normals(1, DRAWS * MOST_KEYS);

/** The standard deviation of a logit q·k / d^exponent, whose keys have unit variance. */
export const logitScale = (d, exponent, sigmaQ) => sigmaQ * d ** (0.5 - exponent);

/** Derrida's random-energy model: the entropy of a softmax over n logits N(0, σ²), to leading order. */
export const remEntropy = (sigma, n) => Math.max(Math.log(n) - sigma ** 2 / 2, 0);

/** The place of the largest number. */
const peak = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

/**
 * The softmax of σ times `logits`: its entropy in nats and the Frobenius norm of its Jacobian
 * diag p − p pᵀ. The norm is summed from positive terms, with the largest weight apart,
 * because Σp² − 2Σp³ + (Σp²)² loses all digits where that weight is nearly 1.
 */
export function measure(logits, sigma, top = peak(logits)) {
  let [rest, weighted, squares, cubes] = [0, 0, 0, 0]; // over all keys but the largest
  for (let i = 0; i < logits.length; i += 1) {
    if (i === top) continue;
    const behind = sigma * (logits[i] - logits[top]);
    const e = Math.exp(behind);
    rest += e;
    weighted += e * behind;
    squares += e * e;
    cubes += e * e * e;
  }
  const p = 1 / (1 + rest);
  const [s2, s3] = [squares * p ** 2, cubes * p ** 3];
  return {
    entropy: Math.log1p(rest) - weighted * p,
    jacobian: Math.sqrt(s2 * (1 + 2 * p * p) - 2 * s3 + s2 * s2 + (p * p * rest) ** 2),
  };
}

/** The weights themselves. */
export function softmax(logits) {
  const top = logits[peak(logits)];
  const weights = logits.map((logit) => Math.exp(logit - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function median(values) {
  const sorted = Float64Array.from(values).sort();
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

/** Over all draws of n keys: the mean entropy, and each draw's ‖J‖ with its mean and median. */
export function overDraws(numbers, n, sigma) {
  const rows = Array.from({ length: DRAWS }, (_, i) => numbers.subarray(i * MOST_KEYS, i * MOST_KEYS + n));
  const found = rows.map((row) => measure(row, sigma));
  const norms = found.map(({ jacobian }) => jacobian);
  return {
    entropy: mean(found.map(({ entropy }) => entropy)),
    mean: mean(norms),
    median: median(norms),
    norms,
  };
}

/** What must be added to logit `key` to give it the weight `weight` among the others. */
export function liftFor(logits, key, weight) {
  const others = logits.filter((_, i) => i !== key);
  const top = others[peak(others)];
  const total = others.reduce((sum, logit) => sum + Math.exp(logit - top), 0);
  return Math.log(weight / (1 - weight)) + top + Math.log(total) - logits[key];
}

// ---------------------------------------------------------------------------------- the figure

const SCALES = [
  { exponent: 0, label: "none", series: 2 },
  { exponent: 0.5, label: "1/√d", series: 3 },
  { exponent: 1, label: "1/d", series: 4 },
];
const OCTAVES = 6; // of σ, to either side of 1
const SIGMAS = Array.from({ length: 6 * OCTAVES + 1 }, (_, i) => 2 ** (i / 3 - OCTAVES));
const FAINTEST = 1e-6; // where the axis of the weights ends
const STEADIEST = 1e-4; // where the axis of the gradients ends
const LARGEST = 30;
const BIGGEST_LIFT = 1000;
const STRIP = 24; // pixels

const SIGMA_AXIS = {
  low: 2 ** -OCTAVES,
  high: 2 ** OCTAVES,
  log: true,
  ticks: [[1 / 64, "1/64"], [1 / 16, "1/16"], [1 / 4, "1/4"], [1, "1"], [4, "4"], [16, "16"], [64, "64"]],
  title: "standard deviation σ of the logits",
};

const italic = (text) => element("i", {}, text);
const number = (text) => element("span", { class: "xp-number" }, text);

function build({ state, initial, change, save }) {
  const numbers = sample();
  const known = new Map(); // what 200 draws gave, for each n and σ

  // The weights of one query, and the same weights side by side.
  const weights = plane({ height: 236, left: 44, right: 30, top: 10 });
  const stems = shape("path", { class: "xp-stems" });
  const uniform = shape("path", { class: "xp-limit" });
  const chosen = shape("path", { class: "xp-chosen" });
  weights.content.append(stems, uniform, chosen);
  const knob = shape("circle", { class: "xp-chosen", r: 7 });
  const evenly = shape("text", { class: "xp-note xp-quiet" }, "1/n");
  const keyName = shape("text", { class: "xp-note xp-chosen" });
  weights.front.append(evenly, knob, keyName);
  const stage = element("div", { class: "xp-frame" }, weights.node);
  const strip = shape("svg", { class: "xp-plane", height: STRIP, "aria-hidden": "true" });
  const blocks = shape("path", { class: "xp-stems" });
  const crumbs = shape("rect", { class: "xp-cloud", height: STRIP });
  const ownBlock = shape("rect", { class: "xp-chosen", height: STRIP });
  strip.append(crumbs, blocks, ownBlock);

  const help = helpText(
    "Up and down arrow keys change the key’s logit by 0.5, with Shift by 4. ",
    "Left and right arrow keys choose another key.",
  );
  const grip = handle({
    label: "A key’s weight",
    name: "key",
    help,
    min: 0,
    max: 1,
    step: 0.5,
    bigStep: 4,
    onStep(dx, dy) {
      if (dx) choose(chosenKey() + Math.sign(dx) * (Math.abs(dx) > 1 ? 10 : 1));
      else raise(state.lift - dy);
    },
  });
  stage.append(grip.node);

  // What 200 queries give.
  const table = barTable({
    legend: "scale",
    columns: ["effective keys", "gradient, mean", "gradient, median"],
    rows: SCALES.map(({ exponent, label, series }) => ({ value: String(exponent), label, series })),
    onSelect: (value) => change({ exponent: Number(value) }),
  });
  const readout = element("p", { class: "xp-readout" });
  const own = element("p", { class: "xp-readout" });
  const powers = (label, name, low, high) =>
    slider({
      label,
      min: low,
      max: high,
      step: 1,
      onInput: (value) => change({ [name]: 2 ** value }),
    });
  const sliders = {
    d: powers(["head size ", italic("d")], "d", 4, 10),
    n: powers(["keys ", italic("n")], "n", 3, 10),
    sigma: slider({
      label: ["queries’ ", italic("σ"), element("sub", {}, "q")],
      min: 0.5,
      max: 2,
      step: 0.05,
      onInput: (value) => change({ sigma_q: value }),
    }),
  };
  const next = button("Another query", () => change({ draw: (state.draw + 1) % DRAWS, lift: 0 }), {
    "data-action": "next",
  });
  const reset = button("Reset", () => change(initial), { "data-action": "reset" });

  function chart(...title) {
    const axes = plane({ height: 220, left: 44, right: 12, top: 12 });
    const heading = element("p", { class: "xp-title" }, ...title);
    return { ...axes, box: element("div", {}, heading, axes.node) };
  }
  const entropy = chart(
    "Effective keys ",
    italic("e"),
    element("sup", {}, italic("H")),
    ": ",
    lineSample("xp-curve"),
    " measured, ",
    lineSample("xp-theory"),
    " theory",
  );
  const measured = shape("path", { class: "xp-curve" });
  const theory = shape("path", { class: "xp-theory" });
  const critical = shape("path", { class: "xp-limit" });
  const criticalValue = shape("tspan", { dy: -3 });
  const index = shape("tspan", { dy: 3, "font-size": 10 }, "c");
  const criticalName = shape("text", { class: "xp-note xp-quiet" }, "σ", index, criticalValue);
  entropy.content.append(critical, theory, measured);
  entropy.front.append(criticalName);
  const gradient = chart(
    "Gradient at the query: ",
    lineSample("xp-curve"),
    " mean, ",
    lineSample("xp-theory"),
    " median",
  );
  const meanLine = shape("path", { class: "xp-curve" });
  const medianLine = shape("path", { class: "xp-theory" });
  const cloud = shape("g", { class: "xp-cloud" });
  gradient.content.append(cloud, medianLine, meanLine);
  const marks = SCALES.map(({ exponent, label, series }) => {
    const dots = [0, 1, 2].map(() => shape("circle", { class: "xp-point", r: 5 }));
    const names = [0, 1].map(() => shape("text", { class: "xp-note" }, label));
    entropy.front.append(shape("g", { "data-series": series }, dots[0], names[0]));
    gradient.front.append(shape("g", { "data-series": series }, dots[2], dots[1], names[1]));
    return { exponent, dots, names };
  });

  const query = element(
    "div",
    {},
    element("p", { class: "xp-title" }, "Weights of one query over its keys (log axis)"),
    stage,
    element("p", { class: "xp-title" }, "The same weights side by side, largest first"),
    strip,
    own,
    element("div", { class: "xp-controls xp-presets" }, next, reset),
  );
  const body = element(
    "div",
    { class: "xp-body" },
    query,
    element(
      "div",
      {},
      table.node,
      readout,
      element("div", { class: "xp-controls xp-run" }, sliders.d.node, sliders.n.node, sliders.sigma.node),
    ),
    element("div", { class: "xp-charts" }, entropy.box, gradient.box),
    element(
      "p",
      { class: "xp-small" },
      "Curves and table are over 200 random queries, the dots in the last chart single ones. ",
      "Logits are drawn as N(0, σ²) with σ = σ",
      element("sub", {}, "q"),
      " d",
      element("sup", {}, "½ − c"),
      " for a scale of d",
      element("sup", {}, "−c"),
      ": keys of unit variance, a query of typical length. The gradient is that of one output ",
      "coordinate by the query, r.m.s. over random values of unit variance: (σ/σ",
      element("sub", {}, "q"),
      ") ‖J‖, with J the Jacobian of the softmax and ‖·‖ the Frobenius norm.",
    ),
  );

  const scale = (exponent = state.exponent) => logitScale(state.d, exponent, state.sigma_q);
  const limit = () => Math.sqrt(2 * Math.log(state.n));
  const chosenKey = () => Math.min(state.key, state.n - 1);
  const raise = (lift) => change({ lift: clamp(lift, -BIGGEST_LIFT, BIGGEST_LIFT) });
  const choose = (key) => change({ key: clamp(key, 0, state.n - 1), lift: 0 });

  /** The logits of the query shown, before and after the chosen key's is lifted. */
  function drawn() {
    const start = state.draw * MOST_KEYS;
    return numbers.slice(start, start + state.n).map((z) => scale() * z);
  }
  function lifted() {
    const logits = drawn();
    logits[chosenKey()] += state.lift;
    return logits;
  }

  function average(sigma) {
    const name = `${state.n} ${sigma}`;
    if (!known.has(name)) known.set(name, overDraws(numbers, state.n, sigma));
    return known.get(name);
  }

  function summary() {
    const { entropy: h, mean: average1, median: middle } = average(scale());
    const factor = scale() / state.sigma_q;
    const weight = softmax(lifted())[chosenKey()];
    return (
      `σ ${significant(scale())}: ${format(Math.exp(h), 1)} effective keys of ${state.n}; gradient mean ` +
      `${significant(factor * average1)}, median ${significant(factor * middle)}. ` +
      `Key ${chosenKey()} has weight ${significant(weight)}.`
    );
  }

  function drawWeights(width) {
    const { n } = state;
    const key = chosenKey();
    const logits = lifted();
    const p = softmax(logits);
    const ticks = [[1, "1"], [1e-2, "0.01"], [1e-4, "10⁻⁴"], [1e-6, "10⁻⁶"]];
    weights.fit(
      width,
      { low: 0, high: n, ticks: [[0.5, "0"], [n - 0.5, String(n - 1)]], title: "key" },
      { low: FAINTEST, high: 1, log: true, ticks },
    );
    const [across, down] = weights.size;
    const place = (i) => weights.at(i + 0.5, clamp(p[i], FAINTEST, 1));
    const visible = [...p.keys()].filter((i) => p[i] > FAINTEST && i !== key);
    const thick = clamp((0.6 * across) / n, 1, 12);
    const d = visible.map((i) => `M${place(i)[0]} ${down}V${place(i)[1]}`);
    set(stems, { d: d.join(""), "stroke-width": thick });
    const [x, y] = place(key);
    set(chosen, { d: `M${x} ${down}V${y}`, "stroke-width": Math.max(thick, 2.5) });
    set(knob, { cx: x, cy: y });
    const end = x > across / 2;
    const beside = { x: x + (end ? -13 : 13), "text-anchor": end ? "end" : "start" };
    set(keyName, { ...beside, y: clamp(y, 8, down - 12) });
    keyName.textContent = `key ${key}: ${significant(p[key])}`;
    const [, even] = weights.at(0, 1 / n);
    set(uniform, { d: `M0 ${even}H${across}` });
    set(evenly, { x: across + 6, y: even });
    const side = matchMedia("(pointer: coarse)").matches ? 44 : 24;
    const [left, top] = weights.origin;
    grip.place({ left: left + x - side / 2, top: top + y - side / 2, width: side, height: side });
    const told = `key ${key}: weight ${significant(p[key])}, logit ${format(logits[key], 1)}`;
    grip.describe(p[key].toFixed(6), told);
    drawStrip(p, width);
    const { entropy: h, jacobian } = measure(logits, 1);
    own.replaceChildren(
      "This query sees ",
      number(format(Math.exp(h), 1)),
      ` of ${n} keys; its ‖J‖ is `,
      number(significant(jacobian)),
      ". ",
      state.lift === 0
        ? "Drag the orange key up or down."
        : `Key ${key}’s logit is ${signed(state.lift, 1)} from where it was drawn.`,
    );
  }

  function drawStrip(p, width) {
    set(strip, { width, viewBox: `0 0 ${width} ${STRIP}` });
    const order = [...p.keys()].sort((i, j) => p[j] - p[i]);
    let left = 0;
    let d = "";
    set(ownBlock, { width: 0 });
    for (const i of order) {
      const share = p[i] * width;
      if (share < 2) break;
      if (i === chosenKey()) set(ownBlock, { x: left, width: share - 1 });
      else d += `M${left} ${STRIP / 2}h${share - 1}`;
      left += share;
    }
    set(blocks, { d, "stroke-width": STRIP });
    set(crumbs, { x: left, width: Math.max(width - left, 0) });
  }

  function drawCharts(width) {
    const { n } = state;
    const counts = [1, 4, 16, 64, 256].filter((count) => count < n);
    const ticks = [...counts, n].map((count) => [Math.log(count), String(count)]);
    entropy.fit(width, SIGMA_AXIS, { low: -0.25, high: 1.12 * Math.log(n), ticks });
    const all = SIGMAS.map((sigma) => ({ sigma, ...average(sigma) }));
    set(measured, { d: entropy.path(all.map(({ sigma, entropy: h }) => [sigma, h])) });
    const fine = Array.from({ length: 241 }, (_, i) => 2 ** (i / 20 - OCTAVES));
    set(theory, { d: entropy.path(fine.map((sigma) => [sigma, remEntropy(sigma, n)])) });
    const [x, top] = entropy.at(limit(), 1.06 * Math.log(n));
    set(critical, { d: `M${x} 0V400` });
    set(criticalName, { x: x + 6, y: top });
    criticalValue.textContent = ` = ${format(limit())}`;

    const factors = [[1e-4, "10⁻⁴"], [1e-3, "0.001"], [0.01, "0.01"], [0.1, "0.1"], [1, "1"], [10, "10"]];
    gradient.fit(width, SIGMA_AXIS, { low: STEADIEST, high: LARGEST, log: true, ticks: factors });
    const faced = (sigma, norm) => [sigma, Math.max((sigma / state.sigma_q) * norm, 1e-12)];
    set(meanLine, { d: gradient.path(all.map(({ sigma, mean: m }) => faced(sigma, m))) });
    set(medianLine, { d: gradient.path(all.map(({ sigma, median: m }) => faced(sigma, m))) });
    const dots = average(scale()).norms.map((norm) => gradient.at(...faced(scale(), norm)));
    cloud.replaceChildren(...dots.map(([cx, cy]) => shape("circle", { cx, cy, r: 2.5 })));
    const { series } = SCALES.find(({ exponent }) => exponent === state.exponent);
    for (const node of [query, cloud]) set(node, { "data-series": series });

    for (const { exponent, dots: [h, middle, center], names } of marks) {
      const sigma = scale(exponent);
      const found = average(sigma);
      const selected = String(exponent === state.exponent);
      const put = (dot, [cx, cy]) => set(dot, { cx, cy, "data-selected": selected });
      // Where the curve leaves room for it: after a falling one, before a rising one, above at the ends.
      const name = (text, [x, y], after) => {
        const crowded = after ? x > 0.85 * entropy.size[0] : x < 0.15 * gradient.size[0];
        const shift = crowded ? 0 : after ? 8 : -8;
        const anchor = after === crowded ? "end" : "start";
        set(text, { x: x + shift, y: y - (crowded ? 14 : 9), "text-anchor": anchor });
      };
      const onEntropy = entropy.at(sigma, found.entropy);
      const onMean = gradient.at(...faced(sigma, found.mean));
      put(h, onEntropy);
      put(center, onMean);
      const [, low] = faced(sigma, found.median);
      put(middle, gradient.at(sigma, Math.max(low, STEADIEST)));
      name(names[0], onEntropy, true);
      name(names[1], onMean, false);
    }
  }

  function drawPanel() {
    const { n, d } = state;
    table.select(String(state.exponent));
    for (const { exponent } of SCALES) {
      const sigma = scale(exponent);
      const found = average(sigma);
      const keys = Math.exp(found.entropy);
      const [center, middle] = [found.mean, found.median].map((norm) => (sigma / state.sigma_q) * norm);
      table.update(String(exponent), {
        share: keys / n,
        numbers: [keys < 10 ? format(keys, 1) : format(keys, 0), significant(center), significant(middle)],
        data: { sigma, entropy: found.entropy, mean: center, median: middle },
      });
    }
    const frozen = scale() > limit();
    const share = 100 * Math.exp(-(scale() ** 2) / 2);
    readout.replaceChildren(
      element("b", {}, italic("σ"), ` = ${significant(scale())}`),
      frozen ? ", beyond " : ", below ",
      italic("σ"),
      element("sub", {}, "c"),
      ` = ${format(limit())}: `,
      ...(frozen
        ? ["frozen. Nearly all weight is on a few keys, however many there are."]
        : [
            "soft. The weight is spread over about ",
            italic("e"),
            element("sup", {}, "−σ²/2"),
            ` = ${significant(share)} % of the keys.`,
          ]),
    );
    sliders.d.set(Math.log2(d), String(d));
    sliders.n.set(Math.log2(n), String(n));
    sliders.sigma.set(state.sigma_q, format(state.sigma_q));
  }

  function draw() {
    drawWeights(stage.clientWidth);
    drawCharts(entropy.box.clientWidth);
    drawPanel();
  }

  // With the mouse any key can be taken; a finger takes the handle, so that the page still scrolls.
  function pick(x, y, touch) {
    const [left, top] = [x - weights.origin[0], y - weights.origin[1]];
    const [across, down] = weights.size;
    const held = softmax(lifted());
    const [kx, ky] = weights.at(chosenKey() + 0.5, clamp(held[chosenKey()], FAINTEST, 1));
    const near = Math.hypot(left - kx, top - ky) < (touch ? 24 : 14);
    if (!near && (touch || left < 0 || left > across || top > down)) return null;
    const nearest = clamp(Math.floor((left / across) * state.n), 0, state.n - 1);
    const key = near ? chosenKey() : nearest;
    let way = null; // sideways chooses, up and down lifts: the first six pixels decide
    return {
      cursor: near ? "grab" : "pointer",
      node: grip.node,
      drag(dx, dy) {
        if (!near && chosenKey() !== key) choose(key);
        if (Math.hypot(dx, dy) > 6) way ??= Math.abs(dx) > Math.abs(dy) ? "aside" : "up";
        if (way === "aside") choose(Math.floor((((near ? kx : left) + dx) / across) * state.n));
        if (way !== "up") return;
        const from = near ? ky : top;
        const [, weight] = weights.valueAt(0, clamp(from + dy, 0, down));
        raise(liftFor(drawn(), key, clamp(weight, FAINTEST, 0.999)));
      },
      drop() {
        if (!near && chosenKey() !== key && way === null) choose(key);
        save.now();
      },
    };
  }
  draggable(stage, pick);

  return { body: [body, help], draw, summary };
}

const ABOUT = {
  ...{ name: "attention_temperature", title: "Temperature of attention" },
  style: "--xp-label-width: 9.4em; --xp-first-column: 33%",
};

export default { render: (page) => mount(page, ABOUT, build) };
