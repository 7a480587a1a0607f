// What does the reader want to look at?
//
// Tables sort, series toggle, plots zoom. Without this script the page still has all figures.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const narrow = () => window.innerWidth < 640;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Okabe-Ito, told apart by all kinds of colour vision; order differs so that each stands out on its paper. The last
  // two are a brown and a violet for families that come beside their kin; their symbols differ too.
  const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7a4b1e", "#6a3d9a"];
  const DARK = ["#56b4e9", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#f0e442", "#ffffff", "#c49a6c", "#b9a3e3"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "star", "x", "cross", "pentagon"];
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const USUAL = ["sphere", "hpa", "oracle", "classic", "cron", "last-week", "static", "hpa-rps", "sphere-slo"];

  const timeline = data.timeline;
  const policies = timeline ? timeline.policies : [];
  const families = [...new Set([...policies.map((p) => p.family), ...data.curves.map((c) => c.family)])];
  const slots = new Map();
  families.filter((f) => USUAL.includes(f)).forEach((f) => slots.set(f, USUAL.indexOf(f)));
  for (const family of families.filter((f) => !USUAL.includes(f))) {
    const taken = [...slots.values()];
    let slot = 0;
    while (taken.includes(slot)) slot += 1;
    slots.set(family, slot);
  }
  const focused = policies.find((p) => p.policy === data.focus);
  const focusFamily = focused ? focused.family : families.find((f) => (data.focus || "").startsWith(f));
  const color = (family) => (dark.matches ? DARK : LIGHT)[slots.get(family) % LIGHT.length];
  const symbol = (family) => SYMBOLS[slots.get(family) % SYMBOLS.length];
  const dash = (policy) => {
    const same = policies.filter((other) => other.family === policy.family);
    return DASHES[same.indexOf(policy) % DASHES.length];
  };

  // On a linear scale, settings that differ by a factor of 30 lie on top of each other at the bottom.
  function wantsLog() {
    const positive = data.curves.flatMap((c) => c.points).map((p) => p.violation_time_pct).filter((v) => v > 0);
    return Math.max(...positive) > 30 * Math.min(...positive);
  }
  const shown = new Set(policies.filter((p) => p.shown).map((p) => p.policy));
  const state = { forecast: data.bands.length > 0, replicas: false, log: wantsLog(), zoom: null };

  // ---- the plotting library -----------------------------------------------------------------------------

  async function loadLibrary() {
    const holder = byId("library");
    const bytes = Uint8Array.from(atob(holder.textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const element = document.createElement("script");
    element.textContent = await new Response(stream).text();
    document.head.append(element);
    holder.remove();
  }

  // ---- chips --------------------------------------------------------------------------------------------

  function chip(box, label, pressed, onToggle, sample) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.setAttribute("aria-pressed", String(pressed));
    if (sample) button.append(sample);
    button.append(label);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      onToggle(on);
    });
    box.append(button);
  }

  function lineSample(stroke, dashes, width) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 32 12");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS(space, "line");
    const pattern = { solid: "", dash: "9 5", dot: "3 4", dashdot: "9 4 3 4" }[dashes];
    const attributes = { x1: 0, x2: 32, y1: 6, y2: 6, stroke, "stroke-width": width, "stroke-dasharray": pattern };
    Object.entries(attributes).forEach(([name, value]) => line.setAttribute(name, value));
    svg.append(line);
    return svg;
  }

  // ---- demand against capacity --------------------------------------------------------------------------

  const lastTime = (series) => series.time_s[series.time_s.length - 1] || 0;
  const dated = timeline && timeline.start_local_ms !== null;
  const [unitName, unitSeconds] = !timeline ? ["", 1]
    : lastTime(timeline.demand) > 4 * 86400 ? ["days", 86400]
    : lastTime(timeline.demand) > 3 * 3600 ? ["hours", 3600] : ["minutes", 60];
  const toX = (t) => (dated ? timeline.start_local_ms + t * 1000 : t / unitSeconds);
  const fromX = (x) => (dated ? (x - timeline.start_local_ms) / 1000 : x * unitSeconds);

  function valueAt(series, t) {
    if (!series || !(t >= series.time_s[0]) || t > lastTime(series)) return null;
    let low = 0;
    let high = series.time_s.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (series.time_s[middle] <= t) low = middle; else high = middle;
    }
    return series.values[low];
  }

  function baseLayout() {
    const ink = css("--ink");
    const font = { family: "system-ui, sans-serif", size: narrow() ? 11 : 13, color: ink };
    return {
      font, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      margin: { l: narrow() ? 48 : 64, r: 14, t: 10, b: 44 }, hovermode: false,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: ink },
    };
  }
  function axis(title) {
    const line = css("--line");
    return { title: { text: title, standoff: 8 }, gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true };
  }
  const config = {
    displaylogo: false, responsive: true, displayModeBar: narrow() ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };
  const text = (s) => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function withAlpha(hex, alpha) {
    const part = (at) => parseInt(hex.slice(at, at + 2), 16);
    return `rgba(${part(1)},${part(3)},${part(5)},${alpha})`;
  }

  function trace(series, extra) {
    return {
      type: "scatter", mode: "lines", hoverinfo: "skip", connectgaps: false,
      x: series.time_s.map(toX), y: series.values, ...extra,
    };
  }

  function timelineTraces() {
    const traces = [];
    for (const band of data.bands) {
      const policy = policies.find((p) => p.policy === band.policy);
      if (!state.forecast || !policy || !shown.has(band.policy)) continue;
      const stroke = color(policy.family);
      traces.push(trace(band.median, { line: { color: stroke, width: 1, dash: "dot" } }));
      [[band.q90, 0.3], [band.q95, 0.2], [band.q99, 0.1]].forEach(([series, alpha]) => {
        traces.push(trace(series, { line: { width: 0 }, fill: "tonexty", fillcolor: withAlpha(stroke, alpha) }));
      });
    }
    traces.push(trace(timeline.demand, { line: { color: css("--demand"), width: 1.2 } }));
    for (const policy of policies.filter((p) => shown.has(p.policy))) {
      const line = { color: color(policy.family), width: 2, shape: "hv", dash: dash(policy) };
      traces.push(trace(policy.ready_capacity, { line }));
      if (state.replicas && policy.replicas) {
        traces.push(trace(policy.replicas, { line, xaxis: "x2", yaxis: "y2" }));
      }
    }
    return traces;
  }

  function timelineLayout() {
    const layout = baseLayout();
    const start = dated ? "" : `time since the start (${unitName})`;
    layout.dragmode = window.matchMedia("(pointer: coarse)").matches ? "pan" : "zoom";
    layout.margin.b = dated ? 30 : 54;
    const end = Math.max(lastTime(timeline.demand), ...policies.map((p) => lastTime(p.ready_capacity)));
    const whole = [toX(timeline.demand.time_s[0] || 0), toX(end)];
    layout.xaxis = {
      ...axis(start), type: dated ? "date" : "linear", anchor: "y", range: state.zoom || whole,
      rangeslider: { visible: true, thickness: 0.09, bgcolor: css("--card"), bordercolor: css("--line"), borderwidth: 1, range: whole },
    };
    const unit = `demand and capacity (${text(timeline.unit)})`;
    layout.yaxis = { ...axis(unit), rangemode: "tozero", fixedrange: true, domain: state.replicas ? [0.45, 1] : [0, 1] };
    if (state.replicas) {
      layout.xaxis2 = { ...axis(start), type: layout.xaxis.type, matches: "x", anchor: "y2" };
      layout.yaxis2 = { ...axis("replicas"), rangemode: "tozero", fixedrange: true, domain: [0, 0.2] };
    }
    return layout;
  }

  function drawTimeline() {
    if (!timeline) return;
    const plot = byId("timeline");
    plot.style.height = state.replicas ? "40rem" : "";
    Plotly.react(plot, timelineTraces(), timelineLayout(), config);
    if (!plot.dataset.ready) {
      plot.dataset.ready = "yes";
      plot.on("plotly_relayout", () => { state.zoom = plot._fullLayout.xaxis.range.slice(); });
      followPointer(plot);
    }
  }

  // The values under the pointer, in words: exact for values that hold, which a tool tip of points is not.
  function followPointer(plot) {
    const cursor = document.createElement("div");
    cursor.className = "cursor";
    cursor.hidden = true;
    plot.append(cursor);
    const hint = "Move over the plot for values; drag to zoom, double-click for all.";
    byId("readout").textContent = hint;
    plot.addEventListener("pointerleave", () => { cursor.hidden = true; byId("readout").textContent = hint; });
    plot.addEventListener("pointermove", (event) => {
      const size = plot._fullLayout._size;
      const at = event.clientX - plot.getBoundingClientRect().left;
      cursor.hidden = at < size.l || at > size.l + size.w;
      if (cursor.hidden) return;
      Object.assign(cursor.style, { left: `${at}px`, top: `${size.t}px`, height: `${size.h}px` });
      const x = plot._fullLayout.xaxis.p2c(at - size.l);
      byId("readout").textContent = readout(fromX(x), x);
    });
  }

  function readout(t, x) {
    const number = (value) => (value === null ? "–" : Number(value.toPrecision(4)).toLocaleString("en"));
    const when = dated ? new Date(x).toISOString().slice(0, 19).replace("T", " ") : `${x.toFixed(2)} ${unitName}`;
    const parts = [`${when}: demand ${number(valueAt(timeline.demand, t))}`];
    for (const policy of policies.filter((p) => shown.has(p.policy))) {
      const replicas = policy.replicas ? ` (${number(valueAt(policy.replicas, t))} replicas)` : "";
      parts.push(`${policy.policy} ${number(valueAt(policy.ready_capacity, t))}${replicas}`);
    }
    const band = state.forecast && data.bands.find((b) => shown.has(b.policy));
    if (band) parts.push(`forecast ${number(valueAt(band.median, t))}, 99 % below ${number(valueAt(band.q99, t))}`);
    return `${parts.join(" · ")} ${timeline.unit}`;
  }

  function timelineChips() {
    const box = byId("timeline-chips");
    box.replaceChildren();
    for (const policy of policies) {
      chip(box, policy.policy, shown.has(policy.policy), (on) => {
        if (on) shown.add(policy.policy); else shown.delete(policy.policy);
        drawTimeline();
      }, lineSample(color(policy.family), dash(policy), 3));
    }
    if (data.bands.length > 0) {
      const band = data.bands[0];
      const policy = policies.find((p) => p.policy === band.policy);
      const lead = band.lead_s >= 120 ? `${Math.round(band.lead_s / 6) / 10} min` : `${Math.round(band.lead_s)} s`;
      chip(box, `forecast made ${lead} before (median to 99 %)`, state.forecast, (on) => {
        state.forecast = on;
        drawTimeline();
      }, lineSample(withAlpha(color(policy.family), 0.35), "solid", 11));
    }
    if (policies.some((p) => p.replicas)) {
      chip(box, "replicas asked for", state.replicas, (on) => { state.replicas = on; drawTimeline(); });
    }
  }

  // ---- cost against violation ---------------------------------------------------------------------------

  function drawCurves() {
    if (data.curves.length === 0) return;
    const points = data.curves.flatMap((curve) => curve.points);
    const positive = points.map((p) => p.violation_time_pct).filter((v) => v > 0);
    const floor = positive.length ? Math.min(...positive) / 2 : 0.001;
    const y = (p) => (state.log ? Math.max(p.violation_time_pct, floor) : p.violation_time_pct);
    const costs = points.map((p) => p.pod_hours);
    const far = Math.max(...costs) - 0.12 * (Math.max(...costs) - Math.min(...costs));
    // Away from the axes, and from the other families: the focus is the one nearest to the lower left.
    const labelPlace = (curve, p) => {
      if (state.log && p.violation_time_pct === 0) return "bottom center";
      if (state.log && curve.family === focusFamily) return "bottom left";
      return p.pod_hours > far ? "top left" : "top right";
    };
    const traces = data.curves.map((curve) => ({
      type: "scatter", name: text(curve.family), x: curve.points.map((p) => p.pod_hours), y: curve.points.map(y),
      mode: narrow() ? "lines+markers" : "lines+markers+text",
      line: { color: color(curve.family), width: 2 },
      marker: { symbol: symbol(curve.family), size: curve.points.map((p) => (p.is_default ? 14 : 7)), line: { color: css("--paper"), width: 1 } },
      text: curve.points.map((p) => text(p.label) + (state.log && p.violation_time_pct === 0 ? " (0 %)" : "")), textposition: curve.points.map((p) => labelPlace(curve, p)), textfont: { size: 11, color: color(curve.family) },
      cliponaxis: false,
      customdata: curve.points.map((p) => p.violation_time_pct),
      hovertemplate: "%{text}: %{customdata:.3~g} % of time over capacity for %{x:,.4~g} pod-hours<extra>%{fullData.name}</extra>",
    }));
    const layout = baseLayout();
    layout.hovermode = "closest";
    layout.hoverlabel = { font: { color: css("--ink") }, bgcolor: css("--card"), bordercolor: css("--soft") };
    layout.showlegend = true;
    layout.legend = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" };
    layout.xaxis = { ...axis("cost (pod-hours)") };
    layout.yaxis = { ...axis("time over capacity (%)"), type: state.log ? "log" : "linear", rangemode: state.log ? "normal" : "tozero" };
    if (state.log) layout.yaxis.dtick = 1;
    layout.margin.t = 40;
    Plotly.react("curves", traces, layout, config);
  }

  function curvesChips() {
    const box = byId("curves-chips");
    box.replaceChildren();
    chip(box, "logarithmic scale", state.log, (on) => { state.log = on; drawCurves(); });
  }

  // ---- scoreboard ---------------------------------------------------------------------------------------

  function scoreboard() {
    const table = byId("scoreboard");
    const setBrief = (brief) => {
      table.classList.toggle("brief", brief);
      table.querySelectorAll(".groups th").forEach((th) => {
        th.colSpan = Math.max(1, Number(brief ? th.dataset.essential : th.dataset.all));
      });
    };
    setBrief(true);
    chip(byId("scoreboard-chips"), "all measures", false, (on) => setBrief(!on));
    const headings = [...table.querySelectorAll("thead tr:last-child th")];
    headings.forEach((th, column) => {
      th.querySelector("button").addEventListener("click", () => {
        const descending = th.getAttribute("aria-sort") === "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const key = (row) => row.cells[column].dataset.sort;
        const compare = (a, b) => (column === 0 ? a.localeCompare(b, "en", { numeric: true }) : a - b);
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          // What was not measured comes last, whichever way.
          if (key(a) === undefined || key(b) === undefined) return (key(a) === undefined) - (key(b) === undefined);
          return descending ? compare(key(b), key(a)) : compare(key(a), key(b));
        });
        table.tBodies[0].append(...rows);
        table.classList.add("sorted");
      });
    });
  }

  // ---- all of it ----------------------------------------------------------------------------------------

  function draw() {
    timelineChips();
    curvesChips();
    drawTimeline();
    drawCurves();
  }

  scoreboard();
  loadLibrary().then(() => {
    document.querySelectorAll(".plot").forEach((plot) => plot.replaceChildren());
    draw();
    dark.addEventListener("change", draw);
  }).catch((error) => {
    document.querySelectorAll(".plot").forEach((plot) => {
      plot.classList.add("failed");
      plot.removeAttribute("role");
      plot.style.height = "auto";
      plot.textContent = `The plots need a browser from 2023 or later (${error}). All tables are complete.`;
    });
  });
})();
