// Grids of coloured cells.

// `room` is the width that the cells may take together.
A.heat = (heat, title, room = 760) => {
  const columns = Math.max(1, heat.x.length), rows = Math.max(1, heat.y.length);
  const longestX = d3.max(heat.x, (n) => Math.min(18, n.length)) || 1, longestY = d3.max(heat.y, (n) => Math.min(18, n.length)) || 1;
  const least = room < 500 ? 8 : 14;
  const width = Math.max(least, Math.min(64, room / columns)), height = Math.max(least, Math.min(34, (room * 0.85) / rows));
  const fits = (i, size) => i % Math.ceil(12 / size) === 0;
  const upright = longestX * 7 > width;
  const most = A.most(heat.cells.map((c) => c.value));
  const svg = Plot.plot({
    width: width * columns + 34 + 7.5 * longestY + 20,
    height: height * rows + 40 + (upright ? 7 * longestX + 16 : 26),
    marginLeft: 34 + 7.5 * longestY, marginTop: 24, marginRight: 20, marginBottom: upright ? 7 * longestX + 32 : 42,
    padding: 0,
    x: { type: "band", domain: d3.range(columns), tickFormat: (i) => (fits(i, width) ? A.short(A.visible(heat.x[i]), 18) : ""), label: heat.x_label, labelArrow: "none", labelAnchor: "center", labelOffset: upright ? 7 * longestX + 28 : 38, tickRotate: upright ? -90 : 0, tickSize: 0 },
    y: { type: "band", domain: d3.range(rows), tickFormat: (i) => (fits(i, height) ? A.short(A.visible(heat.y[i]), 18) : ""), label: heat.y_label, labelArrow: "none", labelAnchor: "top", tickSize: 0 },
    marks: [
      Plot.cell(heat.cells, { x: "x", y: "y", inset: 0.5, fill: () => 1 }),
    ],
    color: { legend: false, type: "identity" },
  });
  const rects = svg.querySelectorAll('[aria-label="cell"] rect');
  const items = Array.from(rects, (element) => {
    const cell = heat.cells[element.__data__];
    element.style.fill = A.colour(cell.value, most);
    if (cell.marked) { element.style.stroke = "var(--frame)"; element.style.strokeWidth = "2px"; element.style.strokeDasharray = "none"; }
    const place = cell.name || `${heat.y_label} ${A.visible(heat.y[cell.y])}, ${heat.x_label} ${A.visible(heat.x[cell.x])}`;
    const error = cell.std_err === undefined ? "" : ` ± ${A.number(cell.std_err)}`;
    const lines = [place, `${heat.value_label}: ${A.number(cell.value)}${error}`, cell.marked ? "in the circuit" : ""];
    return { element, lines, x: cell.x, y: cell.y, marked: cell.marked };
  });
  // frames lie above the cells beside them
  for (const item of items) if (item.marked) item.element.parentNode.append(item.element);
  A.speak(svg, items, title);
  return A.el("div", null, A.scale(heat, most), A.el("div", { class: "draw" }, svg));
};

// Names with their spaces visible where they begin or end with one.
A.visible = (text) => (/^\d+ /.test(text) || /^\s|\s$/.test(text) ? text.replace(/(\d+ )?([\s\S]*)/, (_, n, t) => (n || "") + A.token(t)) : text);

A.scale = (heat, most) => {
  const signed = heat.cells.some((c) => c.value < 0);
  const framed = heat.cells.some((c) => c.marked) ? A.el("span", null, "▢ framed: in the circuit") : null;
  return A.el("div", { class: "legend" },
    A.el("span", null, `${heat.value_label}: `, signed ? A.number(-most) : "0",
      A.el("span", { class: signed ? "scale" : "scale half" }), A.number(most)),
    framed);
};
