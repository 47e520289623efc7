// Figures are drawn when the reader comes near them, in the colours of the page. A figure's sliders and menus become real
// controls, which a keyboard and a thumb can reach. Plotly and the figures' data are served by this site.
"use strict";

(() => {
  const stages = [...document.querySelectorAll("[data-figure]")];
  if (!stages.length) return;

  let library; // fetched once, by the first figure that needs it
  const plotly = (address) =>
    (library ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => reject(new Error("Plotly could not be loaded"));
      document.head.append(script);
    }));

  // ------------------------------------------------------------ colours

  const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

  // Whatever has the colour of the figure's text takes the colour of the page's text. Columns of numbers are left alone.
  const recoloured = (value, from, to) => {
    if (value === from) return to;
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map((item) => recoloured(item, from, to));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, recoloured(item, from, to)]));
    return value;
  };

  const dressed = (figure, width) => {
    const ink = colour("--figure-ink");
    const grid = colour("--figure-grid");
    const { data, layout, frames = [] } = recoloured(structuredClone(figure), figure.layout.font?.color ?? "#000", ink);
    const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true };
    const template = layout.template ?? {};
    layout.template = { ...template, layout: { ...template.layout } };
    for (const name of ["xaxis", "yaxis"]) layout.template.layout[name] = { ...template.layout?.[name], ...axis };
    const font = { ...layout.font, color: ink, family: colour("--figure-font"), size: width < 480 ? 11.5 : 13 };
    const clear = "rgba(0,0,0,0)";
    const hoverlabel = { bgcolor: colour("--figure-surface"), bordercolor: grid, font: { color: colour("--figure-strong") } };
    Object.assign(layout, { font, hoverlabel, paper_bgcolor: clear, plot_bgcolor: clear, autosize: true });
    if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // a thumb scrolls the page
    delete layout.width;
    return { data, layout, frames };
  };

  // ------------------------------------------------------------ controls

  const element = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const plain = (html) => new DOMParser().parseFromString(html ?? "", "text/html").body.textContent.trim();

  // A Plotly slider as a range with two buttons. `choose` is told the number of the step.
  const slider = ({ steps, active = 0, currentvalue, name }, choose) => {
    const title = plain(currentvalue?.prefix).replace(/[:=\s]+$/, "") || name || "Step";
    const range = element("input", { type: "range", min: 0, max: steps.length - 1, value: active });
    const output = element("output");
    const go = (number) => {
      range.value = number;
      const at = Number(range.value);
      const label = plain(steps[at].label);
      output.textContent = label === String(at + 1) ? `${label} of ${steps.length}` : label;
      range.setAttribute("aria-valuetext", `${title}: ${output.textContent}`);
      back.disabled = at === 0;
      forth.disabled = at === steps.length - 1;
      choose(at);
    };
    const back = element("button", { type: "button", textContent: "‹", onclick: () => go(Number(range.value) - 1) });
    const forth = element("button", { type: "button", textContent: "›", onclick: () => go(Number(range.value) + 1) });
    range.setAttribute("aria-label", title);
    back.setAttribute("aria-label", `${title}: previous`);
    forth.setAttribute("aria-label", `${title}: next`);
    range.addEventListener("input", () => go(range.value));
    return { go, active, control: element("div", { className: "control control--slider" }, back, range, forth, output) };
  };

  const menu = ({ buttons, active = 0, name }, choose) => {
    const select = element("select", {}, ...buttons.map((b, i) => element("option", { value: i, textContent: plain(b.label) })));
    const go = (number) => {
      select.value = number;
      choose(Number(number));
    };
    select.addEventListener("change", () => go(select.value));
    return { go, active, control: element("label", { className: "control" }, name || "Show", select) };
  };

  // ------------------------------------------------------------ one figure

  const draw = async (stage) => {
    const [Plotly, figure] = await Promise.all([
      plotly(stage.dataset.plotly),
      fetch(stage.dataset.figure).then((answer) => {
        if (!answer.ok) throw new Error(`${stage.dataset.figure}: ${answer.status}`);
        return answer.json();
      }),
    ]);
    const plot = element("div", { className: "figure__plot" });
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", stage.dataset.alt);
    const chosen = []; // by control: the steps to choose from, and the one chosen
    const apply = ({ steps, at }) => {
      const { method, args = [] } = steps[at];
      return method && method !== "skip" ? Plotly[method](plot, ...structuredClone(args)) : null;
    };

    const paint = async () => {
      const { data, layout, frames } = dressed(figure, stage.clientWidth);
      const sliders = layout.sliders ?? [];
      const menus = layout.updatemenus ?? [];
      delete layout.sliders;
      delete layout.updatemenus;
      layout.height ??= 450;
      const config = { displayModeBar: false, responsive: true, doubleClick: "reset" };
      await Plotly.newPlot(plot, { data, layout, frames, config });
      const choices = [...sliders.map((s) => s.steps), ...menus.map((m) => m.buttons)];
      for (const [i, steps] of choices.entries()) chosen[i] = { at: 0, ...chosen[i], steps };
      return { sliders, menus };
    };

    stage.replaceChildren(plot);
    const { sliders, menus } = await paint();
    const choose = (i) => (at) => {
      chosen[i].at = at;
      return apply(chosen[i]);
    };
    const controls = [
      ...sliders.map((s, i) => slider(s, choose(i))),
      ...menus.map((m, i) => menu(m, choose(sliders.length + i))),
    ];
    for (const { control, go, active } of controls) {
      stage.append(control);
      go(active);
    }
    stage.style.minHeight = "";
    stage.dataset.drawn = "true";
    return async () => {
      await paint();
      for (const choice of chosen) await apply(choice);
    };
  };

  // ------------------------------------------------------------ when

  const drawn = []; // how to paint each figure again
  const begin = (stage) =>
    draw(stage).then(
      (again) => drawn.push(again),
      (error) => stage.append(element("p", { className: "absent", textContent: `This figure could not be drawn (${error.message}).` })),
    );
  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        begin(target);
      }
    },
    { rootMargin: "400px" },
  );
  for (const stage of stages) near.observe(stage);
  new MutationObserver(() => drawn.forEach((again) => again())).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
})();
