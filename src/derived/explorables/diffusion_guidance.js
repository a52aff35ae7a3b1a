// Guidance paths: where the ODE of a guided denoiser leads, beside the density one might expect.
//
// Data are a mixture of Gaussians in the plane, the condition asks for some of its components, and a
// noisy point is x = x0 + σ · noise (α = 1). The functions of the first half are the chapter's
// equations; they agree with derived.diffusion to 1e-9, which a test checks.

import {
  barTable,
  button,
  colorRamp,
  element,
  examples,
  format,
  gridPoints,
  mixtureAt,
  mount,
  normals,
  paintField,
  pointStage,
  set,
  shape,
  significant,
  slider,
} from "./kit.js";

export const SOLVERS = ["ddim", "heun", "dpmpp_2m"];
const LETTERS = "ABC";
const [HIGHEST, LOWEST, RHO] = [80, 0.002, 7]; // Karras's noise levels

// ---------------------------------------------------------------------------------- mathematics

/** `count` noise levels, evenly spaced in σ^(1/ρ), and 0. */
export function karrasSigmas(count) {
  const [from, to] = [HIGHEST, LOWEST].map((sigma) => sigma ** (1 / RHO));
  const level = (i) => (i === 0 ? HIGHEST : (from + (i / (count - 1)) * (to - from)) ** RHO);
  return [...Array.from({ length: count }, (_, i) => level(i)), 0];
}

/** The components that the letters name. */
export const named = (components, letters) =>
  [...letters].map((letter) => components[LETTERS.indexOf(letter)]);

/**
 * The guided denoiser (points, σ) → points: that of all data, plus `guidance` times the way from it
 * to that of the condition.
 */
export function guided({ components, population, condition, guidance }) {
  const [all, asked] = [population, condition].map((letters) => named(components, letters));
  return (points, sigma) => {
    const free = mixtureAt(all, points, sigma).denoised;
    const held = mixtureAt(asked, points, sigma).denoised;
    return free.map((value, i) => value + guidance * (held[i] - value));
  };
}

/** The points visited at each noise level on the way from `points` at sigmas[0] to the last. */
export function integrate(denoise, points, sigmas, solver) {
  const visited = [points];
  let before = null; // the last denoised points
  for (let i = 0; i + 1 < sigmas.length; i += 1) {
    const [from, to] = [sigmas[i], sigmas[i + 1]];
    const x = visited[i];
    const clean = denoise(x, from);
    const euler = () => x.map((value, j) => clean[j] + (to / from) * (value - clean[j]));
    if (to === 0) visited.push(clean);
    else if (solver === "heun") {
      const guess = euler();
      const there = denoise(guess, to);
      const slope = (j) => ((x[j] - clean[j]) / from + (guess[j] - there[j]) / to) / 2;
      visited.push(x.map((value, j) => value + (to - from) * slope(j)));
    } else if (solver === "dpmpp_2m" && before) {
      const half = Math.log(from / to) / (2 * Math.log(sigmas[i - 1] / from)); // 1/2r
      const last = before;
      const target = clean.map((value, j) => (1 + half) * value - half * last[j]);
      visited.push(x.map((value, j) => (to / from) * value + (1 - to / from) * target[j]));
    } else visited.push(euler());
    before = clean;
  }
  return visited;
}

/** How often a solver calls the network in so many steps. */
export const calls = (solver, steps) => (solver === "heun" ? 2 * steps - 1 : steps);

/** The mean and the standard deviations along x and y of points with weights of sum 1. */
export function moments(points, weights) {
  const mean = [0, 0];
  weights.forEach((weight, i) => {
    mean[0] += weight * points[2 * i];
    mean[1] += weight * points[2 * i + 1];
  });
  const variance = [0, 0];
  weights.forEach((weight, i) => {
    variance[0] += weight * (points[2 * i] - mean[0]) ** 2;
    variance[1] += weight * (points[2 * i + 1] - mean[1]) ** 2;
  });
  return { mean, std: variance.map(Math.sqrt) };
}

