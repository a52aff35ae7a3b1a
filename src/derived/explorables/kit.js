// What every interactive figure shares: elements, controls, drag handles, a heat map, announcements.
// It has no dependencies and touches the page only when one of its functions is called. The book
// joins it in front of each figure's own file (derived.explorables.module_source), so names are
// shared with that file.

/** Create an HTML element: `attributes` become attributes, `children` nodes or text. */
export function element(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/** Create an SVG element. */
export function shape(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** Set attributes; null and false remove, true sets an empty one. */
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : value);
  }
  return node;
}

function furnish(node, attributes, children) {
  set(node, attributes).append(...children);
  return node;
}

/** Write a number with a true minus sign, and never "−0.00". */
export function format(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

/** Like `format`, with a plus sign where the number is positive. */
export function signed(value, digits = 2) {
  const text = format(value, digits);
  return value > 0 && Number(text) !== 0 ? `+${text}` : text;
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** Write a number with two significant digits, a very small or large one as a power of ten. */
export function significant(value) {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const [mantissa, exponent] = value.toExponential(0).split("e");
  if (exponent < -4 || exponent > 4) {
    const power = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[digit]).join("");
    return `${mantissa.replace("-", "−")}·10${exponent < 0 ? "⁻" : ""}${power}`;
  }
  const size = Math.abs(value);
  return format(value, clamp(1 - Math.floor(Math.log10(size)), 0, 20));
}

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** Call `action` at most once in `wait` ms, the last time included; `.now()` does it at once. */
export function throttle(action, wait) {
  let timer = null;
  const now = () => {
    clearTimeout(timer);
    timer = null;
    action();
  };
  const later = () => {
    timer ??= setTimeout(now, wait);
  };
  later.now = now;
  later.cancel = () => clearTimeout(timer);
  return later;
}

/**
 * The state of a figure: those of the model's values that its `state_keys` name. `change(next)`
 * alters it, draws, and tells the model at most every 150 ms (`save.now()` does so at once); what
 * others change in the model is drawn too, until `stop()`.
 */
function sharedState(model, draw) {
  const keys = model.get("state_keys");
  const state = Object.fromEntries(keys.map((key) => [key, model.get(key)]));
  const events = keys.map((key) => `change:${key}`);
  let telling = false; // while the model hears from us, we need not hear from it
  const save = throttle(() => {
    telling = true;
    for (const key of keys) model.set(key, state[key]);
    model.save_changes();
    telling = false;
  }, 150);
  function adopt() {
    if (telling) return;
    for (const key of keys) state[key] = model.get(key);
    draw();
  }
  for (const event of events) model.on(event, adopt);
  return {
    ...{ state, save },
    change(next) {
      Object.assign(state, next);
      draw();
      save();
    },
    stop() {
      save.cancel();
      for (const event of events) model.off(event, adopt);
    },
  };
}

/**
 * Put a figure into the page's `el`, and return the function that takes it away without a trace.
 *
 * `about` is { name, title, style }, the last only where its CSS variables differ from the kit's.
 * `build(page)` makes the figure from what it is given:
 * - `root`, its outermost element, not on the page yet;
 * - `state`, to be read, and `initial`, a copy of what it starts with;
 * - `change(next)` alters the state, draws it, has the summary announced and tells the model soon;
 *   `save.now()` tells it at once;
 * - `redraw()`, for where something else than the state has changed; `say(text)` announces more.
 * It returns `body`, the nodes of the figure, `draw()`, and `summary()`, a sentence about the state.
 * Where it has them, `fit(width)` measures anew for a width of `stage` (without one, of the whole
 * figure), and `stop()` ends what still runs. While there is no width, nothing is drawn.
 */
export function mount({ model, el }, { name, title, style = null }, build) {
  const own = { class: "explorable-live", style, "data-live": name };
  // JupyterLab would take the arrow keys to go to another cell.
  const keys = { "data-lm-suppress-shortcuts": "true" };
  const root = element("div", { ...own, role: "group", "aria-label": title, ...keys });
  const voice = announcer();
  const shared = sharedState(model, redraw);
  const { state, save } = shared;
  const figure = build({
    ...{ root, state, initial: { ...state }, save, redraw, say: voice.say },
    change(next) {
      shared.change(next);
      voice.say(figure.summary());
    },
  });
  const stage = figure.stage ?? root;
  root.append(...[figure.body].flat(), voice.node);
  el.append(root);

  function redraw() {
    if (stage.clientWidth === 0) return;
    root.dataset.now = JSON.stringify(state);
    figure.draw();
  }

  function resize() {
    if (stage.clientWidth === 0) return;
    figure.fit?.(stage.clientWidth);
    redraw();
  }

  const observer = new ResizeObserver(resize);
  observer.observe(stage);
  const unwatch = watchTheme(redraw);
  resize();
  return () => {
    figure.stop?.();
    shared.stop();
    voice.stop();
    observer.disconnect();
    unwatch();
    root.remove();
  };
}

// ---------------------------------------------------------------------------------- controls

export function button(label, onClick, attributes = {}) {
  const node = element("button", { type: "button", class: "xp-button", ...attributes }, label);
  node.addEventListener("click", onClick);
  return node;
}

/** A checkbox with its label; `set(checked, enabled)` changes it from outside. */
export function toggle(label, onChange) {
  const input = element("input", { type: "checkbox" });
  input.addEventListener("change", () => onChange(input.checked));
  const node = element("label", { class: "xp-toggle" }, input, element("span", {}, ...label));
  return {
    node,
    set(checked, enabled = true) {
      input.checked = checked;
      input.disabled = !enabled;
    },
  };
}

/**
 * A labeled slider whose value, or the `text` given with it, stands beside its label. The label is
 * text or an array of text and nodes.
 */
export function slider({ label, min, max, step, onInput }) {
  // A span: a label would belong to an output, as the first thing in it that can have one.
  const shown = element("span", { class: "xp-number", "aria-hidden": "true" });
  const input = element("input", { type: "range", min, max, step });
  input.addEventListener("input", () => onInput(input.valueAsNumber));
  const heading = element("span", { class: "xp-slider-label" }, ...[label, " ", shown].flat());
  return {
    node: element("label", { class: "xp-slider" }, heading, input),
    set(value, text = String(value)) {
      input.value = value;
      set(input, { "aria-valuetext": text });
      shown.textContent = text;
    },
  };
}

/** A short line of a CSS class, for whatever says what such a line is. */
export function lineSample(name) {
  const line = shape("line", { x1: 1, y1: 4, x2: 25, y2: 4, class: name });
  return shape("svg", { class: "xp-sample", width: 26, height: 8, "aria-hidden": "true" }, line);
}

/** A name that no other element of the page has; each figure brings a kit of its own, so none counts. */
function unique(stem) {
  return `explorable-${stem}-${Math.random().toString(36).slice(2)}`;
}

/**
 * A table whose rows are radio buttons: a colored line sample, a name, numbers, and below them a bar.
 * `rows` are { value, label, series }, the last being 1 to 6: colors and dashes come from CSS by it.
 * `update(value, { share, numbers, data })` fills one row; `share` of 1 is a full bar.
 * Where there is a `moreLabel`, the rows are dense, and in a narrow column those with `more` fold away
 * behind a button of that name, but for the chosen one.
 */
export function barTable({ legend, columns, rows, moreLabel, onSelect }) {
  const group = unique("group");
  const body = element("tbody");
  const parts = new Map();
  for (const { value, label, series = null } of rows) {
    const input = element("input", { type: "radio", name: group, value });
    input.addEventListener("change", () => onSelect(value));
    const sample = lineSample("xp-line");
    const name = element("label", { class: "xp-row-label" }, input, sample, element("span", {}, label));
    const fill = element("span", { class: "xp-bar-fill" });
    const cells = columns.map(() => element("td", { class: "xp-number" }));
    const colors = { "data-kind": value, "data-series": series };
    const row = element("tr", colors, element("th", { scope: "row" }, name), ...cells);
    const bar = element("td", { colspan: columns.length + 1, class: "xp-bar" }, fill);
    body.append(row, element("tr", { ...colors, "aria-hidden": "true" }, bar));
    parts.set(value, { row, input, fill, cells });
  }
  const headings = columns.map((text) => element("th", { scope: "col" }, text));
  const head = element("tr", {}, element("th", { scope: "col" }, legend), ...headings);
  const table = element("table", { class: "xp-bars" }, element("thead", {}, head), body);
  const node = element(
    "fieldset",
    { class: "xp-group" },
    element("legend", { class: "xp-hidden" }, legend),
    table,
  );
  if (moreLabel) {
    const rest = element("tbody", { class: "xp-more xp-folded" });
    for (const { value } of rows.filter(({ more }) => more)) {
      const { row } = parts.get(value);
      rest.append(row, row.nextSibling);
    }
    table.classList.add("xp-dense");
    table.append(rest);
    const unfold = () => set(fold, { "aria-expanded": String(!rest.classList.toggle("xp-folded")) });
    const fold = button(moreLabel, unfold, { class: "xp-button xp-fold", "aria-expanded": "false" });
    node.append(fold);
  }
  return {
    node,
    heading: (column, text) => (headings[column].textContent = text),
    select(value) {
      for (const [key, { row, input }] of parts) {
        input.checked = key === value;
        row.classList.toggle("xp-selected", key === value);
      }
    },
    update(value, { share, numbers, data }) {
      const { row, fill, cells } = parts.get(value);
      fill.style.width = `${100 * clamp(share, 0, 1)}%`;
      numbers.forEach((text, i) => (cells[i].textContent = text));
      Object.assign(row.dataset, data);
    },
  };
}

/** A few radio buttons in a row; `options` are { value: label }, `set(value)` chooses from outside. */
export function choice({ label, options, onSelect }) {
  const group = unique("group");
  const inputs = Object.entries(options).map(([value, text]) => {
    const input = element("input", { type: "radio", name: group, value });
    input.addEventListener("change", () => onSelect(value));
    return [input, element("label", { class: "xp-toggle" }, input, element("span", {}, text))];
  });
  const legend = element("legend", {}, label);
  return {
    node: element("fieldset", { class: "xp-group xp-choice" }, legend, ...inputs.map(([, node]) => node)),
    set: (value) => inputs.forEach(([input]) => (input.checked = input.value === value)),
  };
}

/** A button for each of the `presets` { label: state }. */
export function examples(presets, onSelect) {
  const buttons = Object.entries(presets).map(([label, preset]) =>
    button(label, () => onSelect(preset), { "data-preset": label }),
  );
  return element("div", { class: "xp-presets", role: "group", "aria-label": "Examples" }, ...buttons);
}

/** A polite announcer for screen readers: what is said last wins, at most twice a second. */
function announcer() {
  const node = element("div", { class: "xp-hidden", "aria-live": "polite", "data-announcer": true });
  let text = "";
  const speak = throttle(() => (node.textContent = text), 500);
  return {
    node,
    say(message) {
      text = message;
      speak();
    },
    stop: speak.cancel,
  };
}

// ---------------------------------------------------------------------------------- handles

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Words for screen readers alone, which controls and handles can refer to by the node's id. */
export const helpText = (...words) =>
  element("p", { class: "xp-hidden", id: unique("help") }, ...words);

/**
 * A focusable handle with two degrees of freedom. Arrow keys call `onStep(dx, dy)` with steps of
 * `step`, or `bigStep` with Shift. It is a slider to assistive technology, because only for sliders
 * do screen readers hand the arrow keys over; `describe` says both coordinates, and `help`, a node,
 * what the keys do.
 */
export function handle({ label, name, help, min, max, step, bigStep, onStep }) {
  const node = element("div", {
    class: "xp-handle",
    role: "slider",
    tabindex: 0,
    "aria-label": label,
    "aria-roledescription": "two-way handle",
    "aria-describedby": help.id,
    "aria-valuemin": min,
    "aria-valuemax": max,
    "data-handle": name,
  });
  node.addEventListener("keydown", (event) => {
    const direction = ARROWS[event.key];
    if (!direction || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const size = event.shiftKey ? bigStep : step;
    onStep(direction[0] * size, direction[1] * size);
  });
  return {
    node,
    describe: (value, text) => set(node, { "aria-valuenow": value, "aria-valuetext": text }),
    place({ left, top, width, height }) {
      Object.assign(node.style, {
        left: `${left}px`,
        top: `${top}px`,
        width: `${width}px`,
        height: `${height}px`,
      });
    },
  };
}

/**
 * Let mouse, pen and touch drag things on `surface`. `pick(x, y, touch)` returns what is under a
 * point, in pixels, as { cursor, node, drag(dx, dy), drop() }, or null. Picking is by distance, not
 * by element, so that small or covered things can still be reached; only elements that sit on
 * something draggable set `touch-action: none`, so the page still scrolls from everywhere else.
 */
export function draggable(surface, pick) {
  let held = null;
  const point = (event) => {
    const frame = surface.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };
  const find = (event) => pick(...point(event), event.pointerType !== "mouse");
  surface.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || held) return;
    const target = find(event);
    if (!target) return;
    surface.setPointerCapture(event.pointerId);
    held = { target, id: event.pointerId, from: point(event) };
    target.node.focus({ preventScroll: true });
  });
  // The browser would move the focus to whatever element lies on top.
  surface.addEventListener("mousedown", (event) => event.preventDefault());
  surface.addEventListener("pointermove", (event) => {
    if (!held) surface.style.cursor = find(event)?.cursor ?? "default";
    else if (event.pointerId === held.id) {
      const [x, y] = point(event);
      held.target.drag(x - held.from[0], y - held.from[1]);
    }
  });
  const drop = (event) => {
    if (event.pointerId !== held?.id) return;
    held.target.drop();
    held = null;
  };
  surface.addEventListener("pointerup", drop);
  surface.addEventListener("pointercancel", drop);
}

