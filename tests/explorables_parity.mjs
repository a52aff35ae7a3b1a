// Evaluates the pure functions of the interactive figure "push a box" on the boxes that stdin gives.
// node explorables_parity.mjs MODULE.mjs < {"pairs": […], "flags": […], "runs": […]} > results
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const box = await import(pathToFileURL(process.argv[2]));
const { pairs, flags, runs, field } = JSON.parse(readFileSync(0, "utf8"));
const kinds = box.KINDS;
const by = (keys, make) => Object.fromEntries(keys.map((key) => [key, make(key)]));

const results = {
  kinds,
  values: by(kinds, (kind) => pairs.map(([a, b]) => box.similarity(kind, a, b))),
  named: by(kinds, (kind) => pairs.map(([a, b]) => box[kind](a, b))),
  losses: by(kinds, (kind) => pairs.map(([a, b]) => box.loss(kind, a, b))),
  gradients: by(kinds, (kind) =>
    flags.map((options) => pairs.map(([a, b]) => box.gradient(kind, a, b, options))),
  ),
  plain: pairs.map(([a, b]) => box.gradient("ciou", a, b)),
  trails: by(kinds, (kind) =>
    flags.map((options) => runs.map(([a, b]) => box.descend(kind, a, b, options))),
  ),
  short: box.descend("diou", ...runs[0], { steps: 3, rate: 0.05 }),
  field: Array.from(box.lossField("diou", ...runs[0], field).values),
};
process.stdout.write(JSON.stringify(results));
