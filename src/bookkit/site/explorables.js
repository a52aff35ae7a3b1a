// Mounts interactive figures on pages without a kernel. It is a classic script and loads classic
// scripts, because browsers refuse modules on pages opened from disk.
(() => {
  "use strict";
  const folder = new URL(".", document.currentScript.src);
  const loaded = new Map(); // name -> promise of a front end { render }
  const waiting = new Map(); // name -> the function that fulfills that promise

  // Each figure's script calls this when it has run.
  window.derivedExplorables = { register: (name, frontEnd) => waiting.get(name)(frontEnd) };

  function load(name) {
    if (!loaded.has(name)) {
      const promise = new Promise((resolve, reject) => {
        waiting.set(name, resolve);
        const script = document.createElement("script");
        script.src = new URL(`${name}.js`, folder);
        script.onerror = () => reject(new Error(`could not load ${script.src}`));
        document.head.append(script);
      });
      loaded.set(name, promise);
    }
    return loaded.get(name);
  }

  /** What a front end needs of anywidget's model. Here nobody listens but the front end itself. */
  function createModel(state) {
    const values = { ...state, state_keys: Object.keys(state) };
    const listeners = new Map();
    const of = (event) => listeners.get(event) ?? listeners.set(event, new Set()).get(event);
    return {
      get: (key) => values[key],
      set(key, value) {
        if (Object.is(values[key], value)) return;
        values[key] = value;
        for (const listener of [...of(`change:${key}`)]) listener();
      },
      save_changes() {},
      on: (event, listener) => void of(event).add(listener),
      off: (event, listener) => void of(event).delete(listener),
    };
  }

  async function mount(container) {
    const place = document.createElement("div");
    try {
      const { render } = await load(container.dataset.explorable);
      const model = createModel(JSON.parse(container.dataset.state));
      // The figure is drawn to measure, so it stands in the page before it is drawn.
      container.querySelector(".explorable-slot").append(place);
      container.classList.add("is-live");
      render({ model, el: place });
    } catch (error) {
      place.remove();
      container.classList.remove("is-live");
      container.classList.add("is-still");
      console.error(`The interactive figure ${container.dataset.explorable} stays a picture:`, error);
    }
  }

  /** Call `action` once for each figure when it comes within `margin` of the window. */
  function whenNear(margin, action) {
    const observer = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          observer.unobserve(target);
          action(target);
        }
      },
      { rootMargin: margin },
    );
    for (const node of document.querySelectorAll("[data-explorable]")) observer.observe(node);
  }

  function start() {
    // What fails to load is reported when it is mounted.
    whenNear("800px", (container) => load(container.dataset.explorable).catch(() => {}));
    whenNear("100px", mount);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