// ---------------------------------------------------------------------------------- drawing

/** The numbers of a CSS color variable written as #rrggbb. */
function rgb(style, name) {
  const hex = style.getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

/** The theme's color ramp (--xp-ramp-0 … --xp-ramp-4) as a function of a share in [0, 1]. */
export function colorRamp(node) {
  const style = getComputedStyle(node);
  const stops = [0, 1, 2, 3, 4].map((i) => rgb(style, `--xp-ramp-${i}`));
  return (share) => {
    const place = clamp(share, 0, 1) * 4;
    const i = Math.min(Math.floor(place), 3);
    return stops[i].map((low, channel) => low + (place - i) * (stops[i + 1][channel] - low));
  };
}

/**
 * Paint `field` = { values, columns, rows } over the whole canvas, its values being samples at
 * the centers of equal cells, with contour lines at `levels`.
 */
export function paintField(canvas, field, { ramp, low, high, levels, line }) {
  const { values, columns, rows } = field;
  const image = new ImageData(columns, rows);
  values.forEach((value, i) => {
    const color = ramp((value - low) / (high - low));
    for (const channel of [0, 1, 2]) image.data[4 * i + channel] = color[channel];
    image.data[4 * i + 3] = 255;
  });
  const small = element("canvas", { width: columns, height: rows });
  small.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, width, height);
  const sx = width / columns;
  const sy = height / rows;
  context.beginPath();
  for (const level of levels) {
    for (const [x0, y0, x1, y1] of contour(field, level)) {
      context.moveTo((x0 + 0.5) * sx, (y0 + 0.5) * sy);
      context.lineTo((x1 + 0.5) * sx, (y1 + 0.5) * sy);
    }
  }
  context.strokeStyle = line;
  context.lineWidth = Math.max(1, width / 700);
  context.stroke();
}

