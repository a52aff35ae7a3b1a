// Matrix memory: what one fixed matrix can keep of a list of pairs, under four rules of writing.
//
// A pair is a unit key k in R^d and a value v, one of twelve unit vectors called A to L. The functions
// of the first half are the chapter's equations; they agree with derived.linear_attention to 1e-9,
// which a test checks.

import {
  barTable,
  button,
  clamp,
  draggable,
  element,
  examples,
  format,
  handle,
  helpText,
  mount,
  normals,
  plane,
  set,
  shape,
  slider,
} from "./kit.js";

export const RULES = ["hebb", "decay", "delta", "softmax"];
export const LETTERS = "ABCDEFGHIJKL";
const LARGEST = 32; // dimension of the keys

// ---------------------------------------------------------------------------------- mathematics

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const scaled = (factor, a) => a.map((value) => factor * value);
const unit = (a) => scaled(1 / Math.hypot(...a), a);
const total = (values) => values.reduce((sum, value) => sum + value, 0);
const range = (count, make) => Array.from({ length: count }, (_, i) => make(i));
const column = (letter) => LETTERS.indexOf(letter);
const value = (letter) => range(LETTERS.length, (c) => Number(c === column(letter)));

/** What is random about the letters' keys: for each the first `dim` of its 32 normal numbers. */
function draws(seed, dim) {
  const numbers = [...normals(seed, LARGEST * LETTERS.length)];
  return (letter) => numbers.slice(LARGEST * column(letter)).slice(0, dim);
}

/**
 * The unit key whose first two coordinates are the point (x, y) of the unit disk; its other
 * coordinates are what fills up the length, in a direction that is random. On the rim, and in two
 * dimensions, nothing is left to fill up.
 */
function keyAt([x, y], dim, direction) {
  const length = Math.hypot(x, y);
  const rim = dim === 2 || length > 0.999;
  const [cos, sin] = length === 0 ? [1, 0] : [x / length, y / length];
  if (rim) return [cos, sin, ...range(dim - 2, () => 0)];
  const rest = unit(direction.slice(2));
  return [x, y, ...scaled(Math.sqrt(1 - length ** 2), rest)];
}

/** The keys in write order: where `places` has the letter, there; else uniform on the unit sphere. */
export function keysOf({ order, dim, seed, places }) {
  const direction = draws(seed, dim);
  return [...order].map((letter) =>
    places[letter] ? keyAt(places[letter], dim, direction(letter)) : unit(direction(letter)),
  );
}

/** What the state S answers to q: Sᵀq. */
const answer = (S, q) => range(S[0].length, (c) => total(S.map((row, r) => row[c] * q[r])));

/** S after one pair is written: γS + kvᵀ, or S + βk(v − Sᵀk)ᵀ. */
function written(rule, S, k, v, { decay, beta }) {
  const kept = rule === "decay" ? decay : 1;
  const rate = rule === "delta" ? beta : 1;
  const old = rule === "delta" ? answer(S, k) : scaled(0, v);
  return S.map((row, r) => row.map((entry, c) => kept * entry + rate * k[r] * (v[c] - old[c])));
}

/** The state after all pairs, d × 12. `rule` is hebb, decay or delta. */
export function stateOf(rule, keys, order, parameters) {
  const empty = keys[0].map(() => scaled(0, value("A")));
  return keys.reduce((S, k, i) => written(rule, S, k, value(order[i]), parameters), empty);
}

/** Softmax attention's answer to q: the values, weighted by exp(s kᵀq). */
function attend(keys, order, q, scale) {
  const logits = keys.map((k) => scale * dot(k, q));
  const top = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - top));
  const out = scaled(0, value("A"));
  weights.forEach((weight, i) => (out[column(order[i])] += weight / total(weights)));
  return out;
}

/** What comes back when each key is asked for, in write order. */
export function reads(rule, keys, order, parameters) {
  if (rule === "softmax") return keys.map((q) => attend(keys, order, q, parameters.scale));
  const S = stateOf(rule, keys, order, parameters);
  return keys.map((q) => answer(S, q));
}

