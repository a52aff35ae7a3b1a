// Push a box: what gradient descent on an IoU loss does to the edges of a box.
//
// Boxes are [x1, y1, x2, y2]; A is the prediction, B the target. The functions of the first half
// are the chapter's equations; they agree with derived.iou to 1e-9, which a test checks.

import {
  OWN_KEYS,
  animate,
  announcer,
  barTable,
  button,
  clamp,
  colorRamp,
  draggable,
  element,
  format,
  handle,
  paintField,
  set,
  shape,
  signed,
  slider,
  throttle,
  toggle,
  watchTheme,
} from "./kit.js";

export const KINDS = ["iou", "giou", "diou", "ciou"];

// ---------------------------------------------------------------------------------- mathematics

/** The derivative of min(mine, other) by mine; at a tie one half, as torch has it. */
const picks = (mine, other) => (mine < other ? 1 : mine > other ? 0 : 0.5);

/**
 * What the losses need along one axis: the size of A, the signed overlap, the hull's length, the
 * centers' offset, and the derivatives of overlap and hull by A's low and high edge.
 */
function along(low, high, targetLow, targetHigh) {
  return {
    size: high - low,
    target: targetHigh - targetLow,
    overlap: Math.min(high, targetHigh) - Math.max(low, targetLow),
    overlapBy: [-picks(targetLow, low), picks(high, targetHigh)],
    hull: Math.max(high, targetHigh) - Math.min(low, targetLow),
    hullBy: [-picks(low, targetLow), picks(targetHigh, high)],
    offset: (low + high - targetLow - targetHigh) / 2,
  };
}

/** The gradient by A’s edges of f(x-axis) · g(y-axis). */
const productBy = (x, y, xBy, yBy) => [xBy[0] * y, x * yBy[0], xBy[1] * y, x * yBy[1]];
const combine = (...terms) => [0, 1, 2, 3].map((i) => terms.reduce((sum, [c, g]) => sum + c * g[i], 0));

/** arctan(w/h); a point counts as a square. */
const angle = (w, h) => (w === 0 && h === 0 ? Math.PI / 4 : Math.atan2(w, h));

/** Everything about a pair of boxes: intersection, union, hull, center distance, aspect term. */
function measure(a, b) {
  const x = along(a[0], a[2], b[0], b[2]);
  const y = along(a[1], a[3], b[1], b[3]);
  const meet = x.overlap > 0 && y.overlap > 0; // boxes that only touch count as separated
  const intersection = meet ? x.overlap * y.overlap : 0;
  const union = x.size * y.size + x.target * y.target - intersection;
  const equal = a.every((edge, i) => edge === b[i]);
  const delta = angle(x.target, y.target) - angle(x.size, y.size);
  const iou = union > 0 ? intersection / union : Number(equal);
  const aspect = (4 / Math.PI ** 2) * delta ** 2;
  return {
    ...{ x, y, meet, intersection, union, iou, delta, aspect },
    hull: x.hull * y.hull,
    diagonal2: x.hull ** 2 + y.hull ** 2,
    distance2: x.offset ** 2 + y.offset ** 2,
    alpha: aspect > 0 ? aspect / (1 - iou + aspect) : 0,
  };
}

const ratio = (part, whole) => (whole > 0 ? part / whole : 0);

/** 1 for identical boxes, smaller the worse A fits B. `kind` is one of KINDS. */
export function similarity(kind, a, b) {
  const m = measure(a, b);
  switch (kind) {
    case "iou":
      return m.iou;
    case "giou":
      return m.iou - ratio(m.hull - m.union, m.hull);
    case "diou":
      return m.iou - ratio(m.distance2, m.diagonal2);
    case "ciou":
      return m.iou - ratio(m.distance2, m.diagonal2) - m.alpha * m.aspect;
    default:
      throw new Error(`kind must be one of ${KINDS.join(", ")}; got ${kind}`);
  }
}

export const iou = (a, b) => similarity("iou", a, b);
export const giou = (a, b) => similarity("giou", a, b);
export const diou = (a, b) => similarity("diou", a, b);
export const ciou = (a, b) => similarity("ciou", a, b);
export const loss = (kind, a, b) => 1 - similarity(kind, a, b);

/**
 * The gradient of the loss by A's edges [x1, y1, x2, y2]. `detachEnclosing` holds the hull's
 * quantity fixed (|C| in GIoU, c² in DIoU and CIoU), `detachAlpha` holds CIoU's α fixed.
 */