/** The segments [x0, y0, x1, y1] of a level line, by marching squares, in units of samples. */
export function contour({ values, columns, rows }, level) {
  const segments = [];
  for (let y = 0; y + 1 < rows; y += 1) {
    for (let x = 0; x + 1 < columns; x += 1) {
      const i = y * columns + x;
      const below =
        (values[i] < level) +
        (values[i + 1] < level) +
        (values[i + columns] < level) +
        (values[i + columns + 1] < level);
      if (below % 4 === 0) continue; // most cells lie on one side of the line
      const corners = [values[i], values[i + 1], values[i + columns + 1], values[i + columns]];
      const cuts = [];
      for (let side = 0; side < 4; side += 1) {
        const from = corners[side];
        const to = corners[(side + 1) % 4];
        if (from < level === to < level) continue;
        const t = (level - from) / (to - from);
        cuts.push([[t, 0], [1, t], [1 - t, 1], [0, 1 - t]][side]);
      }
      for (let k = 0; k + 1 < cuts.length; k += 2) {
        segments.push([x + cuts[k][0], y + cuts[k][1], x + cuts[k + 1][0], y + cuts[k + 1][1]]);
      }
    }
  }
  return segments;
}

/** The path of an arrow from `at` along the unit vector `way`; of length 0 it is a small circle. */
export function arrowPath([x, y], way, length) {
  if (length === 0) return `M${x - 3.5} ${y}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0`;
  const [ux, uy] = way.map((part) => Math.sign(length) * part);
  const tip = [x + length * way[0], y + length * way[1]];
  const head = Math.min(7, Math.abs(length));
  const wing = (side) => `${tip[0] - head * ux - side * uy} ${tip[1] - head * uy + side * ux}`;
  return `M${x} ${y}L${tip.join(" ")}M${wing(5)}L${tip.join(" ")}L${wing(-5)}`;
}

