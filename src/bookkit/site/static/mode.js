// Runs before the first paint, so that a page never flashes in the wrong theme and its formulas do
// not move when their letters arrive.
(() => {
  const { src, dataset } = document.currentScript;
  // From disk browsers refuse to preload, and need not.
  if (location.protocol !== "file:") {
    for (const name of dataset.fonts.split(" ").filter(Boolean)) {
      const link = document.createElement("link");
      const href = new URL(`fonts/${name}.woff2`, src);
      document.head.append(
        Object.assign(link, { rel: "preload", as: "font", crossOrigin: "anonymous", href }),
      );
    }
  }
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let stored = null;
  // A browser may forbid storage, from disk above all; the choice then lasts for one page.
  const storage = (use) => {
    try {
      return use(localStorage);
    } catch {
      return null;
    }
  };
  const apply = () => {
    root.dataset.mode = stored ?? "auto";
    root.dataset.theme = stored ?? (system.matches ? "dark" : "light");
  };
  window.bookMode = {
    get: () => root.dataset.mode,
    set(mode) {
      stored = mode === "auto" ? null : mode;
      storage((s) => (stored ? s.setItem("mode", stored) : s.removeItem("mode")));
      apply();
    },
  };
  const found = storage((s) => s.getItem("mode"));
  stored = found === "light" || found === "dark" ? found : null;
  root.classList.add("scripted");
  system.addEventListener("change", apply);
  // Paper is light.
  window.addEventListener("beforeprint", () => (root.dataset.theme = "light"));
  window.addEventListener("afterprint", apply);
  apply();
})();
