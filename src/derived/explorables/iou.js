// Push a box: what gradient descent on an IoU loss does to the edges of a box.
//
// Boxes are [x1, y1, x2, y2]; A is the prediction, B the target. The functions of the first half
// are the chapter's equations; they agree with derived.iou to 1e-9, which a test checks.

import {
  animate,
  arrowPath,
  barTable,
  button,
  choice,
  clamp,
  colorRamp,
  draggable,
  element,
  examples,
  format,
  handle,
  helpText,
  mount,
  paintField,
  set,
  shape,
  signed,
  slider,
  toggle,
} from "./kit.js";

const WIDTH = 7; // of the stage, in units of the boxes' coordinates; it is MPDIoU's image, too
const HEIGHT = 5;
const ALPHA = 3; // α-IoU's power
const GAMMA = 0.5; // Focal-EIoU's
const INNER = 0.75; // Inner-IoU's scale
const NAMES = {
  iou: "IoU",
  giou: "GIoU",
  diou: "DIoU",
  ciou: "CIoU",
  eiou: "EIoU",
  focal_eiou: "Focal-EIoU",
  siou: "SIoU",
  alpha_iou: "α-IoU",
  wiou: "WIoU",
  mpdiou: "MPDIoU",
  inner_iou: "Inner-IoU",
};

export const KINDS = Object.keys(NAMES);

// ---------------------------------------------------------------------------------- mathematics

/** The derivative of min(mine, other) by mine; at a tie one half, as torch has it. */
const picks = (mine, other) => (mine < other ? 1 : mine > other ? 0 : 0.5);

/**
 * What the losses need along one axis: the sizes of A and B, the signed overlap, the hull's length,
 * the centers' offset, and the derivatives of overlap and hull by A's low and high edge.
 */
function along(low, high, targetLow, targetHigh) {
  return {
    size: high - low,
    target: targetHigh - targetLow,
    overlap: Math.min(high, targetHigh) - Math.max(low, targetLow),
    overlapBy: [-picks(targetLow, low), picks(high, targetHigh)],
    hull: Math.max(high, targetHigh) - Math.min(low, targetLow),
    hullBy: [-picks(low, targetLow), picks(targetHigh, high)],
    offset: (low - targetLow + (high - targetHigh)) / 2,
  };
}

const SIZE_BY = [-1, 1]; // the derivatives of A's size and center by its two edges
const CENTER_BY = [0.5, 0.5];
const NONE = [0, 0, 0, 0];

/** A gradient by A’s edges from the derivatives by the two edges of each axis. */
const spread = (xBy, yBy) => [xBy[0], yBy[0], xBy[1], yBy[1]];
/** The gradient by A’s edges of f(x-axis) · g(y-axis). */
const productBy = (x, y, xBy, yBy) => [xBy[0] * y, x * yBy[0], xBy[1] * y, x * yBy[1]];
const combine = (...terms) => [0, 1, 2, 3].map((i) => terms.reduce((sum, [c, g]) => sum + c * g[i], 0));
const ratio = (part, whole) => (whole > 0 ? part / whole : 0);

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

/** Inner-IoU's boxes: smaller, about the same center. */
function inner([x1, y1, x2, y2]) {
  const [dx, dy] = [((1 - INNER) / 2) * (x2 - x1), ((1 - INNER) / 2) * (y2 - y1)];
  return [x1 + dx, y1 + dy, x2 - dx, y2 - dy];
}

/** SIoU's weight of the distances: 1 where the offset is diagonal, 2 where it lies on an axis. */
const sharpness = ({ x, y, distance2 }) => 2 - ratio(2 * Math.abs(x.offset * y.offset), distance2);
/** How much the sizes along one axis differ, from 0 to 1. */
const misfit = ({ size, target }) => ratio(Math.abs(size - target), Math.max(size, target));

export const iou = (a, b) => measure(a, b).iou;