export function gradient(kind, a, b, { detachEnclosing = false, detachAlpha = true } = {}) {
  const m = measure(a, b);
  const { x, y } = m;
  const none = [0, 0, 0, 0];
  const areaBy = productBy(x.size, y.size, [-1, 1], [-1, 1]);
  const meetBy = m.meet ? productBy(x.overlap, y.overlap, x.overlapBy, y.overlapBy) : none;
  const unionBy = combine([1, areaBy], [-1, meetBy]);
  const iouBy =
    m.union > 0 ? combine([1 / m.union, meetBy], [-m.intersection / m.union ** 2, unionBy]) : none;
  if (kind === "iou") return combine([-1, iouBy]);
  if (kind === "giou") {
    if (m.hull === 0) return none;
    const hullBy = productBy(x.hull, y.hull, x.hullBy, y.hullBy);
    const pull = detachEnclosing ? 0 : m.union / m.hull ** 2;
    return combine([-1, iouBy], [-1 / m.hull, unionBy], [pull, hullBy]);
  }
  if (kind !== "diou" && kind !== "ciou") throw new Error(`no such kind: ${kind}`);
  if (m.diagonal2 === 0) return none;
  const distance2By = [x.offset, y.offset, x.offset, y.offset];
  const diagonal2By = [x, y, x, y].map((axis, i) => 2 * axis.hull * axis.hullBy[i < 2 ? 0 : 1]);
  const push = detachEnclosing ? 0 : -m.distance2 / m.diagonal2 ** 2;
  const dioulike = combine([1 / m.diagonal2, distance2By], [push, diagonal2By]);
  if (kind === "diou") return combine([-1, iouBy], [1, dioulike]);
  const turn = ratio((8 / Math.PI ** 2) * m.delta, x.size ** 2 + y.size ** 2);
  const aspectBy = [turn * y.size, -turn * x.size, -turn * y.size, turn * x.size];
  const { alpha } = m;
  return detachAlpha
    ? combine([-1, iouBy], [1, dioulike], [alpha, aspectBy])
    : combine([alpha ** 2 - 1, iouBy], [1, dioulike], [alpha * (2 - alpha), aspectBy]);
}

const SMALLEST = 0.01;

/** One step of size `rate` down the gradient in (center, width, height); sizes stay positive. */
function step(kind, a, b, rate, options) {
  const g = gradient(kind, a, b, options);
  const next = [0, 0, 0, 0];
  for (const k of [0, 1]) {
    const center = (a[k] + a[k + 2]) / 2 - rate * (g[k] + g[k + 2]);
    const size = Math.max(a[k + 2] - a[k] - (rate * (g[k + 2] - g[k])) / 2, SMALLEST);
    next[k] = center - size / 2;
    next[k + 2] = center + size / 2;
  }
  return next;
}

/**
 * The boxes that gradient descent visits, A first. The rule is the regression simulation's of
 * Zheng et al. (2020): steps 0.1 (2 − IoU) times the gradient in (center, width, height), ten times
 * smaller from 80 % of the steps on and again from 90 % on.
 */
export function descend(kind, a, b, { steps = 200, rate = 0.1, ...options } = {}) {
  const trail = [a];
  for (let i = 0; i < steps; i += 1) {
    const box = trail[i];
    const decay = i < 0.8 * steps ? 1 : i < 0.9 * steps ? 0.1 : 0.01;
    trail.push(step(kind, box, b, rate * decay * (2 - iou(box, b)), options));
  }
  return trail;
}

/** The loss for A's size at the centers of columns × rows equal cells of [0, width] × [0, height]. */
export function lossField(kind, a, b, { width, height, columns, rows }) {
  const w = (a[2] - a[0]) / 2;
  const h = (a[3] - a[1]) / 2;
  const values = new Float64Array(columns * rows);
  for (let row = 0; row < rows; row += 1) {
    const y = ((row + 0.5) * height) / rows;
    for (let column = 0; column < columns; column += 1) {
      const x = ((column + 0.5) * width) / columns;
      values[row * columns + column] = loss(kind, [x - w, y - h, x + w, y + h], b);
    }
  }
  return { values, columns, rows };
}

// ---------------------------------------------------------------------------------- the figure