/** log p^(1 − w) p_c^w at points without noise, up to a constant. */
export function tiltedLog({ components, population, condition, guidance }, points) {
  const [all, asked] = [population, condition].map(
    (letters) => mixtureAt(named(components, letters), points, 0).logDensity,
  );
  return all.map((value, i) => (1 - guidance) * value + guidance * asked[i]);
}

const WIDE = gridPoints([10, 10], 160, 160); // as far and as fine as its moments need

/** The moments of the tilted density. */
export function tiltedMoments(state) {
  const log = tiltedLog(state, WIDE);
  const top = log.reduce((a, b) => Math.max(a, b));
  const weights = log.map((value) => Math.exp(value - top));
  const sum = weights.reduce((a, b) => a + b);
  return moments(WIDE, weights.map((weight) => weight / sum));
}

/** `count` starting points of pure noise at the highest level. */
export const noise = (seed, count) => normals(seed, 2 * count).map((value) => HIGHEST * value);

// ---------------------------------------------------------------------------------- the figure

const NAMES = { ddim: "DDIM (Euler)", heun: "Heun", dpmpp_2m: "DPM++ (2M)" };
const SERIES = [2, 4, 3];
const REACH = [4, 4]; // of the stages, either way
const CELLS = 100;
const LEVELS = [0.2, 0.4, 0.6, 0.8, 0.95]; // of √(p / its largest value)
const SAMPLES = 400;
const PATHS = 24; // how many of them are drawn
const JUDGED = 60; // and compared with the reference
const FINE = 128; // steps of the reference
const MOST_STEPS = 50;
const MOST_GUIDANCE = 8;
const SEEDS = 9999;
const THREE = [[-1.6, -1, 0.7], [1.6, -1, 0.7], [0, 1.6, 0.7]];
const PRESETS = {
  "one of three": { components: THREE, population: "ABC", condition: "A", guidance: 3 },
  "the middle one": {
    ...{ components: [[-1.4, 0, 0.6], [0, 0, 0.6], [1.4, 0, 0.6]] },
    ...{ population: "ABC", condition: "B", guidance: 3 },
  },
  "two Gaussians": {
    ...{ components: [[0, 0, 1], [0, 0, Math.SQRT2], [0, 0, 1]] },
    ...{ population: "B", condition: "A", guidance: 4 },
  },
  "no guidance": { components: THREE, population: "ABC", condition: "ABC", guidance: 1 },
};

const cells = gridPoints(REACH, CELLS, CELLS);
const place = ([x, y]) => `(${format(x)}, ${format(y)})`;

/** Where a point is drawn: shrunk so that noise of any level fits on the stage. */
const shrunk = (value, sigma) => value / Math.hypot(1, sigma);

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.floor(middle - 0.5)] + sorted[Math.ceil(middle - 0.5)]) / 2;
}

/** The median distance of the first points of `ends` from those of `others`. */
function distance(ends, others) {
  const count = Math.min(ends.length, others.length) / 2;
  const far = (_, i) => Math.hypot(ends[2 * i] - others[2 * i], ends[2 * i + 1] - others[2 * i + 1]);
  return median(Array.from({ length: count }, far));
}

