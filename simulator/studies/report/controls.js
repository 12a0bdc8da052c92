// Axes, filters, legend and files to save; starts the page.

function choice(parent, words, options, at, act) {
  const label = el(parent, "label", {}, words), select = el(label, "select", { "aria-label": words });
  options.forEach((words, i) => el(select, "option", { value: i }, words));
  select.value = at;
  select.addEventListener("change", () => { act(Number(select.value)); draw(); });
}

function check(parent, words, on, act) {
  const label = el(parent, "label"), box = el(label, "input", { type: "checkbox" });
  box.checked = on;
  box.addEventListener("change", () => { act(box.checked); draw(); });
  el(label, "span", {}, words);
  return label;
}

function button(parent, words, act) {
  el(parent, "button", { type: "button" }, words).addEventListener("click", act);
}

const put = (set, value, on) => { if (on) set.delete(value); else set.add(value); };

function build() {
  const controls = document.getElementById("controls");
  controls.replaceChildren();
  const title = (axis) => `${axis.title} (${axis.unit})`;
  choice(controls, "y", data.axes.y.map(title), state.y, (i) => {
    state.y = i;
    state.logY = !data.axes.y[i].rises; // costs span decades
    build();
  });
  check(controls, "log y", state.logY, (on) => { state.logY = on; });
  choice(controls, "x", data.axes.x.map(title), state.x, (i) => { state.x = i; });
  check(controls, "log x", state.logX, (on) => { state.logX = on; });
  check(controls, "dominated", state.dominated, (on) => { state.dominated = on; });
  check(controls, "90 % bands", state.bands, (on) => { state.bands = on; });
  check(controls, "labels", state.labels, (on) => { state.labels = on; });
  if (anyMeasured) check(controls, "measured", state.measured, (on) => { state.measured = on; });
  const limit = el(controls, "label", {}, "p90 TTFT up to");
  const seconds = el(limit, "input", { type: "number", min: 0, step: "any", placeholder: "any" });
  if (state.ttft < Infinity) seconds.value = state.ttft;
  limit.append(" s");
  seconds.addEventListener("input", () => {
    state.ttft = seconds.valueAsNumber > 0 ? seconds.valueAsNumber : Infinity;
    draw();
  });
  button(controls, "Reset", () => { state = fresh(); build(); draw(); });
  button(controls, "Save SVG", () => save("svg", "image/svg+xml", view.svg.outerHTML));
  button(controls, "Save CSV", () => save("csv", "text/csv", csv()));
  const list = document.getElementById("listing");
  list.replaceChildren();
  check(list, "list dominated points too", state.listed, (on) => { state.listed = on; });
  buildFilters();
  buildLegend();
}

function buildFilters() {
  const filters = document.getElementById("filters");
  const open = [...filters.querySelectorAll("details")].map((d) => d.open);
  filters.replaceChildren();
  data.facets.forEach((facet, i) => {
    const off = state.facets[i], details = el(filters, "details", { class: "facet" });
    const summary = el(details, "summary");
    const count = () => {
      const all = facet.values.length;
      summary.textContent = `${facet.title}: ${off.size ? `${all - off.size} of ${all}` : "all"}`;
    };
    details.open = Boolean(open[i]);
    const body = el(details, "div");
    const all = (on) => {
      facet.values.forEach((_, v) => put(off, v, on));
      buildFilters();
      draw();
    };
    button(body, "all", () => all(true));
    button(body, "none", () => all(false));
    facet.values.forEach((value, v) => {
      check(body, value, !off.has(v), (on) => { put(off, v, on); count(); });
    });
    count();
  });
}

function swatch(parent, draws) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ width: 34, height: 14, "aria-hidden": true })) {
    svg.setAttribute(name, value);
  }
  for (const attributes of draws) el(svg, "path", attributes);
  parent.insertBefore(svg, parent.lastChild);
}

function buildLegend() {
  const legend = document.getElementById("legend");
  legend.replaceChildren();
  data.series.forEach((one, s) => {
    const label = check(legend, `${one.name}, simulated`, !state.off.has(s), (on) => put(state.off, s, on));
    const dashes = one.dashes.map((d) => 1.6 * d).join(" ");
    swatch(label, [
      { d: "M0,7H34", stroke: one.colour, "stroke-width": 1.8, "stroke-dasharray": dashes },
      { d: marker("o", 17, 7, 4.5), fill: "#fff", stroke: one.colour, "stroke-width": 1.7 }]);
  });
  if (data.series.length > 3) {
    const all = (on) => {
      data.series.forEach((_, s) => put(state.off, s, on));
      buildLegend();
      draw();
    };
    button(legend, "all", () => all(true));
    button(legend, "none", () => all(false));
  }
  const key = (words, attributes) => {
    const span = el(legend, "span", { class: "key" });
    el(span, "span", {}, words);
    swatch(span, [attributes]);
  };
  for (const shape of new Set(points.map((p) => p.shape))) {
    const names = [...new Set(points.filter((p) => p.shape === shape).map((p) => p.text.split(" ")[0]))];
    const words = names.length > 4 ? `${names.length} layouts such as ${names[0]}` : names.join(", ");
    key(words, { d: marker(shape, 17, 7, 4.5), fill: "#fff", stroke: FAINT, "stroke-width": 1.5 });
  }
  if (anyMeasured) key("filled: measured", { d: marker("o", 17, 7, 4.5), fill: FAINT });
  if (points.some((p) => p.total_tput_per_gpu_lo > 0)) {
    key("90 % band", { d: "M4,1H30V13H4Z", fill: FAINT, "fill-opacity": 0.2 });
  }
}

function csv() {
  const skipped = ["series", "measured", "allowed", "shape", "text"];
  const names = Object.keys(data.points).filter((name) => !skipped.includes(name));
  const quote = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const rows = view.shown.map((p) => [
    quote(p.series < 0 ? "" : data.series[p.series].name), quote(p.text),
    p.measured ? "measured" : "simulated", view.best.has(p) ? "true" : "false",
    ...names.map((name) => p[name] ?? "")]);
  return [["curve", "point", "origin", "on_frontier", ...names], ...rows]
    .map((row) => row.join(",")).join("\n") + "\n";
}

function save(suffix, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = `report.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

document.addEventListener("mouseover", (event) => {
  const row = event.target.closest?.("tbody tr");
  if (!row || !tip.hidden) return;
  mark(view.spots.find((spot) => tableRows[spot.p.row] === row));
});

state = fresh();
document.getElementById("chart").hidden = false;
build();
let drawnWidth = 0;
new ResizeObserver(() => {
  if (plot.clientWidth !== drawnWidth) { drawnWidth = plot.clientWidth; draw(); }
}).observe(plot);