/**
 * A stage that shows [−a, a] × [−b, b], a and b being `reach` and y pointing up: a `canvas`, a
 * `drawing`, and on them points that can be moved by pointer or arrow keys. `points` are
 * { name: { label, text } }; `onMove(name, [x, y])` hears where one should go, `onFocus(name)` which
 * one is held, `onDrop()` that it was let go. `fit(width)` measures anew, `at(x, y)` gives pixels, and
 * `show(name, point, told, chosen)` places a point and says so; without a point it is hidden.
 */
export function pointStage({ reach, points, onMove, onFocus = () => {}, onDrop = () => {} }) {
  const canvas = element("canvas", { class: "xp-canvas", "aria-hidden": "true" });
  const layer = shape("g");
  const drawing = shape("svg", { class: "xp-drawing", "aria-hidden": "true" });
  const help = helpText("Arrow keys move the point by 0.05, with Shift by 0.25.");
  const style = `aspect-ratio: ${reach.join(" / ")}`;
  const node = element("div", { class: "xp-stage xp-points", style }, canvas, drawing);
  if (Object.keys(points).length) node.append(help);
  const places = {};
  let scale = 1;
  let held = null; // the point on top
  const at = (x, y) => [(reach[0] + x) * scale, (reach[1] - y) * scale];
  const inside = (x, i) => Number(clamp(x, 0.1 - reach[i], reach[i] - 0.1).toFixed(3));
  const move = (name, ...to) => onMove(name, to.map(inside));

  const parts = Object.entries(points).map(([name, { label, text, series = null }]) => {
    const disk = shape("circle", { class: "xp-token", r: 10.5 });
    const letter = shape("text", { class: "xp-token-text" }, text);
    const group = shape("g", { "data-point": name, "data-series": series }, disk, letter);
    const grip = handle({
      ...{ label, name, help, min: -reach[0], max: reach[0], step: 0.05, bigStep: 0.25 },
      onStep: (dx, dy) => move(name, places[name][0] + dx, places[name][1] - dy),
    });
    grip.node.addEventListener("focus", () => {
      held = name;
      layer.append(group);
      onFocus(name);
    });
    node.append(grip.node);
    layer.append(group);
    return [name, { disk, letter, group, grip }];
  });
  const part = Object.fromEntries(parts);

  draggable(node, (x, y, touch) => {
    const near = Object.entries(places).map(([name, place]) => {
      const [px, py] = at(...place);
      return { name, place, far: Math.hypot(x - px, y - py) - (name === held ? 4 : 0) };
    });
    const [best] = near.sort((a, b) => a.far - b.far);
    if (!best || best.far > (touch ? 24 : 14)) return null;
    const [px, py] = best.place;
    return {
      cursor: "grab",
      node: part[best.name].grip.node,
      drag: (dx, dy) => move(best.name, px + dx / scale, py - dy / scale),
      drop: onDrop,
    };
  });

  return {
    ...{ node, canvas, drawing, layer, at },
    scale: () => scale,
    fit(width) {
      scale = width / (2 * reach[0]);
      const height = 2 * reach[1] * scale;
      const density = Math.min(devicePixelRatio || 1, 2);
      set(drawing, { viewBox: `0 0 ${width} ${height}`, width, height });
      set(canvas, { width: Math.round(width * density), height: Math.round(height * density) });
    },
    show(name, point, told, chosen = false) {
      const { disk, letter, group, grip } = part[name];
      set(group, { display: point ? null : "none", "data-chosen": chosen });
      grip.node.hidden = !point;
      delete places[name];
      if (!point) return;
      places[name] = point;
      const [x, y] = at(...point);
      const side = matchMedia("(pointer: coarse)").matches ? 44 : 26;
      set(disk, { cx: x, cy: y });
      set(letter, { x, y });
      grip.place({ left: x - side / 2, top: y - side / 2, width: side, height: side });
      grip.describe(point[0], `x ${format(point[0])}, y ${format(point[1])}; ${told}`);
    },
  };
}

