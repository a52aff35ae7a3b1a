// Evaluates the pure functions of the figure "matrix memory" on the states that stdin gives.
// node explorables_linear_attention_parity.mjs MODULE.mjs < {"states": […], "grid": […]} > results
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const figure = await import(pathToFileURL(process.argv[2]));
const { states, grid, drawn } = JSON.parse(readFileSync(0, "utf8"));
const writers = figure.RULES.filter((rule) => rule !== "softmax");
const by = (names, make) => Object.fromEntries(names.map((name) => [name, make(name)]));

const results = {
  rules: figure.RULES,
  letters: figure.LETTERS,
  memories: states.map((state) => {
    const keys = figure.keysOf(state);
    const answers = by(figure.RULES, (rule) => figure.reads(rule, keys, state.order, state));
    return {
      keys,
      answers,
      matrices: by(writers, (rule) => figure.stateOf(rule, keys, state.order, state)),
      errors: by(figure.RULES, (rule) => figure.errors(answers[rule], state.order)),
      recalled: by(figure.RULES, (rule) => answers[rule].map((out) => figure.recalled(out))),
      bounds: figure.neighborBounds(keys, state.scale),
    };
  }),
  expected: grid.map((point) => figure.expectedError(point.rule, point)),
  drawn: drawn.map((state) => figure.keysOf(state)),
  // The same keys, picked up and put down where they were.
  untouched: drawn.map((state) => {
    const keys = figure.keysOf(state);
    const places = Object.fromEntries([...state.order].map((letter, i) => [letter, keys[i].slice(0, 2)]));
    return figure.keysOf({ ...state, places });
  }),
};
process.stdout.write(JSON.stringify(results));
