// Lines with bands, and bars.

A.chip = (colour, text, round) => {
  const swatch = A.el("span", { class: round ? "swatch dot" : "swatch" });
  swatch.style.background = colour;
  return A.el("span", null, swatch, text);
};

A.lines = (figure, title) => {
  const named = figure.x_names.length > 0;
  const series = figure.series.map((s, i) => ({ ...s, colour: A.group(s.group, i) }));
  const place = (x) => (figure.x_log ? Math.log10(x) : x);
  const points = series.flatMap((s, i) => s.points.map((p) => ({ ...p, at: place(p.x), series: s, i })));
  const lined = points.filter((p) => p.series.group !== "points");
  const ys = [...points.flatMap((p) => p.band || [p.y]), ...figure.rules.map((r) => r.at)];
  const bands = lined.filter((p) => p.band);
  const marks = [Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1 })];
  marks.push(Plot.ruleY(figure.rules, { y: "at", stroke: "currentColor", strokeOpacity: 0.55, strokeDasharray: "4,3" }));
  for (const s of series) {
    const own = bands.filter((p) => p.series === s);
    if (own.length > 1) marks.push(Plot.areaY(own, { x: "at", y1: (p) => p.band[0], y2: (p) => p.band[1], fill: s.colour, fillOpacity: 0.18 }));
    if (s.group !== "points") marks.push(Plot.lineY(points.filter((p) => p.series === s), { x: "at", y: "y", stroke: s.colour, strokeWidth: 2 }));
  }
  marks.push(Plot.dot(points, { x: "at", y: "y", fill: "white", r: 3.5 }));
  const gap = 0.05 * ((d3.max(ys) - d3.min(ys)) || 1);
  const rules = A.apart(figure.rules.map((r) => ({ name: r.name, y: r.at })), gap);
  marks.push(Plot.text(rules, { y: "y", text: (r) => A.short(r.name, 18), frameAnchor: "right", textAnchor: "start", dx: 8, fill: "currentColor" }));
  const many = figure.series.length > 4;
  const xs = points.map((p) => p.x);
  const svg = Plot.plot({
    width: 860, height: 400, marginLeft: 60, marginRight: many || figure.rules.length > 0 ? 120 : 30, marginBottom: 46, marginTop: 30,
    x: {
      label: figure.x_label, labelArrow: "none", labelAnchor: "center", labelOffset: 36,
      ...(named ? { ticks: d3.range(figure.x_names.length), tickFormat: (i) => figure.x_names[i] } : {}),
      ...(!named && !figure.x_log && xs.every(Number.isInteger) && d3.max(xs) < 15 ? { ticks: d3.range(0, (d3.max(xs) || 0) + 1), tickFormat: "d" } : {}),
      ...(figure.x_log ? { ticks: Array.from(new Set(xs)).sort(d3.ascending).map(place), tickFormat: (x) => String(Number((10 ** x).toPrecision(6))) } : {}),
    },
    y: { label: figure.y_label, labelArrow: "none", nice: true },
    marks: many ? [...marks, ...A.ends(series, points)] : marks,
  });
  const dots = svg.querySelectorAll('[aria-label="dot"] circle');
  const items = Array.from(dots, (element) => {
    const p = points[element.__data__];
    element.style.fill = p.series.colour;
    const x = named ? figure.x_names[p.x] : A.number(p.x);
    const band = p.band ? ` (95 %: ${A.number(p.band[0])} to ${A.number(p.band[1])})` : "";
    return { element, lines: [p.series.name, p.name || "", `${figure.x_label}: ${x}`, `${figure.y_label}: ${A.number(p.y)}${band}`] };
  });
  A.speak(svg, items, title);
  const groups = new Set(series.map((s) => s.group));
  const legend = A.el("div", { class: "legend" });
  if (groups.has("in") || groups.has("out")) {
    legend.append(A.chip("var(--pos)", "in the circuit"), A.chip("var(--neg)", "outside of it"));
  } else if (series.length > 1) {
    legend.append(...series.map((s) => A.chip(s.colour, s.name, s.group === "points")));
  }
  return A.el("div", null, legend, A.el("div", { class: "draw" }, svg));
};

