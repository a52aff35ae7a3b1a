// Denoise a point: what a noisy point says about the clean one it came from.
//
// Data are a mixture of three Gaussians in the plane; a noisy point is x = x0 + σ · noise (α = 1). The
// functions of the first half are the chapter's equations; they agree with derived.diffusion to 1e-9,
// which a test checks.

import {
  arrowPath,
  barTable,
  button,
  colorRamp,
  element,
  examples,
  format,
  gridPoints,
  mixtureAt,
  mount,
  paintField,
  pointStage,
  set,
  shape,
  slider,
  toggle,
} from "./kit.js";

// ---------------------------------------------------------------------------------- mathematics

/** log p_σ at points [x, y, x, y, …]. */
export const logDensity = (components, points, sigma) => mixtureAt(components, points, sigma).logDensity;

/** ∇ log p_σ at points, by Tweedie's formula: (E[x0 | x] − x) / σ². */
export function score(components, points, sigma) {
  const { denoised } = mixtureAt(components, points, sigma);
  return denoised.map((mean, i) => (mean - points[i]) / sigma ** 2);
}

/**
 * What is known of x0 given one point x = [x, y]: the probabilities `shares` of the components, the
 * `mean` E[x0 | x] and the covariance [[a, b], [b, c]], which is that within the components and
 * that of their means.
 */
export function posterior(components, point, sigma) {
  const { shares, denoised, logDensity: log } = mixtureAt(components, point, sigma);
  const mean = [...denoised];
  const covariance = [[0, 0], [0, 0]];
  components.forEach(([mx, my, std], k) => {
    const gain = std ** 2 / (std ** 2 + sigma ** 2);
    const apart = [mx, my].map((m, i) => m + gain * (point[i] - m) - mean[i]);
    for (const i of [0, 1]) {
      covariance[i][i] += shares[k] * gain * sigma ** 2;
      for (const j of [0, 1]) covariance[i][j] += shares[k] * apart[i] * apart[j];
    }
  });
  return { shares: [...shares], mean, covariance, logDensity: log[0] };
}

/** The standard deviations along the axes of a covariance, the long one first, and its angle. */
export function ellipse([[a, b], [, c]]) {
  const middle = (a + c) / 2;
  const spread = Math.hypot((a - c) / 2, b);
  return {
    long: Math.sqrt(middle + spread),
    short: Math.sqrt(Math.max(middle - spread, 0)),
    angle: Math.atan2(2 * b, a - c) / 2,
  };
}

// ---------------------------------------------------------------------------------- the figure

const LETTERS = ["A", "B", "C"];
const SERIES = [2, 4, 3];
const REACH = [4, 3]; // of the stage, either way
const GRID = [120, 90]; // cells of the density
const FIELD = [12, 9]; // arrows of the score
const LEVELS = [0.15, 0.4, 0.65, 0.9]; // of p / its largest value
const STDS = [0.1, 1.5];
const DATA = [[-2.1, -1.1, 0.35], [2.1, -1.1, 0.35], [0, 1.8, 0.35]];
const PRESETS = {
  "torn between two": { components: DATA, probe: [0.15, -2], sigma: 1 },
  "nearly clean": { components: DATA, probe: [0.15, -2], sigma: 0.3 },
  "only noise": { components: DATA, probe: [0.15, -2], sigma: 8 },
  "far out": { components: DATA, probe: [-3.4, 2.4], sigma: 0.8 },
  "one Gaussian": {
    ...{ components: [[0, 0, 0.8], [0, 0, 0.8], [0, 0, 0.8]], probe: [2.4, 1.2], sigma: 0.8 },
  },
};

const cells = gridPoints(REACH, ...GRID);
const tails = gridPoints(REACH, ...FIELD);

const percent = (share) => `${Math.round(100 * share)} %`;
const place = ([x, y]) => `(${format(x)}, ${format(y)})`;