function build({ root, state, initial, change, save }) {
  const known = { tilted: "", reference: "", painted: "" }; // what was computed and drawn last
  const now = {}; // what follows from the state

  const points = Object.fromEntries(
    [...LETTERS].map((text, k) => [text, { label: `Component ${text}`, text, series: SERIES[k] }]),
  );
  const sampled = pointStage({
    ...{ reach: REACH, points },
    onMove(name, to) {
      const moved = (own, k) => (LETTERS[k] === name ? [...to, own[2]] : own);
      change({ components: state.components.map(moved) });
    },
    onDrop: save.now,
  });
  const expected = pointStage({ reach: REACH, points: {}, onMove() {} });
  const rings = [...LETTERS].map((letter, k) => shape("circle", { class: "xp-ring", "data-series": SERIES[k] }));
  const paths = shape("path", { class: "xp-flow" });
  const stops = shape("path", { class: "xp-stops" });
  const dots = shape("path", { class: "xp-samples" });
  const means = shape("path", { class: "xp-mean" });
  sampled.drawing.append(...rings, paths, stops, dots, means, sampled.layer);
  const expectedMean = shape("path", { class: "xp-mean" });
  expected.drawing.append(expectedMean);
  const told = { sampled: element("p", { class: "xp-title" }), tilted: element("p", { class: "xp-title" }) };
  const panel = (title, stage, words) =>
    element("div", {}, element("p", { class: "xp-title xp-strong" }, ...title), stage.node, words);

  const guidance = slider({
    ...{ label: "guidance", min: 0, max: MOST_GUIDANCE, step: 0.25 },
    onInput: (value) => change({ guidance: value }),
  });
  const steps = slider({
    ...{ label: "steps", min: 1, max: MOST_STEPS, step: 1 },
    onInput: (value) => change({ steps: value }),
  });
  const table = barTable({
    legend: "solver",
    columns: ["network calls", "error"],
    rows: SOLVERS.map((value, i) => ({ value, label: NAMES[value], series: i + 1 })),
    onSelect: (solver) => change({ solver }),
  });
  const next = () => change({ seed: (state.seed % SEEDS) + 1 });
  const drawAgain = button("New noise", next, { "data-action": "draw" });
  const reset = button("Reset", () => change(initial), { "data-action": "reset" });
  const presets = examples(PRESETS, change);
  const [up, down] = ["sup", "sub"].map((tag) => (text) => element(tag, {}, text));
  const asked = down("");
  const body = element(
    "div",
    { class: "xp-body xp-halves" },
    panel(["What guidance samples"], sampled, told.sampled),
    element(
      "div",
      { class: "xp-controls" },
      element("div", { class: "xp-run" }, guidance.node, steps.node, drawAgain, reset),
      presets,
    ),
    panel(["Tilted density p", up("1 − w"), " p", asked, up("w")], expected, told.tilted),
    table.node,
    element(
      "p",
      { class: "xp-small" },
      `${SAMPLES} samples, and the paths of ${PATHS} from noise to data with a dot at each step; a noisy `,
      "point is drawn at x/√(1 + σ²). Dashed circles have the radius of one std. The contour lines on both ",
      "sides are those of the tilted density; crosses mark means. The error is the median distance of a solver’s samples from those of ",
      `${FINE} Heun steps, over ${JUDGED}.`,
    ),
  );

  function summary() {
    const { solver } = state;
    return (
      `Guidance ${format(state.guidance)}, ${NAMES[solver]}, ${calls(solver, state.steps)} network calls, ` +
      `error ${significant(now.errors[solver])}. Samples: ${inWords(now.sampled)}. ` +
      `Tilted density: ${inWords(now.tilted)}.`
    );
  }

  const inWords = ({ mean, std }) => `mean ${place(mean)}, std ${place(std)}`;

  /** Everything that follows from the state; what stayed the same is not computed again. */
  function follow() {
    const { components, population, condition, seed, solver } = state;
    const what = JSON.stringify([components, population, condition, state.guidance]);
    const denoise = guided(state);
    if (known.tilted !== what) {
      known.tilted = what;
      now.tilted = tiltedMoments(state);
      const log = tiltedLog(state, cells);
      const top = log.reduce((a, b) => Math.max(a, b));
      now.field = log.map((value) => Math.exp((value - top) / 2));
    }
    const start = noise(seed, SAMPLES);
    const few = start.slice(0, 2 * JUDGED);
    if (known.reference !== what + seed) {
      known.reference = what + seed;
      now.reference = integrate(denoise, few, karrasSigmas(FINE), "heun").at(-1);
    }
    const sigmas = karrasSigmas(state.steps);
    now.sigmas = sigmas;
    now.visited = integrate(denoise, start, sigmas, solver);
    now.sampled = moments(now.visited.at(-1), new Float64Array(SAMPLES).fill(1 / SAMPLES));
    const ends = (other) =>
      other === solver ? now.visited.at(-1).slice(0, few.length) : integrate(denoise, few, sigmas, other).at(-1);
    now.errors = Object.fromEntries(SOLVERS.map((other) => [other, distance(ends(other), now.reference)]));
  }

  function cross(stage, [x, y]) {
    const [px, py] = stage.at(x, y);
    return `M${px - 6} ${py}h12M${px} ${py - 6}v12`;
  }

  function drawField() {
    const theme = getComputedStyle(root).getPropertyValue("--xp-ramp-4");
    const key = JSON.stringify([known.tilted, expected.scale(), theme]);
    if (key === known.painted) return;
    known.painted = key;
    const line = getComputedStyle(root).getPropertyValue("--xp-level");
    const field = { values: now.field, columns: CELLS, rows: CELLS };
    const ramp = colorRamp(root);
    const how = { low: 0, high: 1, levels: LEVELS, line };
    paintField(expected.canvas, field, { ramp, ...how });
    const paper = ramp(0);
    paintField(sampled.canvas, field, { ramp: () => paper, ...how });
  }

  function drawPaths() {
    const at = (level, i) => {
      const [x, y] = [0, 1].map((k) => shrunk(now.visited[level][2 * i + k], now.sigmas[level]));
      return sampled.at(x, y).map((pixel) => pixel.toFixed(1)).join(" ");
    };
    const last = now.sigmas.length - 1;
    const levels = [...now.sigmas.keys()];
    const all = Array.from({ length: SAMPLES }, (_, i) => i);
    const drawn = all.slice(0, PATHS);
    set(paths, { d: drawn.map((i) => `M${levels.map((level) => at(level, i)).join("L")}`).join("") });
    set(stops, { d: drawn.flatMap((i) => levels.map((level) => `M${at(level, i)}h0`)).join("") });
    set(dots, { d: all.map((i) => `M${at(last, i)}h0`).join("") });
    set(means, { d: cross(sampled, now.sampled.mean) });
    set(expectedMean, { d: cross(expected, now.tilted.mean) });
  }

  function drawPanel() {
    const most = Math.max(...Object.values(now.errors));
    table.select(state.solver);
    for (const solver of SOLVERS) {
      const error = now.errors[solver];
      const count = calls(solver, state.steps);
      const numbers = [String(count), significant(error)];
      table.update(solver, { share: error / most, numbers, data: { value: error, calls: count } });
    }
    asked.textContent = state.condition;
    guidance.set(state.guidance, `w ${format(state.guidance)}`);
    steps.set(state.steps);
    for (const which of ["sampled", "tilted"]) {
      const { mean, std } = now[which];
      told[which].replaceChildren(
        ...["mean ", element("span", { class: "xp-number" }, place(mean))],
        ...[", std ", element("span", { class: "xp-number" }, place(std))],
      );
    }
    [...LETTERS].forEach((letter, k) => {
      const used = (state.population + state.condition).includes(letter);
      const [x, y, std] = state.components[k];
      const asked = state.condition.includes(letter);
      const part = asked ? "in the condition" : "not in the condition";
      sampled.show(letter, used ? [x, y] : null, `std ${format(std)}, ${part}`, asked);
      const [cx, cy] = sampled.at(x, y);
      set(rings[k], { cx, cy, r: used ? std * sampled.scale() : 0 });
    });
  }

  function draw() {
    follow();
    root.dataset.moments = JSON.stringify({ sampled: now.sampled, tilted: now.tilted });
    drawField();
    drawPaths();
    drawPanel();
  }

  function fit(across) {
    known.painted = "";
    sampled.fit(across);
    expected.fit(across);
  }

  return { body, draw, summary, fit, stage: sampled.node };
}

const ABOUT = {
  ...{ name: "guidance_paths", title: "Guidance paths" },
  style: "--xp-label-width: 7.6em",
};

export default { render: (page) => mount(page, ABOUT, build) };
