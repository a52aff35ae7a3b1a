// What a page does besides standing still. Loaded with `defer`: the document is there.
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const on = (selector, event, handler) =>
    all(selector).forEach((element) => element.addEventListener(event, handler));

  // Light, dark, or what the system says.
  const names = { auto: "automatic", light: "light", dark: "dark" };
  const showMode = () =>
    all("[data-mode-name]").forEach((e) => (e.textContent = names[window.bookMode.get()]));
  on('[data-action="mode"]', "click", () => {
    const modes = Object.keys(names);
    window.bookMode.set(modes[(modes.indexOf(window.bookMode.get()) + 1) % modes.length]);
    showMode();
  });
  showMode();

  on('[data-action="print"]', "click", () => window.print());

  // The two side panels. A hidden checkbox holds the state, so that style sheets can follow it.
  for (const button of all("[data-toggles]")) {
    const box = document.getElementById(button.dataset.toggles);
    const panel = document.getElementById(button.getAttribute("aria-controls"));
    const visible = () => getComputedStyle(panel).visibility === "visible";
    const announce = () => button.setAttribute("aria-expanded", String(visible()));
    box.addEventListener("change", announce);
    window.addEventListener("resize", announce);
    button.addEventListener("click", () => {
      const wasVisible = visible();
      box.checked = !box.checked;
      announce();
      // On a narrow window the panel lies over the page: go there.
      if (!wasVisible && getComputedStyle(panel).position === "fixed") {
        panel.querySelector("a, input")?.focus();
      }
    });
    panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && box.checked) {
        box.checked = false;
        announce();
        button.focus();
      }
    });
    panel.addEventListener("click", (event) => {
      if (event.target.closest("a") && getComputedStyle(panel).position === "fixed") {
        box.checked = false;
        announce();
      }
    });
    announce();
  }

  // A menu closes when the reader turns elsewhere.
  document.addEventListener("click", (event) => {
    all("details.menu[open]").forEach((menu) => menu.contains(event.target) || (menu.open = false));
  });
  on("details.menu", "keydown", (event) => {
    if (event.key !== "Escape") return;
    event.currentTarget.open = false;
    event.currentTarget.querySelector("summary").focus();
  });

  // What is wider than its box can be scrolled with the keyboard, and says what it is.
  const boxes = {
    ".math-scroll": "Equation",
    ".pst-scrollable-table-container": "Table",
    "article pre": "Code",
    ".cell_output .output": "Output",
  };
  // Neither folded away nor too far from the window to be laid out (see site.css).
  const laidOut = (element) => element.checkVisibility({ contentVisibilityAuto: true });
  const measure = (part = document) => {
    // Read all, then write: each change in between would lay the page out anew.
    const changes = [];
    for (const [selector, name] of Object.entries(boxes)) {
      for (const box of part.querySelectorAll(selector)) {
        if (!laidOut(box)) continue; // an event comes back to it
        const before = box.dataset.scrolls; // "perhaps" until it is measured
        if (box.hasAttribute("tabindex") && !before) continue; // somebody has seen to it
        const wide = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
        const stays = wide ? before === "yes" : !before || box === document.activeElement;
        if (!stays) changes.push([box, name, wide]);
      }
    }
    for (const [box, name, wide] of changes) {
      if (wide) {
        box.tabIndex = 0;
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", `${name}, scrollable`);
        box.dataset.scrolls = "yes";
      } else {
        for (const attribute of ["tabindex", "role", "aria-label", "data-scrolls"]) {
          box.removeAttribute(attribute);
        }
      }
    }
  };
  measure();
  window.addEventListener("load", () => measure());
  window.addEventListener("resize", () => measure());
  // A formula is as wide as its glyphs, and some fonts come only when they are needed.
  document.fonts.addEventListener("loadingdone", () => measure());
  on("details", "toggle", () => measure());
  // What was laid out once stays so: it need not be done again, and a picture of the page is whole.
  document.addEventListener("contentvisibilityautostatechange", ({ skipped, target }) => {
    if (skipped) return;
    target.classList.add("laid-out");
    requestAnimationFrame(() => measure(target));
  });

  // What a mark opens is loaded when it is opened, by a script, since pages from disk may not fetch.
  // The script holds a chapter's panels, and each source once: an element stands for it in a panel.
  const panels = new Map(); // address -> promise of { parts, sources }
  let brought;
  window.verifiedPanels = (parts, sources) => (brought = { parts, sources });
  const load = (address) => {
    const script = document.createElement("script");
    const done = new Promise((resolve, reject) => {
      script.addEventListener("load", () => resolve(brought));
      script.addEventListener("error", () => reject(new Error(`${address} is missing`)));
    });
    script.src = address;
    document.head.append(script);
    return done;
  };
  const copyButton = document.querySelector(".copybtn");
  let copies = 0;
  // What a parser of its own makes of a text runs no script.
  const nodes = (html) => new DOMParser().parseFromString(html, "text/html").body.childNodes;
  const fill = (place, html, sources) => {
    place.replaceChildren(...nodes(html));
    for (const slot of place.querySelectorAll("[data-source]")) {
      slot.replaceWith(...nodes(sources[slot.dataset.source]));
    }
    for (const code of copyButton ? place.querySelectorAll(".highlight > pre") : []) {
      code.id = `verified-source-${(copies += 1)}`;
      const button = copyButton.cloneNode(true);
      button.dataset.clipboardTarget = `#${code.id}`;
      code.after(button);
    }
  };
  on("details.verified", "toggle", async ({ currentTarget: mark }) => {
    const { panels: address, label } = mark.dataset;
    if (!mark.open || !label) return;
    delete mark.dataset.label; // once is enough
    const place = mark.querySelector(".verified-tests");
    place.setAttribute("aria-busy", "true");
    if (!panels.has(address)) panels.set(address, load(address));
    try {
      const { parts, sources } = await panels.get(address);
      fill(place, parts[label], sources);
    } catch {
      panels.delete(address); // the link to the list stays; opened again, the mark tries again
      mark.dataset.label = label;
    }
    place.removeAttribute("aria-busy");
  });

  // Mark the section being read.
  const links = new Map(
    all(".page-toc a[href^='#']").map((a) => [decodeURIComponent(a.hash.slice(1)), a]),
  );
  const sections = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const mark = () => {
    // The section at the window's top is laid out, and asking the others would lay them out.
    const passed = sections.filter(
      (section) => laidOut(section) && section.getBoundingClientRect().top < 120,
    );
    const current = links.get(passed.at(-1)?.id);
    for (const link of links.values()) {
      link.classList.toggle("active", link === current);
      if (link === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  if (sections.length) {
    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        mark();
      });
    };
    window.addEventListener("scroll", later, { passive: true });
    // Sections also move when what stands above them grows: a figure mounts, a dropdown opens.
    new ResizeObserver(later).observe(document.querySelector("article"));
  }

  const search = document.getElementById("search-input");
  document.addEventListener("keydown", (event) => {
    if (search && event.key === "k" && (event.ctrlKey || event.metaKey) && !event.altKey) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  });
  if (document.getElementById("search-results")) {
    search.value = new URLSearchParams(location.search).get("q") ?? "";
    search.focus();
  }
})();