/** 0 for identical boxes, larger the worse A fits B. `kind` is one of KINDS. */
export function loss(kind, a, b) {
  if (kind === "inner_iou") return 1 - iou(inner(a), inner(b));
  const m = measure(a, b);
  const axes = [m.x, m.y];
  const miss = 1 - m.iou;
  const apart = ratio(m.distance2, m.diagonal2);
  switch (kind) {
    case "iou":
      return miss;
    case "giou":
      return miss + ratio(m.hull - m.union, m.hull);
    case "diou":
      return miss + apart;
    case "ciou":
      return miss + apart + m.alpha * m.aspect;
    case "eiou":
      return axes.reduce((sum, k) => sum + ratio((k.size - k.target) ** 2, k.hull ** 2), miss + apart);
    case "focal_eiou":
      return m.iou ** GAMMA * loss("eiou", a, b);
    case "siou": {
      const near = (k) => Math.exp(-sharpness(m) * ratio(k.offset ** 2, k.hull ** 2));
      const shaped = (k) => (1 - Math.exp(-misfit(k))) ** 4;
      return axes.reduce((sum, k) => sum + (1 - near(k) + shaped(k)) / 2, miss);
    }
    case "alpha_iou":
      return 1 - m.iou ** ALPHA;
    case "wiou":
      return Math.exp(apart) * miss;
    case "mpdiou":
      return miss + a.reduce((sum, edge, i) => sum + (edge - b[i]) ** 2, 0) / (WIDTH ** 2 + HEIGHT ** 2);
    default:
      throw new Error(`kind must be one of ${KINDS.join(", ")}; got ${kind}`);
  }
}

/** The derivatives of (part / hull)² by the two edges of one axis. */
function shareBy({ hull, hullBy }, part, partBy, detachEnclosing) {
  if (hull === 0) return [0, 0];
  const grown = detachEnclosing ? 0 : part / hull;
  return [0, 1].map((i) => ((2 * part) / hull ** 2) * (partBy[i] - grown * hullBy[i]));
}

/** The gradient of SIoU's terms beyond 1 − J. */
function siouBy(m, detachEnclosing) {
  const g = sharpness(m);
  // g's slope by each offset
  const [dx, dy] = [m.x.offset, m.y.offset];
  const turn = ratio(2 * (dx ** 2 - dy ** 2), m.distance2 ** 2);
  const bends = [turn * Math.sign(dx) * Math.abs(dy), -turn * Math.sign(dy) * Math.abs(dx)];
  const sharpnessBy = spread(...bends.map((bend) => CENTER_BY.map((by) => bend * by)));
  let weight = 0; // of g's gradient
  const own = [m.x, m.y].map((k) => {
    const share = ratio(k.offset ** 2, k.hull ** 2);
    const near = Math.exp(-g * share);
    weight += (near * share) / 2;
    const away = shareBy(k, k.offset, CENTER_BY, detachEnclosing).map((by) => (near * g * by) / 2);
    const fit = Math.exp(-misfit(k));
    const misfitBy = k.size > k.target ? k.target / k.size ** 2 : ratio(-1, k.target);
    return away.map((by, i) => by + 2 * (1 - fit) ** 3 * fit * misfitBy * SIZE_BY[i]);
  });
  return combine([1, spread(...own)], [weight, sharpnessBy]);
}

/**
 * The gradient of the loss by A's edges [x1, y1, x2, y2]. `detachEnclosing` holds the hull's
 * quantity fixed (|C| in GIoU, the squared sides and diagonal of the others; WIoU's always is),
 * `detachAlpha` CIoU's α, `detachFocus` Focal-EIoU's weight.
 */