const WIDTH = 7; // of the stage, in units of the boxes' coordinates
const HEIGHT = 5;
const PER_UNIT = 20; // what is dragged snaps to 1/20, so that edges can be aligned exactly
const MINIMUM = 0.1;
const STEPS = 200;
const LEVELS = Array.from({ length: 25 }, (_, i) => (i + 1) / 10);
const WORST = 2.5; // no loss of the four reaches more
const DARKEST = 2; // where the shading ends; only CIoU reaches more
const NAMES = { iou: "IoU", giou: "GIoU", diou: "DIoU", ciou: "CIoU" };
const EDGES = ["x1", "y1", "x2", "y2"];
const PRESETS = {
  "far, on axis": { a: [1.5, 2, 2.5, 3], b: [4.5, 2, 5.5, 3] },
  "far, diagonal": { a: [1.75, 0.75, 2.75, 1.75], b: [4.25, 3.25, 5.25, 4.25] },
  overlap: { a: [2, 1.25, 3.5, 2.75], b: [2.75, 2, 4.75, 3.5] },
  nested: { a: [2.25, 1.5, 3.25, 2.5], b: [1.75, 1, 5.25, 4] },
  "thin cross": { a: [1.5, 2.3, 5.5, 2.7], b: [3.3, 0.5, 3.7, 4.5] },
};

const snap = (value) => Math.round(value * PER_UNIT) / PER_UNIT;
/** Drop the rounding noise of a sum, which would break ties between aligned edges. */
const tidy = (value) => Math.round(value * 1e9) / 1e9;

function moved(box, dx, dy) {
  const [w, h] = [box[2] - box[0], box[3] - box[1]];
  const x = clamp(snap(box[0] + dx), 0, WIDTH - w);
  const y = clamp(snap(box[1] + dy), 0, HEIGHT - h);
  return [x, y, x + w, y + h].map(tidy);
}

/** The box with the corner (i, j), which are indices of its edges, moved. */
function resized(box, [i, j], dx, dy) {
  const next = [...box];
  const low = (k) => (k < 2 ? 0 : box[k - 2] + MINIMUM);
  const high = (k) => (k < 2 ? box[k + 2] - MINIMUM : [WIDTH, HEIGHT][k - 2]);
  next[i] = clamp(snap(box[i] + dx), low(i), high(i));
  next[j] = clamp(snap(box[j] + dy), low(j), high(j));
  return next;
}

/** Pixels for a force: logarithmic, from 0 at 0.001 to `longest` at 1. */
const arrowLength = (size, longest) => longest * clamp(1 + Math.log10(size) / 3, 0, 1.15);

/** Where a force of this size is too small to draw: rounding, not mathematics. */
const isZero = (value) => Math.abs(value) < 1e-12;

function strength(value) {
  const size = Math.abs(value);
  if (isZero(value)) return "0";
  return size < 0.001 ? "<0.001" : String(Number(size.toFixed(3)));
}