function build({ root, state, initial, change, redraw, save }) {
  let chosen = 0; // the component whose width the slider sets
  let painted = ""; // what the heat map shows, to paint it only when that changes
  let now = {}; // what follows from the state

  // The stage, from back to front: density, score, posterior, points.
  const points = { x: { label: "Noisy point x", text: "x" } };
  LETTERS.forEach((letter, k) => {
    points[letter] = { label: `Component ${letter}`, text: letter, series: SERIES[k] };
  });
  const stage = pointStage({
    ...{ reach: REACH, points },
    onMove(name, to) {
      if (name === "x") change({ probe: to });
      else alter(LETTERS.indexOf(name), ([, , std]) => [...to, std]);
    },
    onFocus(name) {
      if (name !== "x") choose(LETTERS.indexOf(name));
    },
    onDrop: save.now,
  });
  const scoreArrows = shape("path", { class: "xp-score" });
  const circle = shape("circle", { class: "xp-aid" });
  const oval = shape("ellipse", { class: "xp-oval" });
  const halo = shape("path", { class: "xp-arrow-halo" });
  const arrow = shape("path", { class: "xp-arrow" });
  const mark = shape("circle", { class: "xp-dot", r: 4 });
  const tweedie = shape("g", { class: "xp-tweedie" }, oval, halo, arrow, mark);
  stage.drawing.append(scoreArrows, circle, tweedie, stage.layer);
  const scoreKey = element("span", { class: "xp-key xp-key-score" }, "σ · score");
  const legend = element(
    "p",
    { class: "xp-legend" },
    element("span", { class: "xp-key xp-key-arrow xp-tweedie" }, "x to E[x₀ | x]"),
    element("span", { class: "xp-key xp-key-oval xp-tweedie" }, "Cov[x₀ | x], 1 std"),
    element("span", { class: "xp-key xp-key-circle" }, "radius σ"),
    scoreKey,
  );

  const noise = slider({
    ...{ label: "noise", min: -4.3, max: 3, step: 0.05 }, // of log₂ σ
    onInput: (octave) => change({ sigma: Number((2 ** octave).toPrecision(3)) }),
  });
  const table = barTable({
    legend: "component",
    columns: ["share of x", "std"],
    rows: LETTERS.map((value, k) => ({ value, label: value, series: SERIES[k] })),
    onSelect: (letter) => choose(LETTERS.indexOf(letter)),
  });
  const width = slider({
    ...{ label: "std", min: STDS[0], max: STDS[1], step: 0.05 },
    onInput: (std) => alter(chosen, ([x, y]) => [x, y, std]),
  });
  const field = toggle(["score field"], (checked) => change({ field: checked }));
  const readout = element("p", { class: "xp-readout xp-tall" });
  const reset = button("Reset", () => change(initial), { "data-action": "reset" });
  const presets = examples(PRESETS, change);
  const body = element(
    "div",
    { class: "xp-body" },
    element(
      "div",
      {},
      ...[legend, stage.node],
      element("div", { class: "xp-controls xp-run" }, noise.node, field.node, reset),
    ),
    element(
      "div",
      {},
      ...[table.node, readout],
      element("div", { class: "xp-controls" }, width.node, presets),
    ),
    element(
      "p",
      { class: "xp-small" },
      "Shading and lines: the density of noisy data, darkest where it is largest. The arrows of the ",
      "field are (E[x₀ | x] − x)/σ, long ones shortened. The components are equally likely; each ",
      "one’s share of x is the probability that x came from it.",
    ),
  );

  const alter = (k, make) =>
    change({ components: state.components.map((own, i) => (i === k ? make(own) : own)) });

  function choose(k) {
    if (k === chosen) return;
    chosen = k;
    redraw();
  }

  function summary() {
    const { shares, mean, axes } = now;
    const from = LETTERS.map((letter, k) => `${letter} ${percent(shares[k])}`).join(", ");
    return (
      `σ ${format(state.sigma)}. x ${place(state.probe)} is from ${from}. Its denoised mean is ` +
      `${place(mean)}, with standard deviations ${format(axes.long)} and ${format(axes.short)}.`
    );
  }

  function drawDensity() {
    const { components, sigma } = state;
    const theme = getComputedStyle(root).getPropertyValue("--xp-ramp-4");
    const key = JSON.stringify([components, sigma, stage.scale(), theme]);
    if (key === painted) return;
    painted = key;
    const log = logDensity(components, cells, sigma);
    const top = log.reduce((a, b) => Math.max(a, b));
    const values = log.map((value) => Math.exp(value - top));
    const line = getComputedStyle(root).getPropertyValue("--xp-contour");
    const how = { ramp: colorRamp(root), low: 0, high: 1, levels: LEVELS, line };
    paintField(stage.canvas, { values, columns: GRID[0], rows: GRID[1] }, how);
  }

  function drawScore() {
    set(scoreArrows, { display: state.field ? null : "none" });
    scoreKey.hidden = !state.field;
    if (!state.field) return;
    const field = score(state.components, tails, state.sigma);
    const longest = (0.8 * 2 * REACH[0] * stage.scale()) / FIELD[0];
    let d = "";
    for (let i = 0; i < tails.length; i += 2) {
      const size = state.sigma * Math.hypot(field[i], field[i + 1]);
      const length = (longest * size) / (0.7 + size);
      const [ux, uy] = [(state.sigma * field[i]) / size, (-state.sigma * field[i + 1]) / size];
      const [x, y] = stage.at(tails[i], tails[i + 1]);
      const tip = [x + (length / 2) * ux, y + (length / 2) * uy];
      const head = Math.min(4, length / 2);
      const wing = (side) =>
        `${(tip[0] - head * ux - side * head * uy).toFixed(1)} ${(tip[1] - head * uy + side * head * ux).toFixed(1)}`;
      const end = tip.map((pixel) => pixel.toFixed(1)).join(" ");
      d += `M${(x - (length / 2) * ux).toFixed(1)} ${(y - (length / 2) * uy).toFixed(1)}L${end}`;
      d += `M${wing(0.6)}L${end}L${wing(-0.6)}`;
    }
    set(scoreArrows, { d });
  }

  function drawPosterior() {
    const { mean, axes } = now;
    const unit = stage.scale();
    const [x, y] = stage.at(...state.probe);
    const [cx, cy] = stage.at(...mean);
    const [dx, dy] = [cx - x, cy - y];
    const length = Math.hypot(dx, dy);
    const d = length > 1 ? arrowPath([x, y], [dx / length, dy / length], length) : "";
    set(halo, { d });
    set(arrow, { d });
    set(mark, { cx, cy });
    set(circle, { cx, cy, r: state.sigma * unit });
    const turn = (-180 * axes.angle) / Math.PI;
    const size = { rx: axes.long * unit, ry: axes.short * unit };
    set(oval, { ...size, transform: `translate(${cx} ${cy}) rotate(${turn})` });
  }

  function drawPanel() {
    const { shares, mean, axes } = now;
    table.select(LETTERS[chosen]);
    LETTERS.forEach((letter, k) => {
      const [x, y, std] = state.components[k];
      const data = { value: shares[k] };
      table.update(letter, { share: shares[k], numbers: [percent(shares[k]), format(std)], data });
      stage.show(letter, [x, y], `std ${format(std)}, share of x ${percent(shares[k])}`);
    });
    stage.show("x", state.probe, `denoised to ${place(mean)}`);
    noise.set(Math.log2(state.sigma), `σ ${format(state.sigma)}`);
    width.set(state.components[chosen][2], `${LETTERS[chosen]} ${format(state.components[chosen][2])}`);
    field.set(state.field);
    const number = (text) => element("span", { class: "xp-number" }, text);
    readout.replaceChildren(
      ...["E[x₀ | x] is ", number(place(mean)), "; x₀ lies about it with standard deviations "],
      ...[number(format(axes.long)), " and ", number(format(axes.short)), ". "],
      axes.long > state.sigma
        ? "The longer one is above σ: along it log p curves upward, and the ODE parts neighbors of x."
        : "Both are below σ: log p curves downward, and the ODE gathers neighbors of x.",
    );
  }

  function draw() {
    const { components, probe, sigma } = state;
    const found = posterior(components, probe, sigma);
    now = { ...found, axes: ellipse(found.covariance) };
    root.dataset.posterior = JSON.stringify(found);
    drawDensity();
    drawScore();
    drawPosterior();
    drawPanel();
  }

  function fit(across) {
    painted = "";
    stage.fit(across);
  }

  return { body, draw, summary, fit, stage: stage.node };
}

const ABOUT = {
  ...{ name: "denoise_a_point", title: "Denoise a point" },
  style: "--xp-label-width: 6.2em",
};

export default { render: (page) => mount(page, ABOUT, build) };