export function gradient(kind, a, b, options = {}) {
  const { detachEnclosing = false, detachAlpha = true, detachFocus = true } = options;
  if (kind === "inner_iou") {
    const [x1, y1, x2, y2] = gradient("iou", inner(a), inner(b));
    return combine([(1 + INNER) / 2, [x1, y1, x2, y2]], [(1 - INNER) / 2, [x2, y2, x1, y1]]);
  }
  const m = measure(a, b);
  const { x, y } = m;
  const areaBy = productBy(x.size, y.size, SIZE_BY, SIZE_BY);
  const meetBy = m.meet ? productBy(x.overlap, y.overlap, x.overlapBy, y.overlapBy) : NONE;
  const unionBy = combine([1, areaBy], [-1, meetBy]);
  const iouBy =
    m.union > 0 ? combine([1 / m.union, meetBy], [-m.intersection / m.union ** 2, unionBy]) : NONE;
  const missBy = combine([-1, iouBy]);
  if (kind === "iou") return missBy;
  if (kind === "alpha_iou") return combine([ALPHA * m.iou ** (ALPHA - 1), missBy]);
  if (kind === "mpdiou") {
    const cornersBy = a.map((edge, i) => 2 * (edge - b[i]));
    return combine([1, missBy], [1 / (WIDTH ** 2 + HEIGHT ** 2), cornersBy]);
  }
  if (kind === "giou") {
    if (m.hull === 0) return NONE;
    const hullBy = productBy(x.hull, y.hull, x.hullBy, y.hullBy);
    const pull = detachEnclosing ? 0 : m.union / m.hull ** 2;
    return combine([1, missBy], [-1 / m.hull, unionBy], [pull, hullBy]);
  }
  if (kind === "focal_eiou") {
    if (m.iou === 0) return NONE;
    const slope = detachFocus ? 0 : GAMMA * m.iou ** (GAMMA - 1) * loss("eiou", a, b);
    return combine([m.iou ** GAMMA, gradient("eiou", a, b, options)], [slope, iouBy]);
  }
  if (m.diagonal2 === 0) return NONE; // two points in one place
  const distance2By = [x.offset, y.offset, x.offset, y.offset];
  if (kind === "wiou") {
    const push = (1 - m.iou) / m.diagonal2;
    return combine([1, missBy], [push, distance2By]).map(
      (by) => Math.exp(m.distance2 / m.diagonal2) * by,
    );
  }
  if (kind === "siou") return combine([1, missBy], [1, siouBy(m, detachEnclosing)]);
  const diagonal2By = spread(...[x, y].map(({ hull, hullBy }) => hullBy.map((by) => 2 * hull * by)));
  const push = detachEnclosing ? 0 : -m.distance2 / m.diagonal2 ** 2;
  const diouBy = combine([1, missBy], [1 / m.diagonal2, distance2By], [push, diagonal2By]);
  if (kind === "diou") return diouBy;
  if (kind === "eiou") {
    const sidesBy = [x, y].map((k) => shareBy(k, k.size - k.target, SIZE_BY, detachEnclosing));
    return combine([1, diouBy], [1, spread(...sidesBy)]);
  }
  if (kind !== "ciou") throw new Error(`no such kind: ${kind}`);
  const turn = ratio((8 / Math.PI ** 2) * m.delta, x.size ** 2 + y.size ** 2);
  const aspectBy = [turn * y.size, -turn * x.size, -turn * y.size, turn * x.size];
  const { alpha } = m;
  return detachAlpha
    ? combine([1, diouBy], [alpha, aspectBy])
    : combine([1, diouBy], [alpha ** 2, iouBy], [alpha * (2 - alpha), aspectBy]);
}

/** A gradient by edges as one by [center x, center y, width, height]. */
export const byCenter = (g) => [g[0] + g[2], g[1] + g[3], (g[2] - g[0]) / 2, (g[3] - g[1]) / 2];

const SMALLEST = 0.01;

/** One step of size `rate` down the gradient in `coordinates`; sizes stay positive. */
function step(kind, a, b, rate, { coordinates, ...options }) {
  const g = gradient(kind, a, b, options);
  const centered = byCenter(g);
  const axes = [0, 1].map((k) => {
    const [low, high] = [a[k] - rate * g[k], a[k + 2] - rate * g[k + 2]];
    if (coordinates === "xyxy" && high - low >= SMALLEST) return [low, high];
    const [center, size] =
      coordinates === "xyxy"
        ? [(low + high) / 2, SMALLEST]
        : [(a[k] + a[k + 2]) / 2 - rate * centered[k], a[k + 2] - a[k] - rate * centered[k + 2]];
    const half = Math.max(size, SMALLEST) / 2;
    return [center - half, center + half];
  });
  return spread(...axes);
}

/**
 * The boxes that gradient descent visits, A first. `coordinates` are what descends: "xyxy", the
 * edges, or "cxcywh", center and size. The rule is the regression simulation's of Zheng et al.
 * (2020), who use the latter: steps 0.1 (2 − IoU) times the gradient, ten times smaller from 80 % of
 * the steps on and again from 90 % on.
 */
