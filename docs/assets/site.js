// The table of papers can be filtered, and the header's buttons open what they say. No library, nothing loaded.
"use strict";

(() => {
  // ------------------------------------------------------------ header

  for (const button of document.querySelectorAll("[data-opens]")) {
    const toggle = document.getElementById(button.dataset.opens);
    button.addEventListener("click", () => toggle.click());
    toggle.addEventListener("change", () => button.setAttribute("aria-expanded", String(toggle.checked)));
  }
  for (const label of document.querySelectorAll("label.md-nav__link[tabindex]")) {
    if (label.textContent.trim()) continue; // the arrow beside a section that has a page of its own
    label.setAttribute("role", "button");
    label.setAttribute("aria-label", `Pages of ${label.parentElement.querySelector("a")?.textContent.trim()}`);
  }

  const search = document.getElementById("__search");
  const results = document.querySelector(".md-search__scrollwrap"); // scrolls by keyboard, but is no stop while it is closed
  const reachable = () => (results.tabIndex = search.checked ? 0 : -1);
  search.addEventListener("change", reachable);
  reachable();
  document.addEventListener("keydown", (event) => {
    const drawer = document.getElementById("__drawer");
    if (event.key === "Escape" && drawer?.checked) {
      drawer.click();
      document.querySelector('[data-opens="__drawer"]').focus();
    }
  });

  // ------------------------------------------------------------ table of papers

  const form = document.querySelector("[data-papers-filter]");
  if (!form) return;
  const rows = [...document.querySelectorAll("[data-papers] tbody tr")].map((row) => ({
    row,
    family: row.dataset.family,
    states: row.dataset.state.split(" "),
    words: `${row.textContent} ${row.dataset.words}`.toLowerCase(),
  }));
  const count = form.querySelector("[data-papers-count]");
  const fields = ["q", "family", "state"];

  const filter = () => {
    const wanted = Object.fromEntries(fields.map((name) => [name, form.elements[name].value.trim()]));
    const terms = wanted.q.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, family, states, words } of rows) {
      const fits =
        (!wanted.family || family === wanted.family) &&
        (!wanted.state || states.includes(wanted.state)) &&
        terms.every((term) => words.includes(term));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown === rows.length ? `${shown} papers` : `${shown} of ${rows.length} papers`;
    form.classList.toggle("filter--active", shown < rows.length);
    return wanted;
  };

  // The address holds the filter, so that a view can be kept and shared.
  const remember = (wanted) => {
    const hash = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value)).toString();
    history.replaceState(history.state, "", hash ? `#${hash}` : location.pathname + location.search);
  };
  const recall = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    if (!fields.some((name) => given.has(name))) return;
    for (const name of fields) form.elements[name].value = given.get(name) ?? "";
    filter();
  };

  form.addEventListener("input", () => remember(filter()));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => requestAnimationFrame(() => remember(filter())));
  addEventListener("hashchange", recall);
  form.hidden = false;
  filter();
  recall();
})();
