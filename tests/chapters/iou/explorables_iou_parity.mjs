// Evaluates the pure functions of the interactive figure "push a box" on the boxes that stdin gives.
// node explorables_iou_parity.mjs MODULE.mjs < {"pairs": […], "flags": […], "runs": […], …} > results
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const box = await import(pathToFileURL(process.argv[2]));
const { pairs, flags, runs, descents, field } = JSON.parse(readFileSync(0, "utf8"));
const kinds = box.KINDS;
const by = (keys, make) => Object.fromEntries(keys.map((key) => [key, make(key)]));

const results = {
  kinds,
  iou: pairs.map(([a, b]) => box.iou(a, b)),
  losses: by(kinds, (kind) => pairs.map(([a, b]) => box.loss(kind, a, b))),
  gradients: by(kinds, (kind) =>
    flags.map((options) => pairs.map(([a, b]) => box.gradient(kind, a, b, options))),
  ),
  plain: by(kinds, (kind) => pairs.map(([a, b]) => box.gradient(kind, a, b))),
  centered: box.byCenter([1, 10, 100, 1000]),
  trails: descents.map(({ kind, ...options }) => runs.map(([a, b]) => box.descend(kind, a, b, options))),
  unspecified: box.descend("diou", ...runs[0]),
  short: box.descend("diou", ...runs[0], { steps: 3, rate: 0.05 }),
  fields: by(kinds, (kind) => Array.from(box.lossField(kind, ...runs[0], field).values)),
};
process.stdout.write(JSON.stringify(results));