function boxPath(box, scale) {
  const [x1, y1, x2, y2] = box.map((value) => value * scale);
  return { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
}

function render({ model, el }) {
  const initial = Object.fromEntries(
    ["a", "b", "kind", "detach_enclosing", "detach_alpha", "step"].map((key) => [key, model.get(key)]),
  );
  const state = { ...initial };
  let scale = 60; // pixels a unit
  let painted = ""; // what the heat map shows, to paint it only when that changes
  let runs = {}; // the boxes visited so far, for each kind
  let running = false;
  let cancel = () => {};
  let telling = false; // while the model hears from us, we need not hear from it

  // The stage, from back to front: heat map, drawing, handles.
  const canvas = element("canvas", { class: "xp-canvas", "aria-hidden": "true" });
  const drawing = shape("svg", { class: "xp-drawing", "aria-hidden": "true" });
  const ticks = shape("path", { class: "xp-ticks" });
  const hull = shape("rect", { class: "xp-hull" });
  const trails = shape("g", { "data-layer": "trails" });
  const boxes = shape("g");
  const arrows = shape("g", { class: "xp-arrows" });
  drawing.append(ticks, hull, trails, boxes, arrows);
  const stage = element("div", { class: "xp-stage" }, canvas, drawing);

  const picture = {};
  for (const name of ["b", "a"]) {
    const frame = shape("rect", { class: "xp-box", "data-box": name });
    const letter = shape("text", { class: "xp-letter" }, name.toUpperCase());
    const corners = [0, 1, 2, 3].map(() => shape("rect", { class: "xp-corner", width: 8, height: 8 }));
    boxes.append(shape("g", { class: `xp-${name}` }, frame, letter, ...corners));
    picture[name] = { frame, letter, corners };
  }
  const force = EDGES.map((edge) => {
    const halo = shape("path", { class: "xp-arrow-halo" });
    const line = shape("path", { class: "xp-arrow" });
    const text = shape("text", { class: "xp-arrow-text" });
    const group = shape("g", { "data-edge": edge }, halo, line, text);
    arrows.append(group);
    return { group, halo, line, text };
  });
  const path = Object.fromEntries(
    KINDS.map((kind) => {
      const line = shape("polyline", { class: "xp-line xp-trail" });
      const past = shape("g", { class: "xp-past" });
      const now = shape("rect", { class: "xp-line xp-ghost" });
      trails.append(shape("g", { "data-kind": kind }, past, line, now));
      return [kind, { line, past, now }];
    }),
  );

  const help = element(
    "p",
    { class: "xp-hidden", id: `xp-help-${Math.random().toString(36).slice(2)}` },
    "Arrow keys move by 0.1 units, with Shift by 0.5.",
  );
  const handles = {};
  for (const [name, title] of [["a", "Box A, the prediction"], ["b", "Box B, the target"]]) {
    const common = { min: 0, max: WIDTH, step: 0.1, bigStep: 0.5 };
    const move = handle({
      ...common,
      label: `${title}: position`,
      name: `${name}-move`,
      onStep: (dx, dy) => change({ [name]: moved(state[name], dx, dy) }),
    });
    const size = handle({
      ...common,
      label: `${title}: size`,
      name: `${name}-size`,
      onStep: (dx, dy) => change({ [name]: resized(state[name], [2, 3], dx, dy) }),
    });
    for (const { node } of [move, size]) set(node, { "aria-describedby": help.id });
    stage.append(move.node, size.node);
    handles[name] = { move, size };
  }

  // Everything beside and below the stage.
  const legend = element(
    "p",
    { class: "xp-legend" },
    element("span", { class: "xp-key xp-a" }, "A prediction"),
    element("span", { class: "xp-key xp-b" }, "B target"),
    element("span", { class: "xp-key xp-key-arrow" }, "−gradient"),
    element("span", { class: "xp-key xp-key-hull" }, "C hull"),
  );
  const fieldName = element("span", {});
  const colorBar = element(
    "div",
    { class: "xp-colorbar" },
    fieldName,
    element(
      "div",
      { class: "xp-ramp", "aria-hidden": "true" },
      ...[0, 0.5, 1, 1.5, 2].map((tick) => element("span", { class: "xp-number" }, String(tick))),
    ),
  );
  const readout = element("p", { class: "xp-readout" });
  const table = barTable({
    legend: "loss",
    columns: ["value", "gradient norm", ""],
    rows: KINDS.map((value) => ({ value, label: NAMES[value] })),
    onSelect: (kind) => change({ kind }),
  });
  const math = (text) => element("i", {}, text);
  const detachEnclosing = toggle(
    ["detach the hull (", math("c"), "²; in GIoU |", math("C"), "|)"],
    (checked) => change({ detach_enclosing: checked }),
  );
  const detachAlpha = toggle(["detach ", math("α"), " (CIoU)"], (checked) =>
    change({ detach_alpha: checked }),
  );
  const steps = slider({
    label: "Step",
    min: 0,
    max: STEPS,
    step: 1,
    onInput: (value) => change({ step: value }),
  });
  const runButton = button("Run 200 steps", () => (running ? halt() : run()), {
    class: "xp-button xp-primary",
    "data-action": "run",
  });
  const resetButton = button("Reset", () => change(initial), { "data-action": "reset" });
  const presets = element(
    "div",
    { class: "xp-controls xp-presets", role: "group", "aria-label": "Examples" },
    ...Object.entries(PRESETS).map(([label, pair]) =>
      button(label, () => change({ ...pair, step: 0 }), { "data-preset": label }),
    ),
  );
  const voice = announcer();
  const smallPrint = element(
    "p",
    { class: "xp-small" },
    "Arrow lengths are logarithmic; their numbers are not. A step goes −0.1 (2 − IoU) times the ",
    "gradient in (center, width, height), a tenth of that from step 160 and a hundredth from 180. ",
    "Boxes snap to 0.05; the frame’s ticks are 1 apart.",
  );
  const body = element(
    "div",
    { class: "xp-body" },
    element("div", {}, legend, stage, colorBar, presets),
    element(
      "div",
      {},
      table.node,
      readout,
      element("div", { class: "xp-controls" }, detachEnclosing.node, detachAlpha.node),
      element("div", { class: "xp-controls xp-run" }, steps.node, runButton, resetButton),
    ),
    smallPrint,
  );
  const root = element(
    "div",
    {
      class: "explorable-live",
      "data-live": "push_a_box",
      role: "group",
      "aria-label": "Push a box",
      ...OWN_KEYS,
    },
    ...[body, help, voice.node],
  );
  el.append(root);

  // State: the page's model is told at most every 150 ms while something is being dragged.
  const save = throttle(() => {
    telling = true;
    for (const [key, value] of Object.entries(state)) model.set(key, value);
    model.save_changes();
    telling = false;
  }, 150);

  function change(next) {
    if ("step" in next) halt();
    Object.assign(state, next);
    draw();
    save();
    voice.say(summary());
  }

  function adopt() {
    if (telling) return;
    for (const key of Object.keys(state)) state[key] = model.get(key);
    draw();
  }

  function halt() {
    cancel();
    running = false;
    runButton.textContent = "Run 200 steps";
  }

  function run() {
    running = true;
    runButton.textContent = "Stop";
    const show = (share) => {
      state.step = Math.round(share * STEPS);
      draw();
    };
    const end = () => {
      halt();
      save.now();
      const result = KINDS.map((kind) => `${NAMES[kind]} loss: ${format(reached(kind))}`).join(", ");
      voice.say(`IoU after ${STEPS} steps. ${result}.`);
    };
    cancel = animate(3200, show, end);
  }

  const options = () => ({
    detachEnclosing: state.detach_enclosing,
    detachAlpha: state.detach_alpha,
  });
  const reached = (kind) => iou(runs[kind].at(-1), state.b);

  /** The force on A in words: how gradient descent moves its center and changes its size. */
  function pull() {
    const g = gradient(state.kind, state.a, state.b, options());
    return {
      center: [-(g[0] + g[2]), -(g[1] + g[3])],
      size: [-(g[2] - g[0]) / 2, -(g[3] - g[1]) / 2],
      still: g.every(isZero),
    };
  }

  function summary() {
    const { center, size, still } = pull();
    const value = `${NAMES[state.kind]} loss ${format(loss(state.kind, state.a, state.b), 3)}.`;
    if (still) return `${value} No gradient: A stays where it is.`;
    const pair = ([x, y]) => `${signed(x, 3)}, ${signed(y, 3)}`;
    return `${value} Force on A’s center ${pair(center)}; on its size ${pair(size)}.`;
  }

  function drawBox(name) {
    const box = state[name];
    const { frame, letter, corners } = picture[name];
    const place = boxPath(box, scale);
    set(frame, place);
    const [x1, y1, x2, y2] = box.map((value) => value * scale);
    [[x1, y1], [x2, y1], [x1, y2], [x2, y2]].forEach(([x, y], i) =>
      set(corners[i], { x: x - 4, y: y - 4 }),
    );
    // The letters sit in opposite corners, so that they stay apart when the boxes overlap.
    const inset = Math.min(13, (x2 - x1) / 2, (y2 - y1) / 2);
    set(letter, name === "a" ? { x: x1 + inset, y: y1 + inset } : { x: x2 - inset, y: y2 - inset });
    const reach = 44;
    const grow = (low, high) => Math.max(0, (reach - (high - low)) / 2, 10);
    const [gx, gy] = [grow(x1, x2), grow(y1, y2)];
    handles[name].move.place({
      left: x1 - gx,
      top: y1 - gy,
      width: x2 - x1 + 2 * gx,
      height: y2 - y1 + 2 * gy,
    });
    const side = matchMedia("(pointer: coarse)").matches ? 44 : 24;
    handles[name].size.place({ left: x2 - side / 2, top: y2 - side / 2, width: side, height: side });
    const [cx, cy] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    const [w, h] = [box[2] - box[0], box[3] - box[1]];
    handles[name].move.describe(cx, `center at x ${format(cx)}, y ${format(cy)}`);
    handles[name].size.describe(w, `width ${format(w)}, height ${format(h)}`);
  }

  function drawHull() {
    const ends = [Math.min, Math.min, Math.max, Math.max];
    const box = ends.map((end, i) => end(state.a[i], state.b[i]));
    // Just outside the boxes' own lines.
    const { x, y, width, height } = boxPath(box, scale);
    set(hull, { x: x - 5, y: y - 5, width: width + 10, height: height + 10 });
  }

  function drawForces() {
    const g = gradient(state.kind, state.a, state.b, options());
    const [x1, y1, x2, y2] = state.a.map((value) => value * scale);
    const middle = [[x1, (y1 + y2) / 2], [(x1 + x2) / 2, y1], [x2, (y1 + y2) / 2], [(x1 + x2) / 2, y2]];
    g.forEach((value, i) => {
      const { group, halo, line, text } = force[i];
      const outward = i < 2 ? -1 : 1;
      const sign = isZero(value) ? 0 : -Math.sign(value);
      const length = sign * arrowLength(Math.abs(value), 0.95 * scale);
      const [x, y] = middle[i];
      const across = i % 2 === 0;
      const tip = across ? [x + length, y] : [x, y + length];
      const head = Math.min(7, Math.abs(length)) * sign;
      const wings = across
        ? `M${tip[0] - head} ${y - 5}L${tip[0]} ${y}L${tip[0] - head} ${y + 5}`
        : `M${x - 5} ${tip[1] - head}L${x} ${tip[1]}L${x + 5} ${tip[1] - head}`;
      const d = sign === 0 ? `M${x - 3.5} ${y}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0` : `M${x} ${y}L${tip}${wings}`;
      set(halo, { d });
      set(line, { d });
      // The number stands outside the box, beyond what sticks out of the edge; where the stage ends
      // there, above the arrow.
      const label = strength(value);
      const out = sign === outward ? Math.abs(length) : 0;
      const [tx, ty] = [x + outward * (out + 8), y + outward * (out + 12)];
      const end = tx + outward * 7.5 * label.length;
      if (!across) set(text, { x, y: clamp(ty, 10, HEIGHT * scale - 10), "text-anchor": "middle" });
      else if (end >= 0 && end <= WIDTH * scale) {
        set(text, { x: tx, y, "text-anchor": outward > 0 ? "start" : "end" });
      } else {
        const beside = clamp(x + length / 2, 24, WIDTH * scale - 24);
        set(text, { x: beside, y: y - 14, "text-anchor": "middle" });
      }
      text.textContent = label;
      group.dataset.value = -value;
    });
  }

  function drawTrails() {
    for (const kind of KINDS) {
      const { line, past, now } = path[kind];
      const visited = state.step > 0 ? runs[kind] : [];
      const centers = visited.map(
        ([x1, y1, x2, y2]) => `${((x1 + x2) / 2) * scale},${((y1 + y2) / 2) * scale}`,
      );
      set(line, { points: centers.join(" ") });
      set(now, visited.length ? boxPath(visited.at(-1), scale) : { width: 0, height: 0 });
      const shown = kind === state.kind ? visited.filter((_, i) => i > 0 && i % 10 === 0) : [];
      past.replaceChildren(...shown.map((box) => shape("rect", boxPath(box, scale))));
      set(line.parentNode, { "data-selected": kind === state.kind });
    }
    trails.append(path[state.kind].line.parentNode); // the selected one on top
  }

  function drawField() {
    const size = [state.a[2] - state.a[0], state.a[3] - state.a[1]];
    const theme = getComputedStyle(root).getPropertyValue("--xp-ramp-4");
    const key = JSON.stringify([state.kind, size, state.b, scale, theme]);
    if (key === painted) return;
    painted = key;
    const density = Math.min(devicePixelRatio || 1, 2);
    set(canvas, { width: WIDTH * scale * density, height: HEIGHT * scale * density });
    const field = lossField(state.kind, state.a, state.b, {
      width: WIDTH,
      height: HEIGHT,
      columns: 35 * 4,
      rows: 25 * 4,
    });
    const line = getComputedStyle(root).getPropertyValue("--xp-contour");
    paintField(canvas, field, { ramp: colorRamp(root), low: 0, high: DARKEST, levels: LEVELS, line });
  }

  function drawPanel() {
    table.select(state.kind);
    table.heading(2, `IoU at step ${state.step}`);
    for (const kind of KINDS) {
      const value = loss(kind, state.a, state.b);
      const norm = Math.hypot(...gradient(kind, state.a, state.b, options()));
      table.update(kind, {
        share: value / WORST,
        numbers: [format(value, 3), isZero(norm) ? "0" : format(norm, 3), format(reached(kind))],
        data: { value, gradientNorm: norm, iou: reached(kind) },
      });
    }
    const { center, size, still } = pull();
    const pair = ([x, y]) => element("span", { class: "xp-number" }, `(${signed(x, 3)}, ${signed(y, 3)})`);
    readout.replaceChildren(
      ...(still
        ? [element("b", {}, NAMES[state.kind]), ": no gradient, so A stays where it is."]
        : [
            element("b", {}, NAMES[state.kind]),
            " pulls A’s center by ",
            pair(center),
            " and its size by ",
            pair(size),
            ".",
          ]),
    );
    fieldName.textContent = `${NAMES[state.kind]} loss with A centered here`;
    detachEnclosing.set(state.detach_enclosing);
    detachAlpha.set(state.detach_alpha);
    steps.set(state.step);
  }

  function draw() {
    root.dataset.kind = state.kind;
    root.dataset.now = JSON.stringify(state);
    const visited = (kind) => descend(kind, state.a, state.b, options()).slice(0, state.step + 1);
    runs = Object.fromEntries(KINDS.map((kind) => [kind, state.step ? visited(kind) : [state.a]]));
    drawField();
    drawTrails();
    drawHull();
    drawBox("a");
    drawBox("b");
    drawForces();
    drawPanel();
  }

  // Picking: corners by distance, then the smaller of the boxes under the point.
  function pick(x, y, touch) {
    const reach = touch ? 22 : 12;
    let best = null;
    for (const name of ["a", "b"]) {
      const [x1, y1, x2, y2] = state[name].map((value) => value * scale);
      const inside = x > x1 && x < x2 && y > y1 && y < y2;
      // Inside a small box the corners leave its middle free, so that it can still be moved.
      const near = inside ? Math.min(reach, 0.3 * Math.min(x2 - x1, y2 - y1)) : reach;
      for (const corner of [[0, 1], [2, 1], [0, 3], [2, 3]]) {
        const [cx, cy] = [corner[0] === 0 ? x1 : x2, corner[1] === 1 ? y1 : y2];
        const distance = Math.hypot(x - cx, y - cy);
        if (distance <= near && distance < (best?.distance ?? Infinity)) {
          const falling = (corner[0] === 0) === (corner[1] === 1);
          best = { name, corner, distance, cursor: falling ? "nwse-resize" : "nesw-resize" };
        }
      }
    }
    if (!best) {
      const hit = (name) => {
        const [x1, y1, x2, y2] = state[name].map((value) => value * scale);
        const slack = touch ? 10 : 4;
        return x > x1 - slack && x < x2 + slack && y > y1 - slack && y < y2 + slack;
      };
      const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
      const [name] = ["a", "b"].filter(hit).sort((m, n) => area(state[m]) - area(state[n]));
      if (!name) return null;
      best = { name, cursor: "move" };
    }
    const { name, corner, cursor } = best;
    const start = state[name];
    const act = corner ? (dx, dy) => resized(start, corner, dx, dy) : (dx, dy) => moved(start, dx, dy);
    return {
      cursor,
      node: (corner ? handles[name].size : handles[name].move).node,
      drag: (dx, dy) => change({ [name]: act(dx / scale, dy / scale) }),
      drop: save.now,
    };
  }
  draggable(stage, pick);

  function resize() {
    const width = stage.clientWidth;
    if (width === 0) return;
    scale = width / WIDTH;
    const height = HEIGHT * scale;
    set(drawing, { viewBox: `0 0 ${width} ${height}`, width, height });
    const across = Array.from({ length: WIDTH - 1 }, (_, i) => `M${(i + 1) * scale} ${height}v-5`);
    const down = Array.from({ length: HEIGHT - 1 }, (_, i) => `M0 ${(i + 1) * scale}h5`);
    set(ticks, { d: [...across, ...down].join("") });
    draw();
  }

  const observer = new ResizeObserver(resize);
  observer.observe(stage);
  const unwatch = watchTheme(() => draw());
  const changes = Object.keys(state).map((key) => `change:${key}`);
  for (const event of changes) model.on(event, adopt);
  resize();

  return () => {
    halt();
    save.cancel();
    voice.stop();
    observer.disconnect();
    unwatch();
    for (const event of changes) model.off(event, adopt);
    root.remove();
  };
}

export default { render };