/**
 * Axes for lines and marks, `height` pixels high and as wide as `fit` says; the rest are margins.
 * `fit(width, x, y)` takes two axes { low, high, ticks, title, log }: `ticks` are pairs of a value
 * and its text, only the x-axis has a title. What is drawn goes into `content`, which is clipped, or
 * into `front`, which is not. In both, `at(x, y)` gives the pixels of a point, `valueAt` the point of
 * two pixels, `path` the way along points, `size` the pixels across and down; `origin` is where both
 * begin.
 */
export function plane({ height, left = 40, right = 8, top = 8, bottom = 38 }) {
  const grid = shape("g", { class: "xp-grid" });
  const content = shape("svg", { x: left, y: top });
  const front = shape("g", { transform: `translate(${left} ${top})` });
  const node = shape("svg", { class: "xp-plane", height, "aria-hidden": "true" }, grid, content, front);
  const size = [0, height - top - bottom];
  const axes = [];

  const share = ({ low, high, log }, value) =>
    log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  const valueOf = ({ low, high, log }, part) =>
    log ? low * (high / low) ** part : low + part * (high - low);
  const at = (x, y) => [size[0] * share(axes[0], x), size[1] * (1 - share(axes[1], y))];
  const line = (x, y, way) => shape("path", { d: `M${left + x} ${top + y}${way}` });
  const across = (x, y, text) => shape("text", { class: "xp-tick-x", x: left + x, y }, text);

  return {
    ...{ node, content, front, size, at },
    origin: [left, top],
    valueAt: (x, y) => [valueOf(axes[0], x / size[0]), valueOf(axes[1], 1 - y / size[1])],
    path(points) {
      const steps = points.map((point, i) => `${i ? "L" : "M"}${at(...point).join(" ")}`);
      return steps.join("");
    },
    fit(width, x, y) {
      axes.splice(0, 2, x, y);
      size[0] = Math.max(width - left - right, 0);
      set(node, { width, viewBox: `0 0 ${width} ${height}` });
      set(content, { width: size[0], height: size[1] });
      grid.replaceChildren(across(size[0] / 2, height - 6, x.title));
      for (const [tick, text] of y.ticks) {
        const [, down] = at(x.low, tick);
        const place = { class: "xp-tick-y", x: left - 6, y: top + down };
        grid.append(line(0, down, `h${size[0]}`), shape("text", place, text));
      }
      for (const [tick, text] of x.ticks) {
        const [place] = at(tick, y.low);
        grid.append(line(place, size[1], "v4"), across(place, top + size[1] + 15, text));
      }
    },
  };
}

