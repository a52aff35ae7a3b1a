// Draws formulas for math.py: one JSON request a line in, one JSON answer a line out. It ends when
// its input does, so it never outlives the build.
const katex = require(process.argv[2]);

// htmlAndMathml: what is seen is HTML, what a screen reader reads is MathML.
const options = { output: "htmlAndMathml", strict: "error", throwOnError: true };

function answer({ latex, displayMode }) {
  try {
    return { html: katex.renderToString(latex, { ...options, displayMode }) };
  } catch (error) {
    return { error: error.message };
  }
}

require("node:readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`));
