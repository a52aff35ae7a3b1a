// Evaluates the pure functions of the figure "signal through depth" on what stdin gives.
// node explorables_initialization_depth_parity.mjs MODULE.mjs < {"points": […], "maps": […], "runs": […]} > results
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const figure = await import(pathToFileURL(process.argv[2]));
const { points, maps, fields, seed, runs, laws, seeds } = JSON.parse(readFileSync(0, "utf8"));
const numbers = figure.sample(seed);
const names = Object.keys(figure.ACTIVATIONS);
const by = (make) => Object.fromEntries(names.map((name) => [name, make(name)]));

/** Of all networks of all seeds: the logarithms of q after the last layer and of the first gradient. */
function ends(name, g, depth, width) {
  return seeds.flatMap((one) => {
    const values = figure.sample(one);
    return Array.from({ length: figure.NETWORKS }, (_, i) => {
      const { q, gradient } = figure.simulate(name, g, depth, width, values, i);
      return [Math.log(q.at(-1)), Math.log(gradient[0])];
    });
  });
}

const results = {
  sizes: [figure.NETWORKS, figure.DEEPEST, figure.WIDEST],
  values: by((name) => points.map(figure.ACTIVATIONS[name][0])),
  slopes: by((name) => points.map(figure.ACTIVATIONS[name][1])),
  gains: by((name) => figure.gain(name)),
  stability: by((name) => figure.stability(name, figure.gain(name))),
  laws: laws.map((given) => ends(...given)),
  maps: by((name) => maps.map(([g, q]) => figure.momentMap(name, g, q))),
  fields: fields.map((given) => figure.meanField(...given)),
  sample: Array.from(numbers.subarray(0, 1000)),
  runs: runs.map(([name, g, depth, width, network]) => {
    const start = (pass, layer) => ((pass * figure.NETWORKS + network) * figure.DEEPEST + layer) * figure.WIDEST;
    const rows = [0, 1].map((pass) =>
      Array.from({ length: depth }, (_, layer) =>
        Array.from(numbers.subarray(start(pass, layer), start(pass, layer) + width)),
      ),
    );
    const { q, gradient, before } = figure.simulate(name, g, depth, width, numbers, network);
    return { q, gradient, rows, last: Array.from(before.at(-1)) };
  }),
};
process.stdout.write(JSON.stringify(results));