// ---------------------------------------------------------------------------------- chance

/** A source of numbers in (0, 1), the same for a seed everywhere: mulberry32 by Tommy Ettinger. */
export function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
}

/** `count` standard normal numbers of a seed, by the method of Box and Muller. */
export function normals(seed, count) {
  const uniform = uniforms(seed);
  const values = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const turn = 2 * Math.PI * uniform();
    values[i] = radius * Math.cos(turn);
    if (i + 1 < count) values[i + 1] = radius * Math.sin(turn);
  }
  return values;
}

// ---------------------------------------------------------------------------------- mixtures

/**
 * What is known in closed form when x = x0 + sigma · noise and x0 is from a mixture of Gaussians in
 * the plane, `components` being [x, y, std] and equally likely. For `points` = [x, y, x, y, …]:
 * `logDensity` of each, `denoised`, the means E[x0 | x] as points, and `shares`, the probabilities of
 * the components given x, point by point.
 */
export function mixtureAt(components, points, sigma) {
  const count = points.length / 2;
  const size = components.length;
  const logDensity = new Float64Array(count);
  const denoised = new Float64Array(2 * count);
  const shares = new Float64Array(size * count);
  const parts = components.map(([mx, my, std]) => {
    const variance = std ** 2 + sigma ** 2;
    const height = -Math.log(2 * Math.PI * variance * size);
    return { mx, my, half: 0.5 / variance, height, gain: std ** 2 / variance };
  });
  for (let i = 0; i < count; i += 1) {
    const x = points[2 * i];
    const y = points[2 * i + 1];
    const first = size * i;
    let top = -Infinity;
    for (let k = 0; k < size; k += 1) {
      const { mx, my, half, height } = parts[k];
      const log = height - half * ((x - mx) ** 2 + (y - my) ** 2);
      shares[first + k] = log;
      if (log > top) top = log;
    }
    let sum = 0;
    for (let k = 0; k < size; k += 1) {
      shares[first + k] = Math.exp(shares[first + k] - top);
      sum += shares[first + k];
    }
    logDensity[i] = top + Math.log(sum);
    for (let k = 0; k < size; k += 1) {
      const { mx, my, gain } = parts[k];
      const share = shares[first + k] / sum;
      shares[first + k] = share;
      denoised[2 * i] += share * (mx + gain * (x - mx));
      denoised[2 * i + 1] += share * (my + gain * (y - my));
    }
  }
  return { logDensity, denoised, shares };
}