// Names moved down until each is at least `gap` below the one above it.
A.apart = (names, gap) => {
  const sorted = names.toSorted((a, b) => b.y - a.y);
  sorted.forEach((name, i) => { if (i > 0) name.y = Math.min(name.y, sorted[i - 1].y - gap); });
  return sorted;
};

// Names at the ends of lines.
A.ends = (series, points) => {
  const ys = points.map((p) => p.y);
  const ends = series.filter((s) => s.points.length > 0)
    .map((s) => ({ name: s.name, colour: s.colour, x: s.points.at(-1).x, y: s.points.at(-1).y }));
  return A.apart(ends, 0.045 * ((d3.max(ys) - d3.min(ys)) || 1)).map((e) => Plot.text([e], { x: "x", y: "y", text: (d) => A.short(d.name, 12), dx: 8, textAnchor: "start", fill: e.colour }));
};

A.bars = (figure, title) => {
  const bars = figure.bars.map((b, i) => ({ ...b, i, half: 1.96 * (b.std_err || 0) }));
  const longest = d3.max(bars, (b) => Math.min(34, b.name.length)) || 4;
  const svg = Plot.plot({
    width: 860, height: 66 + 22 * bars.length, marginLeft: 20 + 7 * longest, marginRight: 70, marginBottom: 46, marginTop: figure.rules.length > 0 ? 26 : 10,
    x: { label: figure.value_label, labelArrow: "none", labelAnchor: "center", labelOffset: 36, nice: true },
    y: { type: "band", domain: d3.range(bars.length), tickFormat: (i) => A.short(bars[i].name, 34), label: null, tickSize: 0, padding: 0.25 },
    marks: [
      Plot.gridX({ stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.barX(bars, { x1: 0, x2: "value", y: "i", fill: "white" }),
      Plot.ruleY(bars.filter((b) => b.half > 0), { y: "i", x1: (b) => b.value - b.half, x2: (b) => b.value + b.half, stroke: "currentColor", strokeWidth: 1.2, pointerEvents: "none" }),
      Plot.ruleX([0], { stroke: "currentColor", pointerEvents: "none" }),
      Plot.ruleX(figure.rules, { x: "at", stroke: "currentColor", strokeOpacity: 0.55, strokeDasharray: "4,3", pointerEvents: "none" }),
      Plot.text(figure.rules, { x: "at", text: "name", frameAnchor: "top", textAnchor: "start", dy: -16, fill: "currentColor" }),
      Plot.text(bars, { x: (b) => Math.max(0, b.value + b.half), y: "i", text: (b) => A.number(b.value), dx: 6, textAnchor: "start", fill: "currentColor" }),
    ],
  });
  const rects = svg.querySelectorAll('[aria-label="bar"] rect');
  const items = Array.from(rects, (element) => {
    const bar = bars[element.__data__];
    element.style.fill = bar.group ? A.group(bar.group, 0) : bar.value < 0 ? "var(--neg)" : "var(--pos)";
    const error = bar.std_err === undefined ? "" : ` ± ${A.number(bar.std_err)}`;
    const inside = bar.group === "in" ? "in the circuit" : bar.group === "out" ? "outside of the circuit" : "";
    return { element, lines: [bar.name, `${figure.value_label}: ${A.number(bar.value)}${error}`, inside] };
  });
  A.speak(svg, items, title);
  const groups = new Set(bars.map((b) => b.group));
  const legend = A.el("div", { class: "legend" });
  if (groups.has("in") && groups.has("out")) legend.append(A.chip("var(--pos)", "in the circuit", true), A.chip("var(--neg)", "outside of it", true));
  return A.el("div", null, legend, A.el("div", { class: "draw" }, svg));
};