export function descend(kind, a, b, { steps = 200, rate = 0.1, coordinates = "xyxy", ...options } = {}) {
  const trail = [a];
  for (let i = 0; i < steps; i += 1) {
    const box = trail[i];
    const decay = i < 0.8 * steps ? 1 : i < 0.9 * steps ? 0.1 : 0.01;
    trail.push(step(kind, box, b, rate * decay * (2 - iou(box, b)), { coordinates, ...options }));
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

const PER_UNIT = 20; // what is dragged snaps to 1/20, so that edges can be aligned exactly
const MINIMUM = 0.1;
const STEPS = 200;
const LEVELS = Array.from({ length: 32 }, (_, i) => (i + 1) / 10);
const WORST = 3.25; // no loss reaches more; EIoU comes close
const DARKEST = 2; // where the shading ends
const RELATIVES = KINDS.slice(5); // without trails but the chosen one's: eleven would be a tangle
/** A loss's color; only one of the relatives is drawn at a time, so they share one. */
const seriesOf = (kind) => Math.min(KINDS.indexOf(kind), 5) + 1;
const CONCERNED = {
  detach_enclosing: ["giou", "diou", "ciou", "eiou", "focal_eiou", "siou"],
  detach_alpha: ["ciou"],
  detach_focus: ["focal_eiou"],
};
const EDGES = ["x1", "y1", "x2", "y2"];
const PRESETS = {
  "far, on axis": { a: [1.5, 2, 2.5, 3], b: [4.5, 2, 5.5, 3] },
  "far, diagonal": { a: [1.75, 0.75, 2.75, 1.75], b: [4.25, 3.25, 5.25, 4.25] },
  overlap: { a: [2, 1.25, 3.5, 2.75], b: [2.75, 2, 4.75, 3.5] },
  nested: { a: [2.25, 1.5, 3.25, 2.5], b: [1.75, 1, 5.25, 4] },
  "thin cross": { a: [1.5, 2.3, 5.5, 2.7], b: [3.3, 0.5, 3.7, 4.5] },
  "Focal-EIoU’s drift": {
    ...{ kind: "focal_eiou", detach_focus: false },
    ...{ a: [2.5, 1.5, 4, 3], b: [3.5, 2, 5, 3.5] },
  },
  "SIoU’s angle": {
    ...{ kind: "siou", detach_enclosing: true },
    ...{ a: [1.5, 0.8, 2.5, 3.8], b: [4.5, 0.9, 5.5, 3.9] },
  },
  "MPDIoU, small boxes": { kind: "mpdiou", a: [2.5, 2, 3, 2.5], b: [4, 2, 4.5, 2.5] },
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

/** Where a force of this size is too small to draw: rounding, not mathematics. */
const isZero = (value) => Math.abs(value) < 1e-12;

/** Pixels for a force: logarithmic, from 0 at 0.001 to almost a unit of the stage at 1. */
function arrowLength(value, scale) {
  if (isZero(value)) return 0;
  return Math.sign(value) * 0.95 * scale * clamp(1 + Math.log10(Math.abs(value)) / 3, 0, 1.15);
}

function strength(value) {
  const size = Math.abs(value);
  if (isZero(value)) return "0";
  return size < 0.001 ? "<0.001" : String(Number(size.toFixed(3)));
}

function boxPath(box, scale) {
  const [x1, y1, x2, y2] = box.map((value) => value * scale);
  return { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
}

/** What a loss looks at beside the boxes, named and as a path: hull, inner boxes, corners. */
function aidOf(kind, a, b, scale) {
  const outline = (box, out) => {
    const { x, y, width, height } = boxPath(box, scale);
    return `M${x - out} ${y - out}h${width + 2 * out}v${height + 2 * out}h${-width - 2 * out}z`;
  };
  const corner = (box, i) => `${box[i] * scale} ${box[i + 1] * scale}`;
  if (kind === "iou" || kind === "alpha_iou") return ["", ""];
  if (kind === "inner_iou") return ["inner", outline(inner(a), 0) + outline(inner(b), 0)];
  if (kind === "mpdiou") {
    const lines = [0, 2].map((i) => `M${corner(a, i)}L${corner(b, i)}`);
    return ["d₁, d₂", lines.join("")];
  }
  const hull = [Math.min, Math.min, Math.max, Math.max].map((end, i) => end(a[i], b[i]));
  return ["C hull", outline(hull, 5)]; // just outside the boxes' own lines
}

function build({ root, state, initial, change: alter, redraw, save, say }) {
  let scale = 60; // pixels a unit
  let painted = ""; // what the heat map shows, to paint it only when that changes
  let runs = {}; // the boxes visited so far, for each kind
  let running = false;
  let cancel = () => {};

  // The stage, from back to front: heat map, drawing, handles.
  const canvas = element("canvas", { class: "xp-canvas", "aria-hidden": "true" });
  const drawing = shape("svg", { class: "xp-drawing", "aria-hidden": "true" });
  const ticks = shape("path", { class: "xp-ticks" });
  const aid = shape("path", { class: "xp-aid" });
  const trails = shape("g", { "data-layer": "trails" });
  const boxes = shape("g");
  const arrows = shape("g", { class: "xp-arrows" });
  drawing.append(ticks, aid, trails, boxes, arrows);
  const stage = element("div", { class: "xp-stage" }, canvas, drawing);

  const picture = {};
  for (const [name, color] of [["b", "xp-b"], ["a", "xp-a"]]) {
    const frame = shape("rect", { class: "xp-box", "data-box": name });
    const letter = shape("text", { class: "xp-letter" }, name.toUpperCase());
    const corners = [0, 1, 2, 3].map(() => shape("rect", { class: "xp-corner", width: 8, height: 8 }));
    boxes.append(shape("g", { class: color }, frame, letter, ...corners));
    picture[name] = { frame, letter, corners };
  }
  const path = Object.fromEntries(
    KINDS.map((kind) => {
      const line = shape("polyline", { class: "xp-line xp-trail" });
      const past = shape("g", { class: "xp-past" });
      const now = shape("rect", { class: "xp-line xp-ghost" });
      trails.append(shape("g", { "data-kind": kind, "data-series": seriesOf(kind) }, past, line, now));
      return [kind, { line, past, now }];
    }),
  );

  const help = helpText("Arrow keys move by 0.1 units, with Shift by 0.5.");
  const handles = {};
  for (const [name, title] of [["a", "Box A, the prediction"], ["b", "Box B, the target"]]) {
    const common = { help, min: 0, max: WIDTH, step: 0.1, bigStep: 0.5 };
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
    stage.append(move.node, size.node);
    handles[name] = { move, size };
  }

  // Everything beside and below the stage.
  const aidKey = element("span", { class: "xp-key xp-key-aid" });
  const legend = element(
    "p",
    { class: "xp-legend" },
    element("span", { class: "xp-key xp-a" }, "A prediction"),
    element("span", { class: "xp-key xp-b" }, "B target"),
    element("span", { class: "xp-key xp-key-arrow" }, "−gradient"),
    aidKey,
  );
  const fieldName = element("span", {});
  const colorBar = element(
    "div",
    { class: "xp-colorbar" },
    fieldName,
    element(
      "div",
      { class: "xp-ramp", "aria-hidden": "true" },
      ...["0", "0.5", "1", "1.5", "≥ 2"].map((tick) => element("span", { class: "xp-number" }, tick)),
    ),
  );
  const readout = element("p", { class: "xp-readout" });
  const table = barTable({
    legend: "loss",
    columns: ["value", "gradient norm", ""],
    rows: KINDS.map((value) => ({
      ...{ value, label: NAMES[value], series: seriesOf(value), more: RELATIVES.includes(value) },
    })),
    moreLabel: `${RELATIVES.length} relatives`,
    onSelect: (kind) => change({ kind }),
  });
  const math = (text) => element("i", {}, text);
  const side = (index) => [math("c"), element("sub", {}, math(index)), "²"];
  const toggles = {
    detach_enclosing: toggle(
      ["detach the hull (|", math("C"), "|, ", math("c"), "², ", ...side("w"), ", ", ...side("h"), ")"],
      (checked) => change({ detach_enclosing: checked }),
    ),
    detach_alpha: toggle(["detach ", math("α"), " (CIoU)"], (checked) =>
      change({ detach_alpha: checked }),
    ),
    detach_focus: toggle(
      ["detach the focus ", math("J"), element("sup", {}, math("γ")), " (Focal-EIoU)"],
      (checked) => change({ detach_focus: checked }),
    ),
  };
  const coordinates = choice({
    label: "Gradient in",
    options: { xyxy: "edges", cxcywh: "center and size" },
    onSelect: (value) => change({ coordinates: value }),
  });
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
  const presets = examples(PRESETS, (pair) => change({ ...pair, step: 0 }));
  presets.classList.add("xp-controls");
  const smallPrint = element(
    "p",
    { class: "xp-small xp-controls" },
    "Arrow lengths are logarithmic; their numbers are not. Boxes snap to 0.05; the frame’s ticks are ",
    "1 apart. A step goes −0.1 (2 − IoU) times the gradient, a tenth of that from step 160 and a ",
    `hundredth from 180. MPDIoU’s image is the frame, ${WIDTH} × ${HEIGHT}; α-IoU has α = ${ALPHA}, `,
    `Focal-EIoU γ = ${GAMMA}, Inner-IoU boxes of ${INNER} times the size.`,
  );
  const body = element(
    "div",
    { class: "xp-body" },
    element(
      "div",
      {},
      ...[legend, stage, colorBar, presets],
      element("div", { class: "xp-controls xp-run" }, steps.node, runButton, resetButton),
    ),
    element(
      "div",
      {},
      ...[table.node, readout],
      element(
        "div",
        { class: "xp-controls" },
        ...Object.values(toggles).map(({ node }) => node),
        coordinates.node,
      ),
    ),
    smallPrint,
  );
  function change(next) {
    if ("step" in next) halt();
    alter(next);
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
      redraw();
    };
    const end = () => {
      halt();
      save.now();
      const others = KINDS.filter((kind) => !RELATIVES.includes(kind) || kind === state.kind);
      const result = others.map((kind) => `${NAMES[kind]} loss: ${format(reached(kind))}`).join(", ");
      say(`IoU after ${STEPS} steps. ${result}.`);
    };
    cancel = animate(3200, show, end);
  }

  const options = () => ({
    detachEnclosing: state.detach_enclosing,
    detachAlpha: state.detach_alpha,
    detachFocus: state.detach_focus,
  });
  const force = () => gradient(state.kind, state.a, state.b, options()).map((value) => -value);
  const reached = (kind) => iou(runs[kind].at(-1), state.b);

  /** The force on A in words: how gradient descent moves its center and changes its size. */
  function pull() {
    const f = force();
    const [x, y, w, h] = byCenter(f);
    return { center: [x, y], size: [w, h], still: f.every(isZero) };
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

  function drawAid() {
    const [name, d] = aidOf(state.kind, state.a, state.b, scale);
    set(aid, { d });
    aidKey.textContent = name;
  }

  /** An arrow in pixels from `at` along the unit vector `way`, with `text`, if any, at `place`. */
  function arrow(name, value, { at, way, text, place }) {
    const d = arrowPath(at, way, arrowLength(value, scale));
    const [halo, line] = ["xp-arrow-halo", "xp-arrow"].map((kind) => shape("path", { class: kind, d }));
    const label = text ? [shape("text", { class: "xp-arrow-text", ...place }, text)] : [];
    return shape("g", { "data-force": name, "data-value": value }, halo, line, ...label);
  }

  /** Where a label fits beside the edge `i` of A whose arrow starts at `at` and is `length` long. */
  function beside(i, at, length, text) {
    const outward = i < 2 ? -1 : 1;
    const out = Math.max(0, outward * length);
    const [x, y] = [at[0] + outward * (out + 8), at[1] + outward * (out + 12)];
    if (i % 2) return { x: at[0], y: clamp(y, 10, HEIGHT * scale - 10), "text-anchor": "middle" };
    const end = x + outward * 7.5 * text.length;
    const fits = end >= 0 && end <= WIDTH * scale;
    return fits
      ? { x, y: at[1], "text-anchor": outward > 0 ? "start" : "end" }
      : { x: clamp(at[0] + length / 2, 24, WIDTH * scale - 24), y: at[1] - 14, "text-anchor": "middle" };
  }

  /** The arrow of the edge `i` of A, at a share of the edge's length. */
  function edgeArrow(i, name, value, text, share) {
    const place = (low, high) => scale * (low + share * (high - low));
    const [x1, y1, x2, y2] = state.a;
    const at = i % 2 ? [place(x1, x2), scale * state.a[i]] : [scale * state.a[i], place(y1, y2)];
    const way = i % 2 ? [0, 1] : [1, 0];
    return arrow(name, value, { at, way, text, place: beside(i, at, arrowLength(value, scale), text) });
  }

  /** The arrow from A's center, of a force [x, y]. */
  function centerArrow(force) {
    const size = Math.hypot(...force);
    const way = isZero(size) ? [1, 0] : force.map((part) => part / size);
    const at = [0, 1].map((k) => (scale * (state.a[k] + state.a[k + 2])) / 2);
    const out = arrowLength(size, scale) + 10;
    const place = {
      x: clamp(at[0] + out * way[0], 24, WIDTH * scale - 24),
      y: clamp(at[1] + 1.4 * out * way[1], 10, HEIGHT * scale - 10),
      "text-anchor": Math.abs(way[0]) < 0.4 ? "middle" : way[0] > 0 ? "start" : "end",
    };
    return arrow("center", size, { at, way, text: strength(size), place });
  }

  function drawForces() {
    const f = force();
    if (state.coordinates === "xyxy") {
      const onEdges = f.map((value, i) => edgeArrow(i, EDGES[i], value, strength(value), 0.5));
      arrows.replaceChildren(...onEdges);
      return;
    }
    // A size's force is drawn on both edges, off the middle, where the center's arrow may pass.
    const [x, y, w, h] = byCenter(f);
    const sizes = Object.entries({ w, h }).filter(([, value]) => !isZero(value));
    const onEdges = sizes.flatMap(([name, value]) => {
      const i = name === "w" ? 0 : 1;
      const named = edgeArrow(i + 2, name, value, `${name} ${strength(value)}`, 0.8);
      return [edgeArrow(i, "", -value, "", 0.8), named];
    });
    arrows.replaceChildren(...onEdges, centerArrow([x, y]));
  }

  function drawTrails() {
    for (const kind of KINDS) {
      const { line, past, now } = path[kind];
      const visited = state.step > 0 ? runs[kind] : [];
      const centers = visited.map(
        ([x1, y1, x2, y2]) => `${((x1 + x2) / 2) * scale},${((y1 + y2) / 2) * scale}`,
      );
      const drawn = kind === state.kind || !RELATIVES.includes(kind);
      set(line, { points: drawn ? centers.join(" ") : "" });
      set(now, drawn && visited.length ? boxPath(visited.at(-1), scale) : { width: 0, height: 0 });
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
      const slope = gradient(kind, state.a, state.b, options());
      const norm = Math.hypot(...(state.coordinates === "xyxy" ? slope : byCenter(slope)));
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
    for (const [name, { set: show }] of Object.entries(toggles)) {
      show(state[name], CONCERNED[name].includes(state.kind));
    }
    coordinates.set(state.coordinates);
    steps.set(state.step);
  }

  function draw() {
    set(body, { "data-series": seriesOf(state.kind) });
    const how = { coordinates: state.coordinates, ...options() };
    const visited = (kind) => descend(kind, state.a, state.b, how).slice(0, state.step + 1);
    runs = Object.fromEntries(KINDS.map((kind) => [kind, state.step ? visited(kind) : [state.a]]));
    drawField();
    drawTrails();
    drawAid();
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

  function fit(width) {
    scale = width / WIDTH;
    const height = HEIGHT * scale;
    set(drawing, { viewBox: `0 0 ${width} ${height}`, width, height });
    const across = Array.from({ length: WIDTH - 1 }, (_, i) => `M${(i + 1) * scale} ${height}v-5`);
    const down = Array.from({ length: HEIGHT - 1 }, (_, i) => `M0 ${(i + 1) * scale}h5`);
    set(ticks, { d: [...across, ...down].join("") });
  }

  return { body: [body, help], draw, summary, fit, stage, stop: halt };
}

const ABOUT = { name: "push_a_box", title: "Push a box" };

export default { render: (page) => mount(page, ABOUT, build) };
