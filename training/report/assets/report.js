// Draws the figures when they come near the screen, switches their variants, follows light and
// dark, makes legends, sorts tables, and loads the page anew while a run is under way. The figures
// are plotly's JSON, made in Python; colours in them are names of CSS variables, which plotly cannot
// read, so they are looked up here.
"use strict";

(() => {
  const panels = JSON.parse(document.getElementById("figures").textContent);
  const drawn = new Set();
  const hidden = new WeakMap(); // figure element -> legend entries that the reader switched off

  // ---- colours

  const colour = (value) => {
    const name = /^var\((--[\w-]+)\)$/.exec(value);
    return name ? getComputedStyle(document.documentElement).getPropertyValue(name[1]).trim() : value;
  };

  const coloured = (value) => {
    if (typeof value === "string") return value.startsWith("var(") ? colour(value) : value;
    if (Array.isArray(value)) return value.some((part) => typeof part !== "number") ? value.map(coloured) : value;
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
        margin: { l: 48, r: 12, t: 16, b: 40 },
        hoverlabel: { bgcolor: "var(--surface)", bordercolor: "var(--edge)", font: { color: "var(--text)" } },
        xaxis: axis, yaxis: axis,
      },
    });
  };

  // ---- figures

  const panelOf = (figure) => figure.closest(".panel");

  const chosenIn = (panel) =>
    [...panel.querySelectorAll('.controls [aria-pressed="true"]')].map((button) => button.dataset.value);

  const variantOf = (figure) => {
    const panel = panelOf(figure);
    return panels[panel.id][Number(figure.dataset.figure)][chosenIn(panel).join("|")];
  };

  // On a phone, names of rows and the scale of colours would take most of the width: names are cut
  // (the text on hovering keeps them whole), and the scale lies below.
  const fitted = (figure, width) => {
    const { data, layout } = figure;
    if (layout.yaxis?.type !== "category" || width > 560) return figure;
    const names = [...new Set(data.flatMap((trace) => trace.y))];
    const most = width > 420 ? 19 : 15;
    const short = names.map((name) => (decoded(name).length > most ? `${decoded(name).slice(0, most - 1)}…` : name));
    const yaxis = { ...layout.yaxis, tickmode: "array", tickvals: names, ticktext: short, tickfont: { size: 10 } };
    if (!data.some((trace) => trace.colorbar)) return { data, layout: { ...layout, yaxis } };
    const below = { orientation: "h", y: 0, yref: "container", yanchor: "bottom" };
    return {
      data: data.map((trace) =>
        trace.colorbar ? { ...trace, colorbar: { ...trace.colorbar, ...below, nticks: 4 } } : trace,
      ),
      layout: { ...layout, yaxis, height: layout.height + 50, margin: { b: 96 } },
    };
  };

  const draw = (figure) => {
    drawn.add(figure);
    const plot = figure.querySelector(".plot");
    const variant = fitted(variantOf(figure), plot.clientWidth);
    const out = hidden.get(figure) ?? new Set();
    plot.style.height = variant.layout.height ? `${variant.layout.height}px` : "";
    const data = coloured(variant.data).map((trace) => ({
      ...trace,
      visible: out.has(entryOf(trace)) ? "legendonly" : true,
    }));
    const layout = { ...coloured(variant.layout), template: template() };
    Plotly.react(plot, data, layout, { displaylogo: false, displayModeBar: false });
    legend(figure, variant.data);
    resized.observe(plot);
  };

  const resized = new ResizeObserver((entries) => entries.forEach((entry) => Plotly.Plots.resize(entry.target)));

  // ---- legends; lines of one group share an entry

  const entryOf = (trace) => trace.legendgroup ?? trace.name;

  const legend = (figure, traces) => {
    const out = hidden.get(figure) ?? new Set();
    const first = new Map();
    for (const trace of traces) {
      const named = trace.type !== "heatmap" && trace.showlegend !== false;
      if (named && !first.has(entryOf(trace))) first.set(entryOf(trace), trace);
    }
    const groupsLast = (a, b) => Boolean(a[1].legendgroup) - Boolean(b[1].legendgroup);
    const entries = [...first].sort(groupsLast).map(([name, trace]) => {
      const entry = document.createElement("button");
      const swatch = document.createElement("i");
      const group = trace.legendgrouptitle?.text;
      swatch.className = swatchOf(trace);
      const shade = group ? "var(--muted)" : trace.fillcolor ?? trace.marker?.color ?? trace.line.color;
      swatch.style.setProperty("--swatch", shade);
      entry.type = "button";
      entry.title = "show or hide";
      entry.setAttribute("aria-pressed", String(!out.has(name)));
      entry.append(swatch, decoded(group ?? trace.name));
      entry.addEventListener("click", () => toggle(figure, name));
      return entry;
    });
    figure.querySelector(".legend").replaceChildren(...entries);
  };

  const swatchOf = (trace) => {
    if (trace.type === "bar" || trace.stackgroup) return "area";
    if (trace.mode !== "markers") return trace.line.dash ?? "solid";
    return trace.marker.symbol === "diamond" ? "dotted diamond" : "dotted";
  };

  // names are escaped for plotly, which reads a little HTML; here they become plain text again
  const decoded = (name) => new DOMParser().parseFromString(name, "text/html").documentElement.textContent;

  const toggle = (figure, name) => {
    const out = hidden.get(figure) ?? new Set();
    if (!out.delete(name)) out.add(name);
    hidden.set(figure, out);
    draw(figure);
  };

  // ---- controls and tables

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

  // ---- a page that is loaded anew looks as its reader left it

  const memory = `dmix-report ${location.pathname}`;

  const places = () => [...document.querySelectorAll("main [id]")];

  const remember = () => {
    const top = places().filter((element) => element.getBoundingClientRect().top <= 60).at(-1);
    const state = {
      at: top && scrollY > 0 ? [top.id, top.getBoundingClientRect().top] : null,
      open: [...document.querySelectorAll("details[open]")].map((element) => element.id),
      chosen: [...document.querySelectorAll(".panel")].map((panel) => [panel.id, chosenIn(panel)]),
      hidden: [...figures].map((figure) => [...(hidden.get(figure) ?? [])]),
      live: document.querySelector("#live button")?.getAttribute("aria-pressed") ?? "true",
    };
    try {
      sessionStorage.setItem(memory, JSON.stringify(state));
    } catch {
      // a browser that stores nothing for local files shows the page from its top
    }
  };

  const recalled = () => {
    try {
      return JSON.parse(sessionStorage.getItem(memory));
    } catch {
      return null;
    }
  };

  const restore = (state) => {
    document.querySelectorAll("details").forEach((element) => {
      element.open = state.open.includes(element.id);
    });
    for (const [id, values] of state.chosen) {
      document.getElementById(id)?.querySelectorAll(".controls fieldset").forEach((set, index) => {
        const button = [...set.querySelectorAll("button")].find((one) => one.dataset.value === values[index]);
        if (button) choose(button);
      });
    }
    if (state.hidden.length === figures.length) {
      figures.forEach((figure, index) => hidden.set(figure, new Set(state.hidden[index])));
    }
    document.querySelector("#live button")?.setAttribute("aria-pressed", state.live);
    const element = state.at && document.getElementById(state.at[0]);
    if (element) {
      const top = scrollY + element.getBoundingClientRect().top - state.at[1];
      scrollTo({ top, behavior: "instant" });
    }
  };

  const live = document.getElementById("live");
  if (live) {
    const button = live.querySelector("button");
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    });
    setInterval(() => {
      if (button.getAttribute("aria-pressed") === "true" && !document.hidden) location.reload();
    }, Number(live.dataset.seconds) * 1000);
  }

  // ---- a link to a folded part unfolds it

  const unfold = () => {
    const part = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (part && part.matches("details.part") && !part.open) {
      part.open = true;
      part.scrollIntoView({ behavior: "instant" });
    }
  };
  addEventListener("hashchange", unfold);

  // ---- start

  const figures = document.querySelectorAll(".panel figure");
  const state = recalled();
  if (state && performance.getEntriesByType("navigation")[0]?.type === "reload") {
    history.scrollRestoration = "manual";
    restore(state);
  }
  unfold();
  addEventListener("pagehide", remember);

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
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details.part").forEach((part) => {
      part.open = true;
    });
    figures.forEach(draw);
  });
})();