/** The squared distance of each answer from the value that was written. */
export const errors = (answers, order) =>
  answers.map((out, i) => total(value(order[i]).map((v, c) => (out[c] - v) ** 2)));

/** The letter of which an answer holds most. */
export const recalled = (out) => LETTERS[out.indexOf(Math.max(...out))];

const geometric = (ratio, count) => total(range(count, (m) => ratio ** m));

/**
 * The mean of the squared read error over keys that are independent and uniform on the sphere, for
 * the pair that was written `age` writes before the last of `count`.
 */
export function expectedError(rule, { count, age, dim, decay, beta }) {
  switch (rule) {
    case "hebb":
      return (count - 1) / dim;
    case "decay":
      return (1 - decay ** age) ** 2 + (geometric(decay ** 2, count) - decay ** (2 * age)) / dim;
    case "delta": {
      // What a write does to the length of a vector, on average, and to its traceless second moment.
      const shrink = 1 - (beta * (2 - beta)) / dim;
      const turn = 1 - (2 * beta) / dim + (2 * beta ** 2) / (dim * (dim + 2));
      const own = shrink ** age / dim + turn ** age * (1 - 1 / dim);
      const later = geometric(shrink, age);
      const earlier = geometric(shrink, count - 1 - age) * (shrink ** age - beta * (2 - beta) * own);
      const signal = 1 - 2 * beta * (1 - beta / dim) ** age + beta ** 2 * own;
      return signal + (beta ** 2 / dim) * (later + earlier);
    }
    default:
      throw new Error(`no expectation in closed form for ${rule}`);
  }
}

/**
 * Bounds on softmax's squared read errors. With c the largest cosine of a key with another, the
 * other weights are to the own at most as ε = (N − 1) exp(−s(1 − c)) to 1.
 */
export function neighborBounds(keys, scale) {
  return keys.map((k, i) => {
    const others = keys.filter((_, j) => j !== i).map((other) => dot(other, k));
    const leak = others.length * Math.exp(-scale * (1 - Math.max(...others)));
    return others.length ? 2 * (leak / (1 + leak)) ** 2 : 0;
  });
}

// ---------------------------------------------------------------------------------- the figure

const NAMES = { hebb: "Hebb", decay: "decay", delta: "delta", softmax: "softmax" };
const FORMULAS = {
  hebb: "*S* ← *S* + *kv*ᵀ",
  decay: "*S* ← *γS* + *kv*ᵀ",
  delta: "*S* ← *S* + *βk*(*v* − *S*ᵀ*k*)ᵀ",
  softmax: "all pairs kept; weights ∝ exp(*sk*ᵀ*q*)",
};
const PARAMETERS = {
  decay: { rule: "decay", label: "decay *γ*", min: 0, max: 1, step: 0.01 },
  beta: { rule: "delta", label: "step *β*", min: 0, max: 2, step: 0.05 },
  scale: { rule: "softmax", label: "scale *s*", min: 0, max: 64, step: 1 },
};
const ALIKE = { A: [0.9397, 0.342], F: [0.9945, -0.1045] }; // at 20° and −6°
const PRESETS = {
  "two alike": { dim: 8, order: "ABCDEF", places: ALIKE },
  "one key, two values": { dim: 8, order: "ABCDEF", places: { ...ALIKE, F: ALIKE.A } },
  "right angle": { dim: 2, order: "AB", places: { A: [1, 0], B: [0, 1] } },
  "too many pairs": { dim: 4, order: LETTERS, places: {} },
  "room to spare": { dim: 32, order: "ABCDEF", places: {} },
};
const ACROSS = 3; // what the stage shows, in lengths of a key
const DOWN = 2.25;
const CHART = { height: 218, left: 50, right: 4, top: 12, bottom: 58 };
const TOPS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]; // of the error’s axis
const FEWEST_SLOTS = 6; // so that one pair's bar is not as wide as the chart
const SEEDS = 9999;
const STEP = 0.05; // of an arrow key
const MAGNET = 2.5; // degrees

/** Text in which what stands between asterisks is slanted, as letters in formulas are. */
const slanted = (text) =>
  text.split("*").map((part, i) => (i % 2 ? element("i", {}, part) : part));

