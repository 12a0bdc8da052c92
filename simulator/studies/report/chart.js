// Draws the points that the filters leave, and says what each is.

const data = JSON.parse(document.getElementById("report-data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const INK = "#1c2430", FAINT = "#5d6673", GRID = "#e6e9ee";
const LABEL_SPACING = 0.025; // of an axis: nearer labels would all but cover each other
const REACH = 36; // pixels from which the pointer finds a point
const plot = document.getElementById("plot"), tip = document.getElementById("tip");
const points = data.points.text.map((_, row) => {
  const cells = Object.entries(data.points).map(([name, column]) => [name, column[row]]);
  return { row, ...Object.fromEntries(cells) };
});
const tableRows = points.map((p) => document.getElementById(`row-${p.row}`));
const anyMeasured = points.some((p) => p.measured);
let state, view;

const fresh = () => ({
  x: 0, y: 0, logX: false, logY: false, dominated: true, bands: true, labels: true, listed: false,
  measured: true, ttft: Infinity, off: new Set(), facets: data.facets.map((facet) => new Set(facet.off)),
});

function visible(p) {
  const x = p[data.axes.x[state.x].key], y = p[data.axes.y[state.y].key];
  if (x === null || y === null || (state.logX && x <= 0) || (state.logY && y <= 0)) return false;
  if (state.off.has(p.series) || (p.measured && !state.measured)) return false;
  if (!p.measured && p.p90_ttft_s > state.ttft) return false;
  return data.facets.every((facet, i) => !state.facets[i].has(facet.of[p.row]));
}

function el(parent, name, attributes, text) {
  const svg = parent instanceof SVGElement || name === "svg";
  const node = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function draw() {
  const X = data.axes.x[state.x], Y = data.axes.y[state.y];
  const shown = points.filter(visible), fronts = new Map();
  data.series.forEach((_, s) => {
    const mine = shown.filter((p) => p.series === s && !p.measured && p.allowed);
    fronts.set(s, frontier(mine, X, Y));
  });
  const best = new Set([...fronts.values()].flat());
  const drawn = shown.filter((p) => best.has(p) || p.measured || state.dominated);
  const bands = [...fronts].map(([s, front]) => [s, state.bands ? corners(front, X, Y) : []]);
  const ends = bands.flatMap(([, edges]) => edges.flat());

  const width = plot.clientWidth, height = Math.round(Math.min(620, Math.max(350, width * 0.54)));
  const xLimits = limits(drawn.map((p) => p[X.key]), ends.map((k) => k[0]), state.logX);
  const yLimits = limits(drawn.map((p) => p[Y.key]), ends.map((k) => k[1]), state.logY);
  const yTicks = ticks(yLimits, state.logY, height / 60);
  const left = 34 + 6.6 * Math.max(...yTicks.map((t) => short(t).length));
  const box = { left, top: 40, right: width - 14, bottom: height - 56 };
  const xTicks = ticks(xLimits, state.logX, (box.right - box.left) / 60);
  const scale = ([low, high], log, from, to) => (v) => log
    ? from + ((to - from) * Math.log(v / low)) / Math.log(high / low)
    : from + ((to - from) * (v - low)) / (high - low);
  const sx = scale(xLimits, state.logX, box.left, box.right);
  const sy = scale(yLimits, state.logY, box.bottom, box.top);

  plot.querySelector("svg")?.remove();
  const title = `${Y.title} vs. ${X.title}`;
  const svg = el(plot, "svg", {
    xmlns: SVG, viewBox: `0 0 ${width} ${height}`, height, tabindex: 0, role: "img",
    "aria-label": `${title}; arrow keys go from point to point`,
    "font-family": "system-ui, 'Liberation Sans', Arial, sans-serif", "font-size": 11.5 });
  el(svg, "desc", {}, [...document.querySelectorAll(".caption")].map((c) => c.textContent).join("; "));
  el(svg, "rect", { width, height, fill: "#fff" });
  const heading = el(svg, "text", { x: 8, y: 16, fill: INK, "font-weight": 600, "font-size": 15 }, title);
  const wide = heading.getComputedTextLength();
  if (wide > width - 16) heading.setAttribute("font-size", (15 * (width - 16)) / wide);
  drawAxes(svg, { X, Y, box, sx, sy, xTicks, yTicks, height });
  const clip = el(el(svg, "clipPath", { id: "inside" }), "rect", {
    x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top });
  const inside = el(svg, "g", { "clip-path": `url(#${clip.parentNode.id})` });
  const onAxes = (k) => (!state.logX || k[0] > 0) && (!state.logY || k[1] > 0);
  const path = (knots) => knots.filter(onAxes)
    .map(([x, y]) => `${sx(x).toFixed(1)},${sy(y).toFixed(1)}`).join("L");
  const line = [];
  for (const [s, edges] of bands) {
    if (!edges.length) continue;
    el(inside, "path", { class: "band", d: `M${path(outline(edges, X, Y))}Z`, fill: data.series[s].colour,
      "fill-opacity": 0.13 });
  }
  for (const [s, front] of fronts) {
    const through = curve(front.map((p) => [p[X.key], p[Y.key]]), Y.power);
    if (through.length < 2) continue;
    line.push(...through.map(([x, y]) => [sx(x), sy(y)]));
    el(inside, "path", { class: "curve", d: `M${path(through)}`, fill: "none",
      stroke: data.series[s].colour, "stroke-width": 1.8,
      "stroke-dasharray": data.series[s].dashes.map((d) => 1.6 * d).join(" ") });
  }
  const order = (p) => (p.measured ? 2 : best.has(p) ? 1 : 0);
  for (const p of [...drawn].sort((a, b) => order(a) - order(b))) {
    const colour = p.series < 0 ? data.otherColour : data.series[p.series].colour;
    const kind = ["dominated", "frontier", "measured"][order(p)];
    const x = sx(p[X.key]), y = sy(p[Y.key]);
    el(svg, "path", { class: `point ${kind}`, "data-row": p.row,
      d: marker(p.shape, x, y, kind === "dominated" ? 4 : 5),
      fill: p.measured ? colour : kind === "frontier" ? "#fff" : "none",
      stroke: p.measured ? "#fff" : colour,
      "stroke-width": kind === "frontier" ? 1.7 : 1, opacity: kind === "dominated" ? 0.4 : 1 });
  }
  const spots = drawn.map((p) => ({ p, x: sx(p[X.key]), y: sy(p[Y.key]) }));
  if (state.labels) drawLabels(svg, { fronts, spots, line, box, X, Y, xLimits, yLimits });
  if (!drawn.length) {
    el(svg, "text", { x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2, fill: FAINT,
      "text-anchor": "middle", "font-size": 14 }, "no point is left by the filters");
  }
  const ring = el(svg, "circle", { r: 10, fill: "none", stroke: INK, "stroke-width": 1.6,
    visibility: "hidden", "pointer-events": "none" });
  view = { svg, spots, ring, width, height, best, shown };
  hide();
  listen(svg);
  followTables();
}

function drawAxes(svg, { X, Y, box, sx, sy, xTicks, yTicks, height }) {
  const text = (x, y, words, more) => el(svg, "text", { x, y, fill: FAINT, ...more }, words);
  for (const t of yTicks) {
    el(svg, "line", { x1: box.left, x2: box.right, y1: sy(t), y2: sy(t), stroke: GRID });
    text(box.left - 6, sy(t) + 4, short(t), { class: "y-tick", "text-anchor": "end" });
  }
  let free = -Infinity;
  for (const t of xTicks) {
    const words = short(t), half = 3.4 * words.length;
    el(svg, "line", { x1: sx(t), x2: sx(t), y1: box.top, y2: box.bottom, stroke: GRID });
    if (sx(t) - half < free) continue;
    free = sx(t) + half + 6;
    text(sx(t), box.bottom + 16, words, { class: "x-tick", "text-anchor": "middle" });
  }
  el(svg, "path", { d: `M${box.left},${box.top}V${box.bottom}H${box.right}`, fill: "none",
    stroke: "#aab2bd" });
  const middle = (box.top + box.bottom) / 2;
  text((box.left + box.right) / 2, box.bottom + 34, `${X.title} (${X.unit})`,
    { fill: INK, "text-anchor": "middle", "font-size": 12.5 });
  text(14, middle, `${Y.title} (${Y.unit})`, { fill: INK, "text-anchor": "middle",
    "font-size": 12.5, transform: `rotate(-90 14 ${middle})` });
  text(box.right, height - 6, data.corner, { "text-anchor": "end", "font-size": 10.5 });
  if (X.key !== "interactivity") return;
  for (const speed of data.speeds.filter((v) => sx(v) > box.left && sx(v) < box.right)) {
    el(svg, "line", { class: "speed", x1: sx(speed), x2: sx(speed), y1: box.top, y2: box.bottom,
      stroke: FAINT, "stroke-dasharray": "1.5 3" });
    text(sx(speed), box.top - 5, short(speed), { "text-anchor": "middle" });
  }
}

// Nearest free place first; above and to the right of a falling frontier is free.
function drawLabels(svg, { fronts, spots, line, box, X, Y, xLimits, yLimits }) {
  const taken = spots.map((s) => [s.x - 6, s.y - 6, s.x + 6, s.y + 6]);
  const meets = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const angles = [-45, -20, -70, 0, -90, -135, 20, 180, 45, 90, 135];
  for (const front of fronts.values()) {
    let last;
    for (const p of front) {
      if (last && (p[X.key] - last[X.key]) / xLimits[1] < LABEL_SPACING &&
          Math.abs(last[Y.key] - p[Y.key]) / yLimits[1] < LABEL_SPACING) continue;
      const { x, y } = spots.find((s) => s.p === p);
      const label = el(svg, "text", { class: "label", "font-size": 11, stroke: "#fff",
        fill: data.series[p.series].colour, "stroke-width": 2.5, "paint-order": "stroke",
        "pointer-events": "none" }, p.text);
      const long = label.getComputedTextLength();
      const places = [10, 15, 22, 32].flatMap((far) => angles.map((degrees) => {
        const a = (degrees * Math.PI) / 180, cx = x + far * Math.cos(a), cy = y + far * Math.sin(a);
        const x0 = Math.cos(a) > 0.3 ? cx : Math.cos(a) < -0.3 ? cx - long : cx - long / 2;
        return [x0, cy - 6, x0 + long, cy + 6];
      })).filter((r) => r[0] > box.left && r[2] < box.right && r[1] > box.top && r[3] < box.bottom);
      const free = places.filter((r) => !taken.some((t) => meets(r, t)));
      const place = free.find((r) => !line.some(
        ([a, b]) => a > r[0] && a < r[2] && b > r[1] && b < r[3])) || free[0];
      if (place) {
        last = p;
        taken.push(place);
        label.setAttribute("x", place[0]);
        label.setAttribute("y", place[3] - 2.5);
      } else {
        label.remove();
      }
    }
  }
}

// ---- what a point says

function show(spot) {
  const { p } = spot, row = tableRows[p.row];
  const heads = [...row.closest("table").querySelectorAll("th")].map((th) => th.textContent);
  tip.replaceChildren();
  el(tip, "strong", {}, p.text || "point");
  const name = p.series < 0 ? "" : data.series[p.series].name;
  el(tip, "em", {}, p.measured ? `measured${name && `, drawn with ${name}`}` : `${name}, simulated`);
  const list = el(tip, "dl");
  [...row.cells].forEach((cell, i) => {
    if (!cell.textContent || ["layout", "clients", "curve"].includes(heads[i])) return;
    el(list, "dt", {}, heads[i]);
    el(list, "dd", {}, cell.textContent);
  });
  tip.hidden = false;
  const wide = tip.offsetWidth, high = tip.offsetHeight, narrow = view.width < 600;
  const right = spot.x + 16 + wide <= view.width;
  const at = narrow ? spot.x - wide / 2 : right ? spot.x + 16 : spot.x - wide - 16;
  tip.style.left = `${Math.max(0, Math.min(at, view.width - wide))}px`;
  tip.style.top = `${narrow ? spot.y + 16 : Math.max(0, Math.min(spot.y - high / 2, view.height - high))}px`;
  mark(spot);
}

function mark(spot) {
  view.ring.setAttribute("visibility", spot ? "visible" : "hidden");
  if (spot) { view.ring.setAttribute("cx", spot.x); view.ring.setAttribute("cy", spot.y); }
  view.current = spot;
}

function hide() { tip.hidden = true; mark(); }

function listen(svg) {
  const find = (event) => {
    const area = svg.getBoundingClientRect();
    const x = event.clientX - area.left, y = event.clientY - area.top;
    const far = (s) => Math.hypot(s.x - x, s.y - y) + (s.p.measured || view.best.has(s.p) ? 0 : 4);
    const near = view.spots.reduce((a, b) => (a && far(a) <= far(b) ? a : b), undefined);
    return near && far(near) <= REACH ? near : undefined;
  };
  const look = (event) => { const found = find(event); if (found) show(found); else hide(); };
  svg.addEventListener("pointermove", look);
  svg.addEventListener("pointerdown", look);
  svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const stops = view.spots.filter((s) => view.best.has(s.p) || s.p.measured)
      .sort((a, b) => a.x - b.x);
    if (!stops.length) return;
    event.preventDefault();
    const at = stops.indexOf(view.current);
    show(stops[at < 0 ? 0 : (at + step + stops.length) % stops.length]);
  });
}

function followTables() {
  const shown = new Set(view.shown);
  points.forEach((p, i) => {
    const leads = p.measured || view.best.has(p);
    tableRows[i].hidden = !(shown.has(p) && (leads || state.listed));
    tableRows[i].classList.toggle("dominated", !leads);
  });
  for (const section of document.querySelectorAll("section.curve")) {
    const mine = points.filter((p) => !p.measured && p.series === Number(section.dataset.series));
    const left = mine.filter((p) => shown.has(p));
    const best = left.filter((p) => view.best.has(p)).length;
    section.hidden = state.off.has(Number(section.dataset.series));
    section.querySelector(".count").textContent = `${best} frontier points of ${mine.length} ` +
      `simulated${left.length < mine.length ? `, ${left.length} left by the filters` : ""}`;
  }
}
