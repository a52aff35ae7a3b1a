// Evaluates the pure functions of the interactive figures on diffusion on what stdin gives.
// node explorables_diffusion_parity.mjs DENOISE.mjs GUIDANCE.mjs < {"points": […], …} > results
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const denoise = await import(pathToFileURL(process.argv[2]));
const guidance = await import(pathToFileURL(process.argv[3]));
const { mixtures, points, counts, states, start, levels, seeds, wide } = JSON.parse(readFileSync(0, "utf8"));
const flat = Float64Array.from(points.flat());
const list = (numbers) => Array.from(numbers);

const results = {
  logDensity: mixtures.map(([components, sigma]) => list(denoise.logDensity(components, flat, sigma))),
  score: mixtures.map(([components, sigma]) => list(denoise.score(components, flat, sigma))),
  posterior: mixtures.map(([components, sigma]) =>
    points.map((point) => {
      const found = denoise.posterior(components, point, sigma);
      return { ...found, axes: denoise.ellipse(found.covariance) };
    }),
  ),
  solvers: guidance.SOLVERS,
  karras: counts.map((count) => guidance.karrasSigmas(count)),
  calls: guidance.SOLVERS.map((solver) => counts.map((count) => guidance.calls(solver, count))),
  noise: seeds.map((seed) => list(guidance.noise(seed, 9))),
  guided: states.map((state) =>
    levels.map((sigma) => list(guidance.guided(state)(flat, sigma))),
  ),
  paths: states.map((state) =>
    guidance.SOLVERS.map((solver) =>
      counts.map((count) => {
        const from = Float64Array.from(start.flat());
        const sigmas = guidance.karrasSigmas(count);
        return guidance.integrate(guidance.guided(state), from, sigmas, solver).map(list);
      }),
    ),
  ),
  fine: list(
    guidance
      .integrate(guidance.guided(wide[2]), Float64Array.from(start.flat()), guidance.karrasSigmas(400), "heun")
      .at(-1),
  ),
  tiltedLog: states.map((state) => list(guidance.tiltedLog(state, flat))),
  tiltedMoments: wide.map((state) => guidance.tiltedMoments(state)),
  moments: guidance.moments(flat, new Float64Array(points.length).fill(1 / points.length)),
};
process.stdout.write(JSON.stringify(results));