/** The centers of columns × rows equal cells of [−a, a] × [−b, b], row by row from the top, as points. */
export function gridPoints([a, b], columns, rows) {
  const points = new Float64Array(2 * columns * rows);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const i = 2 * (row * columns + column);
      points[i] = a * ((2 * column + 1) / columns - 1);
      points[i + 1] = b * (1 - (2 * row + 1) / rows);
    }
  }
  return points;
}

// ---------------------------------------------------------------------------------- surroundings

/** Call `action` when the site's, JupyterLab's, VS Code's or the system's theme changes. */
function watchTheme(action) {
  const observer = new MutationObserver(action);
  const attributeFilter = ["class", "data-theme", "theme", "data-jp-theme-light"];
  for (const node of [document.documentElement, document.body]) {
    observer.observe(node, { attributes: true, attributeFilter });
  }
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", action);
  return () => {
    observer.disconnect();
    media.removeEventListener("change", action);
  };
}

/**
 * Run `onFrame(share)` with share going from 0 to 1 in `duration` ms, then `onEnd()`. Whoever
 * prefers reduced motion sees the end at once. Returns a function that stops it.
 */
export function animate(duration, onFrame, onEnd) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    onFrame(1);
    onEnd();
    return () => {};
  }
  let start = null;
  let request = requestAnimationFrame(function frame(time) {
    start ??= time;
    const share = Math.min((time - start) / duration, 1);
    onFrame(share);
    if (share < 1) request = requestAnimationFrame(frame);
    else onEnd();
  });
  return () => cancelAnimationFrame(request);
}