const degrees = (x, y) => (Math.atan2(y, x) * 180) / Math.PI;
const tidy = (x, digits) => Number(x.toFixed(digits));
const onRim = (angle) =>
  [Math.cos, Math.sin].map((f) => tidy(f((Math.round(angle) * Math.PI) / 180), 4));

/** The place for a key that was dragged to (x, y): the rim draws it, and in two dimensions holds it. */
function settle(x, y, dim) {
  const length = Math.hypot(x, y);
  if (dim === 2 || length > 1 - STEP / 2) return onRim(degrees(x, y));
  return [tidy(x, 2), tidy(y, 2)];
}

const topFor = (largest) => TOPS.find((edge) => edge >= largest) ?? TOPS.at(-1);

/** `order` with the letter moved to another place in it. */
function reordered(order, letter, place) {
  const others = [...order].filter((other) => other !== letter);
  others.splice(clamp(place, 0, others.length), 0, letter);
  return others.join("");
}

/** `order` with the newest pairs taken away, or unused letters written in addition. */
function resized(order, count) {
  const unused = [...LETTERS].filter((letter) => !order.includes(letter));
  return [...order, ...unused].slice(0, count).join("");
}

/** A mixture of values in words: its three largest parts, and whether there are more. */
function inWords(out) {
  const parts = [...LETTERS].map((letter, c) => [letter, out[c]]);
  const shown = parts.filter(([, part]) => Math.abs(part) >= 0.005);
  shown.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const words = shown.slice(0, 3).map(([letter, part], i) => {
    const sign = i === 0 ? "" : part < 0 ? "− " : "+ ";
    return `${sign}${format(i === 0 ? part : Math.abs(part))} ${letter}`;
  });
  if (shown.length > 3) words.push("+ …");
  return words.join(" ") || "nothing";
}

const MAP = { left: 14, top: 16, width: 156, height: 150 }; // and the margins for names

/**
 * A matrix as a heat map: blue for positive, orange for negative entries, nothing for 0. `draw` takes
 * names for the columns and, if any, the rows; `framed` is { row, column, width, height } in cells.
 */
function heatMap() {
  const { left, top, width, height } = MAP;
  const cells = shape("g");
  const marks = shape("g");
  const viewBox = `0 0 ${left + width + 1} ${top + height + 1}`;
  const node = shape("svg", { class: "xp-map", viewBox, "aria-hidden": "true" }, cells, marks);
  let drawn = { rows: 0, columns: 0 };
  const block = (row, column, rows, columns) => {
    const [w, h] = [width / drawn.columns, height / drawn.rows];
    return { x: left + column * w, y: top + row * h, width: columns * w, height: rows * h };
  };

  return {
    node,
    draw(matrix, { rowNames, columnNames, framed }) {
      const [rows, columns] = [matrix.length, columnNames.length];
      if (rows !== drawn.rows || columns !== drawn.columns) {
        drawn = { rows, columns };
        const cell = (i) => block(Math.floor(i / columns), i % columns, 1, 1);
        const all = range(rows * columns, (i) => shape("rect", { class: "xp-cell", ...cell(i) }));
        cells.replaceChildren(...all);
      }
      matrix.flat().forEach((entry, i) => {
        const opacity = Math.min(Math.abs(entry), 1).toFixed(3);
        set(cells.children[i], { "data-sign": Math.sign(entry), "fill-opacity": opacity });
      });
      const above = columnNames.map((name, c) => {
        const { x, width: w } = block(0, c, 1, 1);
        return shape("text", { x: x + w / 2, y: top - 5 }, name);
      });
      const beside = rowNames.map((name, r) => {
        const { y, height: h } = block(r, 0, 1, 1);
        return shape("text", { x: 6, y: y + h / 2 + 4 }, name);
      });
      const around = block(framed.row, framed.column, framed.height, framed.width);
      marks.replaceChildren(
        shape("rect", { class: "xp-map-edge", x: left, y: top, width, height }),
        ...above,
        ...beside,
        shape("rect", { class: "xp-framed", ...around }),
      );
    },
  };
}

