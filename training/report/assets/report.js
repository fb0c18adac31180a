// Draws the figures when they come near the screen, switches their variants, follows light and
// dark, makes legends and sorts tables. The figures are plotly's JSON, made in Python; colours
// in them are names of CSS variables, which plotly cannot read, so they are looked up here.
"use strict";

(() => {
  const panels = JSON.parse(document.getElementById("figures").textContent);
  const drawn = new Set();
  const hidden = new WeakMap(); // figure element -> names of the traces that the reader hid

  const colour = (value) => {
    const name = /^var\((--[\w-]+)\)$/.exec(value);
    return name ? getComputedStyle(document.documentElement).getPropertyValue(name[1]).trim() : value;
  };

  const coloured = (value) => {
    if (typeof value === "string") return value.startsWith("var(") ? colour(value) : value;
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(coloured);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, coloured(part)]));
  };

  const template = () => {
    const axis = {
      gridcolor: "var(--grid)", linecolor: "var(--edge)", zerolinecolor: "var(--edge)",
      zeroline: false, automargin: true, title: { standoff: 8 },
      ticks: "outside", ticklen: 5, tickcolor: "rgba(0,0,0,0)",
    };
    return coloured({
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: "system-ui, sans-serif", size: 12, color: "var(--text)" },
        margin: { l: 48, r: 12, t: 10, b: 40 },
        hoverlabel: { bgcolor: "var(--surface)", bordercolor: "var(--edge)", font: { color: "var(--text)" } },
        xaxis: axis, yaxis: axis,
      },
    });
  };

  const panelOf = (figure) => figure.closest(".panel");

  const variantOf = (figure) => {
    const panel = panelOf(figure);
    const chosen = [...panel.querySelectorAll(".controls fieldset")].map(
      (set) => set.querySelector('[aria-pressed="true"]').dataset.value,
    );
    return panels[panel.id][Number(figure.dataset.figure)][chosen.join("|")];
  };

  const draw = (figure) => {
    drawn.add(figure);
    const variant = variantOf(figure);
    const out = hidden.get(figure) ?? new Set();
    const data = coloured(variant.data).map((trace) => ({
      ...trace,
      visible: out.has(trace.name) ? "legendonly" : true,
    }));
    const plot = figure.querySelector(".plot");
    if (variant.layout.height) plot.style.height = `${variant.layout.height}px`;
    const config = { displaylogo: false, displayModeBar: false };
    Plotly.react(plot, data, { ...coloured(variant.layout), template: template() }, config);
    legend(figure, variant.data);
    resized.observe(plot);
  };

  const resized = new ResizeObserver((entries) => entries.forEach((entry) => Plotly.Plots.resize(entry.target)));

  const legend = (figure, traces) => {
    const out = hidden.get(figure) ?? new Set();
    const entries = traces.map((trace) => {
      const entry = document.createElement("button");
      const swatch = document.createElement("i");
      const area = trace.type === "bar" || trace.stackgroup;
      swatch.className = area ? "area" : trace.line.dash ?? "solid";
      swatch.style.setProperty("--swatch", trace.fillcolor ?? trace.marker?.color ?? trace.line.color);
      entry.type = "button";
      entry.title = "show or hide";
      entry.setAttribute("aria-pressed", String(!out.has(trace.name)));
      entry.append(swatch, decoded(trace.name));
      entry.addEventListener("click", () => toggle(figure, trace.name));
      return entry;
    });
    const place = figure.querySelector(".legend");
    place.classList.toggle("long", entries.length > 20);
    place.replaceChildren(...entries);
  };

  // names are escaped for plotly, which reads a little HTML; here they become plain text again
  const decoded = (name) => new DOMParser().parseFromString(name, "text/html").documentElement.textContent;

  const toggle = (figure, name) => {
    const out = hidden.get(figure) ?? new Set();
    if (!out.delete(name)) out.add(name);
    hidden.set(figure, out);
    draw(figure);
  };

  const choose = (button) => {
    for (const other of button.parentElement.querySelectorAll("button")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    panelOf(button).querySelectorAll("figure").forEach((figure) => drawn.has(figure) && draw(figure));
  };

  const sort = (heading) => {
    const table = heading.closest("table");
    const body = table.tBodies[0];
    const column = heading.cellIndex;
    const down = heading.getAttribute("aria-sort") !== "descending";
    const key = (row) => {
      const cell = row.cells[column];
      return cell.dataset.sort === undefined ? cell.textContent || -Infinity : Number(cell.dataset.sort);
    };
    const order = (a, b) =>
      typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    const rows = [...body.rows].sort((a, b) => order(key(a), key(b)) * (down ? -1 : 1));
    table.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  };

  const figures = document.querySelectorAll(".panel figure");
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        near.unobserve(entry.target);
        draw(entry.target);
      }
    },
    { rootMargin: "400px" },
  );
  figures.forEach((figure) => near.observe(figure));
  document.querySelectorAll(".controls button").forEach((button) => {
    button.addEventListener("click", () => choose(button));
  });
  document.querySelectorAll("table.data thead tr:last-child th").forEach((heading) => {
    heading.querySelector("button").addEventListener("click", () => sort(heading));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => [...drawn].forEach(draw));
  addEventListener("beforeprint", () => figures.forEach(draw));
})();
