// Evaluates the pure functions of the figure "temperature of attention" on what stdin gives.
// node explorables_initialization_temperature_parity.mjs MODULE.mjs < {"logits": […], "averages": […], …} > results
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const figure = await import(pathToFileURL(process.argv[2]));
const { logits, sigmas, averages, scales, lifts } = JSON.parse(readFileSync(0, "utf8"));
const numbers = figure.sample();

const results = {
  draws: figure.DRAWS,
  keys: figure.MOST_KEYS,
  sample: Array.from(numbers),
  softmax: logits.map((row) => figure.softmax(row)),
  measures: sigmas.map((sigma) => logits.map((row) => figure.measure(row, sigma))),
  averages: averages.map(([n, sigma]) => figure.overDraws(numbers, n, sigma)),
  scales: scales.map((arguments_) => figure.logitScale(...arguments_)),
  theory: averages.map(([n, sigma]) => figure.remEntropy(sigma, n)),
  lifts: lifts.map(([row, key, weight]) => figure.liftFor(logits[row], key, weight)),
};
process.stdout.write(JSON.stringify(results, (key, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value)));