function build({ root, state, initial, change, redraw, save, say }) {
  let chosen = state.order[0]; // the letter that is asked for in words
  let scale = 100; // pixels for the length of a key
  let columnWidth = 0; // of the column in which disk and chart stand
  let now = {}; // what follows from the state

  // The disk of keys.
  const drawing = shape("svg", { class: "xp-drawing", "aria-hidden": "true" });
  const rim = shape("circle", { class: "xp-rim" });
  const axes = shape("path", { class: "xp-axes" });
  const tokens = shape("g");
  drawing.append(axes, rim, tokens);
  const stage = element("div", { class: "xp-stage xp-disk" }, drawing);
  const help = helpText(
    "Arrow keys move the key by 0.05, with Shift by 0.25; on the rim it slides along.",
  );
  const token = {};
  const handles = {};
  for (const letter of LETTERS) {
    const line = shape("line", { class: "xp-spoke" });
    const disk = shape("circle", { class: "xp-token", r: 10.5 });
    const text = shape("text", { class: "xp-token-text" }, letter);
    token[letter] = { group: shape("g", { "data-letter": letter }, line, disk, text), line, disk, text };
    const key = handle({
      ...{ label: `Key ${letter}`, name: letter, help },
      ...{ min: -1, max: 1, step: STEP, bigStep: 5 * STEP },
      onStep: (dx, dy) => {
        const [x, y] = now.keys[state.order.indexOf(letter)];
        move(letter, settle(x + dx, y - dy, state.dim));
      },
    });
    key.node.addEventListener("focus", () => choose(letter));
    handles[letter] = key;
    tokens.append(token[letter].group);
    stage.append(key.node);
  }
  const legend = element("p", { class: "xp-legend" });

  // The chart of errors. Bars are dragged sideways; the two buttons do the same.
  const chart = plane(CHART);
  const bars = shape("g");
  const one = shape("path", { class: "xp-one" });
  const theory = shape("path", { class: "xp-theory" });
  const halo = shape("path", { class: "xp-halo" }); // on the bars, the lines would be hard to see
  chart.content.append(bars, halo, one, theory);
  const answersRow = shape("g", { class: "xp-answers" });
  chart.front.append(answersRow);
  const sortable = element("div", { class: "xp-frame xp-sortable" }, chart.node);
  const chartLegend = element("p", { class: "xp-legend" });
  const earlier = button("", () => shift(-1), { "data-action": "earlier" });
  const later = button("", () => shift(1), { "data-action": "later" });

  // The rules, what is asked for in words, the matrices.
  const table = barTable({
    legend: "rule",
    columns: ["mean error", "recalled", "floats kept"],
    rows: RULES.map((rule, i) => ({ value: rule, label: NAMES[rule], series: i + 1 })),
    onSelect: (rule) => change({ rule }),
  });
  const formula = element("p", { class: "xp-formula" });
  const parameters = Object.entries(PARAMETERS).map(([name, { rule, label, ...options }]) => {
    const onInput = (next) => change({ [name]: next });
    return { name, rule, ...slider({ ...options, label: slanted(label), onInput }) };
  });
  const knob = element(
    "div",
    { class: "xp-controls xp-run xp-knob" },
    ...parameters.map(({ node }) => node),
  );
  const readout = element("p", { class: "xp-readout" });
  const stateMap = heatMap();
  const readMap = heatMap();
  const stateTitle = element("p", { class: "xp-title" });
  const readTitle = element("p", { class: "xp-title" }, "Answers (one row a key)");
  const maps = element(
    "div",
    { class: "xp-maps" },
    element("div", {}, stateTitle, stateMap.node),
    element("div", {}, readTitle, readMap.node),
  );
  const mapScale = element(
    "p",
    { class: "xp-signed", "aria-hidden": "true" },
    ...["−1", "0", "+1"].map((text) => element("span", { class: "xp-number" }, text)),
  );

  const pairs = slider({
    ...{ label: slanted("pairs *N*"), min: 1, max: LETTERS.length, step: 1 },
    onInput: (count) => change({ order: resized(state.order, count) }),
  });
  const dimension = slider({
    ...{ label: slanted("dimension *d*"), min: 2, max: LARGEST, step: 1 },
    onInput: (dim) => change({ dim }),
  });
  const next = () => change({ seed: (state.seed % SEEDS) + 1, places: {} });
  const drawButton = button("New random keys", next, { "data-action": "draw" });
  const resetButton = button("Reset", () => change(initial), { "data-action": "reset" });
  const presets = examples(PRESETS, (preset) => change({ ...preset, seed: initial.seed }));
  const smallPrint = element(
    "p",
    { class: "xp-small" },
    "Pick a key or a bar to ask for its letter; drag a bar sideways to write its pair earlier or later. ",
    "The values A to L are twelve orthogonal unit vectors, so that an answer is a sum of letters; an ",
    "empty memory answers 0. A key inside the circle points out of the page with the rest of its ",
    "length, in a direction of its own; on the rim, two keys at one place are the same key. Softmax’s ",
    "upper bound follows from the cosine of the nearest other key.",
  );
  // In one column, the rules stand right below the keys.
  const body = element(
    "div",
    { class: "xp-body" },
    element("div", {}, legend, stage),
    element("div", {}, table.node, formula, knob, readout),
    element("div", {}, chartLegend, sortable),
    element("div", {}, maps, mapScale),
    element(
      "div",
      { class: "xp-controls" },
      element("div", { class: "xp-run" }, earlier, later, drawButton, resetButton),
      presets,
    ),
    element("div", { class: "xp-controls xp-run xp-knobs" }, pairs.node, dimension.node),
    smallPrint,
  );
  function choose(letter) {
    if (letter === chosen) return;
    chosen = letter;
    redraw();
    say(asked());
  }

  const move = (letter, place) => change({ places: { ...state.places, [letter]: place } });
  const shift = (by) =>
    change({ order: reordered(state.order, chosen, state.order.indexOf(chosen) + by) });

  /** Everything that follows from the state, for each rule. */
  function follow() {
    const { order, dim } = state;
    const keys = keysOf(state);
    const of = (rule) => {
      const answers = reads(rule, keys, order, state);
      const errorsNow = errors(answers, order);
      return {
        answers,
        errors: errorsNow,
        mean: total(errorsNow) / order.length,
        right: answers.filter((out, i) => recalled(out) === order[i]).length,
        kept: rule === "softmax" ? order.length * (dim + LETTERS.length) : dim * LETTERS.length,
      };
    };
    const ages = range(order.length, (i) => order.length - 1 - i);
    const average = (age) => expectedError(state.rule, { count: order.length, age, ...state });
    now = {
      keys,
      rules: Object.fromEntries(RULES.map((rule) => [rule, of(rule)])),
      line: state.rule === "softmax" ? neighborBounds(keys, state.scale) : ages.map(average),
    };
  }

  const shown = () => now.rules[state.rule];

  function asked() {
    const i = state.order.indexOf(chosen);
    const { answers, errors: found } = shown();
    return `Asked for ${chosen}, ${NAMES[state.rule]} answers ${inWords(answers[i])}, error ${format(found[i])}.`;
  }

  function summary() {
    const { mean, right } = shown();
    const count = state.order.length;
    return `${NAMES[state.rule]}: mean error ${format(mean)}, ${right} of ${count} recalled. ${asked()}`;
  }

  function drawDisk() {
    const [left, top] = [(ACROSS / 2) * scale, (DOWN / 2) * scale];
    const side = matchMedia("(pointer: coarse)").matches ? 44 : 26;
    for (const letter of LETTERS) {
      const i = state.order.indexOf(letter);
      const { group, line, disk, text } = token[letter];
      set(group, { display: i < 0 ? "none" : null, "data-chosen": letter === chosen });
      handles[letter].node.hidden = i < 0;
      if (i < 0) continue;
      const [kx, ky] = now.keys[i];
      const [x, y] = [left + kx * scale, top - ky * scale];
      set(line, { x1: left, y1: top, x2: x, y2: y });
      set(disk, { cx: x, cy: y });
      set(text, { x, y });
      handles[letter].place({ left: x - side / 2, top: y - side / 2, width: side, height: side });
      const told = `x ${format(kx)}, y ${format(ky)}; read error ${format(shown().errors[i])}`;
      handles[letter].describe(tidy(kx, 4), told);
    }
    tokens.append(token[chosen].group); // on top
    const where = state.dim === 2 ? "the plane" : `${state.dim} dimensions, seen along two`;
    legend.textContent = `Unit keys in ${where}`;
  }

  function drawChart() {
    const { order } = state;
    const slots = Math.max(order.length, FEWEST_SLOTS);
    const largest = Math.max(...RULES.flatMap((rule) => now.rules[rule].errors), ...now.line);
    const top = topFor(largest);
    chart.fit(
      columnWidth,
      {
        ...{ low: 0, high: slots, title: "written first to written last" },
        ticks: [...order].map((letter, i) => [i + 0.5, letter]),
      },
      { low: 0, high: top, ticks: [0, top / 2, top].map((tick) => [tick, String(tick)]) },
    );
    const { errors: found, answers } = shown();
    bars.replaceChildren(
      ...found.map((error, i) => {
        const [x, y] = chart.at(i + 0.14, Math.min(error, top));
        const place = { x, y, width: chart.size[0] * (0.72 / slots), height: chart.size[1] - y };
        const data = { "data-letter": order[i], "data-error": error, "data-chosen": order[i] === chosen };
        return shape("rect", { ...place, ...data, class: "xp-error" });
      }),
    );
    const steps = now.line.flatMap((level, i) => [[i, level], [i + 1, level]]);
    const lines = [chart.path(steps), chart.path([[0, 1], [slots, 1]])];
    set(theory, { d: lines[0], "data-levels": JSON.stringify(now.line) });
    set(one, { d: lines[1] });
    set(halo, { d: lines.join("") });
    const y = chart.size[1] + 31;
    answersRow.replaceChildren(
      shape("text", { x: -6, y: y - 16, class: "xp-row-name" }, "asked"),
      shape("text", { x: -6, y, class: "xp-row-name" }, "answer"),
      ...answers.map((out, i) => {
        const [x] = chart.at(i + 0.5, 0);
        const right = recalled(out) === order[i];
        return shape("text", { x, y, "data-wrong": !right }, recalled(out));
      }),
    );
    const line = state.rule === "softmax" ? "upper bound" : "mean for random keys";
    chartLegend.replaceChildren(
      element("span", { class: "xp-key xp-key-bar" }, "squared error"),
      element("span", { class: "xp-key xp-key-line" }, line),
      element("span", { class: "xp-key xp-key-one" }, "empty memory"),
    );
  }

  function drawMaps() {
    const { order, dim, rule } = state;
    const sorted = [...order].sort();
    const answers = sorted.map((letter) => shown().answers[order.indexOf(letter)]);
    const cache = () => {
      const keys = [...LETTERS].map((letter) => now.keys[order.indexOf(letter)]);
      return range(dim, (r) => keys.map((key) => key?.[r] ?? 0));
    };
    const S = rule === "softmax" ? cache() : stateOf(rule, now.keys, order, state);
    stateTitle.textContent =
      rule === "softmax" ? "Cache: the keys" : `State S, ${dim} × ${LETTERS.length}`;
    stateMap.draw(S, {
      rowNames: [],
      columnNames: [...LETTERS],
      framed: { row: 0, column: column(chosen), height: dim, width: 1 },
    });
    readMap.draw(
      answers.map((out) => sorted.map((letter) => out[column(letter)])),
      {
        rowNames: sorted,
        columnNames: sorted,
        framed: { row: sorted.indexOf(chosen), column: 0, height: 1, width: sorted.length },
      },
    );
    root.dataset.matrix = JSON.stringify(S);
  }

  function drawPanel() {
    const { rule, order } = state;
    const most = topFor(Math.max(...RULES.map((name) => now.rules[name].mean)));
    table.select(rule);
    for (const name of RULES) {
      const { mean, right, kept } = now.rules[name];
      table.update(name, {
        share: mean / most,
        numbers: [format(mean), `${right}/${order.length}`, String(kept)],
        data: { value: mean, right, kept },
      });
    }
    const place = order.indexOf(chosen);
    readout.replaceChildren(
      ...["Asked for ", element("b", {}, chosen), `, ${NAMES[rule]} answers `],
      element("span", { class: "xp-number" }, inWords(shown().answers[place])),
      ", error ",
      element("span", { class: "xp-number" }, format(shown().errors[place])),
      ".",
    );
    formula.replaceChildren(element("b", {}, NAMES[rule]), ": ", ...slanted(FORMULAS[rule]));
    for (const { name, rule: owner, node, set: show } of parameters) {
      node.hidden = rule !== owner;
      show(state[name]);
    }
    pairs.set(order.length);
    dimension.set(state.dim);
    earlier.textContent = `Write ${chosen} earlier`;
    later.textContent = `Write ${chosen} later`;
  }

  function draw() {
    if (!state.order.includes(chosen)) chosen = state.order[0];
    follow();
    root.dataset.keys = JSON.stringify(now.keys);
    set(body, { "data-series": RULES.indexOf(state.rule) + 1 });
    drawDisk();
    drawChart();
    drawMaps();
    drawPanel();
  }

  /** The key under a point: the nearest within reach, the chosen one first. */
  function pickKey(px, py, touch) {
    const at = (i) => {
      const [kx, ky] = now.keys[i];
      return [(ACROSS / 2 + kx) * scale, (DOWN / 2 - ky) * scale];
    };
    const distance = (letter, i) => {
      const [x, y] = at(i);
      return Math.hypot(px - x, py - y) - (letter === chosen ? 4 : 0);
    };
    const near = [...state.order].map((letter, i) => ({ letter, i, far: distance(letter, i) }));
    const [best] = near.sort((a, b) => a.far - b.far);
    if (best.far > (touch ? 24 : 14)) return null;
    const [kx, ky] = now.keys[best.i];
    return {
      cursor: "grab",
      node: handles[best.letter].node,
      drag: (dx, dy) => move(best.letter, attracted(best.letter, kx + dx / scale, ky - dy / scale)),
      drop: save.now,
    };
  }
  draggable(stage, pickKey);

  /** Where a dragged key comes to lie; on the rim, exactly on another key that is very near. */
  function attracted(letter, x, y) {
    const place = settle(x, y, state.dim);
    if (Math.hypot(...place) < 0.999) return place;
    const others = now.keys.filter((k, i) => state.order[i] !== letter && Math.hypot(k[0], k[1]) > 0.999);
    const turn = (k) => Math.abs(((degrees(x, y) - degrees(...k) + 540) % 360) - 180);
    const [near] = others.filter((k) => turn(k) <= MAGNET).sort((a, b) => turn(a) - turn(b));
    return near ? [tidy(near[0], 4), tidy(near[1], 4)] : place;
  }

  /** The pair whose column is under a point; dragged sideways it is written earlier or later. */
  function pickBar(px) {
    const slots = Math.max(state.order.length, FEWEST_SLOTS);
    const from = Math.floor(chart.valueAt(px - CHART.left, 0)[0]);
    const letter = state.order[from];
    if (from < 0 || !letter) return null;
    return {
      cursor: "ew-resize",
      node: handles[letter].node,
      drag: (dx) => {
        const order = reordered(state.order, letter, from + Math.round((dx * slots) / chart.size[0]));
        if (order !== state.order) change({ order });
      },
      drop: save.now,
    };
  }
  draggable(sortable, pickBar);

  function fit(width) {
    scale = width / ACROSS;
    columnWidth = stage.offsetWidth;
    const [cx, cy] = [(ACROSS / 2) * scale, (DOWN / 2) * scale];
    set(drawing, { viewBox: `0 0 ${width} ${DOWN * scale}`, width, height: DOWN * scale });
    set(rim, { cx, cy, r: scale });
    set(axes, { d: `M${cx - scale} ${cy}h${2 * scale}M${cx} ${cy - scale}v${2 * scale}` });
  }

  return { body: [body, help], draw, summary, fit, stage };
}

const ABOUT = { name: "matrix_memory", title: "Matrix memory" };

export default { render: (page) => mount(page, ABOUT, build) };
