// Frontiers, the curves through them, bands and axes: the rules of simulator/analysis/pareto.py and
// simulator/studies/curve/pareto_plot.py. Nothing here touches the page.

function frontier(candidates, X, Y) {
  const betterX = X.rises ? 1 : -1, betterY = Y.rises ? 1 : -1;
  const fastFirst = [...candidates].sort(
    (a, b) => betterX * (b[X.key] - a[X.key]) || betterY * (b[Y.key] - a[Y.key]));
  let best = -Infinity;
  const kept = fastFirst.filter((p) => {
    const isBest = betterY * p[Y.key] > best;
    if (isBest) best = betterY * p[Y.key];
    return isBest;
  });
  return kept.sort((a, b) => a[X.key] - b[X.key]);
}

function slopes(x, y) {
  const width = x.slice(1).map((v, i) => v - x[i]);
  const secant = width.map((w, i) => (y[i + 1] - y[i]) / w);
  if (x.length === 2) return [secant[0], secant[0]];
  const inner = secant.slice(1).map((s1, i) => {
    const s0 = secant[i], h0 = width[i], h1 = width[i + 1];
    const parabola = (s0 * h1 + s1 * h0) / (h0 + h1), sign = (v) => (v < 0 ? -1 : 1);
    return (sign(s0) + sign(s1)) *
      Math.min(Math.abs(s0), Math.abs(s1), 0.5 * Math.abs(parabola));
  });
  const last = secant.length - 1;
  return [(3 * secant[0] - inner[0]) / 2, ...inner, (3 * secant[last] - inner[last - 1]) / 2];
}

// Through knots [x, y] of ascending and distinct x; a metric that is a reciprocal of throughput
// is interpolated by the throughput.
function curve(knots, power) {
  if (knots.length < 2) return [...knots];
  const x = knots.map((k) => k[0]), y = knots.map((k) => k[1] ** power), m = slopes(x, y);
  const fine = [];
  for (let i = 0; i + 1 < x.length; i++) {
    const h = x[i + 1] - x[i];
    for (let step = 0; step < 24; step++) {
      const t = step / 24, r = 1 - t;
      const v = y[i] * (1 + 2 * t) * r * r + m[i] * h * t * r * r +
        y[i + 1] * t * t * (3 - 2 * t) - m[i + 1] * h * t * t * r;
      fine.push([x[i] + t * h, v ** power]);
    }
  }
  return [...fine, knots[knots.length - 1]];
}

// The frontiers of the slow and of the fast corners of bands: a slower step lowers speed and
// throughput, as in simulator/studies/pareto_plot.py.
function corners(front, X, Y) {
  if (!X.band || !Y.band) return [];
  const known = front.filter(
    (p) => [X.band, Y.band].every((b) => p[`${b}_lo`] !== null && p[`${b}_hi`] !== null));
  if (known.length < 2) return [];
  return ["lo", "hi"].map((end) => {
    const across = X.rises ? end : end === "lo" ? "hi" : "lo";
    const spots = known.map((p) => ({
      [X.key]: p[`${X.band}_${across}`],
      [Y.key]: p[Y.key] * (p[`${Y.band}_${end}`] / p[Y.band]) ** Y.power }));
    const edge = frontier(spots, X, Y).map((spot) => [spot[X.key], spot[Y.key]]);
    edge.slowest = (X.rises ? Math.min : Math.max)(...spots.map((spot) => spot[X.key]));
    return edge;
  });
}

// Around a band; from the slowest run on, a lower speed gives no less.
function outline([low, high], X, Y) {
  const slow = low.slowest, at = (edge) => [slow, (X.rises ? edge[0] : edge[edge.length - 1])[1]];
  const edges = [curve(low, Y.power), curve(high, Y.power)];
  if (X.rises) edges.forEach((edge, i) => edge.unshift(at([low, high][i])));
  else edges.forEach((edge, i) => edge.push(at([low, high][i])));
  return [...edges[0], ...edges[1].reverse()];
}

function marker(code, x, y, r) {
  const at = (corners) => `M${corners.map(([a, b]) => `${x + a * r},${y + b * r}`).join("L")}Z`;
  const turn = (n, from) => Array.from({ length: n }, (_, i) => {
    const angle = (2 * Math.PI * i) / n + from;
    return [Math.cos(angle) * 1.15, Math.sin(angle) * 1.15];
  });
  switch (code) {
    case "o": return `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`;
    case "^": return at(turn(3, -Math.PI / 2));
    case "v": return at(turn(3, Math.PI / 2));
    case "s": return at([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]);
    case "D": return at(turn(4, 0));
    case "P": return at([[-0.4, -1.1], [0.4, -1.1], [0.4, -0.4], [1.1, -0.4], [1.1, 0.4],
      [0.4, 0.4], [0.4, 1.1], [-0.4, 1.1], [-0.4, 0.4], [-1.1, 0.4], [-1.1, -0.4], [-0.4, -0.4]]);
    default: return at(turn(6, Math.PI / 6));
  }
}

function ticks([low, high], log, room) {
  if (log) {
    const decades = Math.log10(high / low), subs = decades > 3.5 ? [1] : [1, 2, 5];
    const found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) {
      for (const sub of subs) {
        const value = Number(`${sub}e${e}`);
        if (value >= low && value <= high) found.push(value);
      }
    }
    return found;
  }
  const rough = (high - low) / Math.max(2, room), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  return Array.from({ length: Math.floor(high / step) + 1 }, (_, i) => i * step);
}

function short(value) {
  const big = Math.abs(value) >= 1e5;
  return new Intl.NumberFormat("en-US", {
    notation: big ? "compact" : "standard", maximumSignificantDigits: 4 }).format(value);
}

function limits(values, bandEnds, log) {
  const low = Math.min(...values), high = Math.max(...values);
  if (!values.length) return log ? [1, 10] : [0, 1];
  if (log) return [low / 1.4, high * 1.4];
  return [0, 1.08 * Math.min(Math.max(high, ...bandEnds), 1.33 * high) || 1];
}
