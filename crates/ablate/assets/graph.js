// A circuit in layers: zoom and move; choose a node for its edges, scores, attention and what it writes.

A.graph = (graph, title) => {
  const panel = A.el("div", { class: "panel", hidden: "", role: "region", "aria-label": "The chosen node", "aria-live": "polite" });
  const { svg, place, width, height } = A.layered(graph);
  const root = d3.select(svg);
  const inner = root.select("g.all");
  const zoom = d3.zoom().scaleExtent([0.2, 8])
    // the wheel alone scrolls the page
    .filter((event) => !event.button && (event.type !== "wheel" || event.ctrlKey || event.metaKey)).on("zoom", (event) => inner.attr("transform", event.transform));
  root.call(zoom).on("dblclick.zoom", null);
  svg.setAttribute("aria-label", `${title}. ${graph.nodes.length} nodes, ${graph.edges.length} edges. Tab goes from node to node, Enter chooses.`);
  const split = A.el("div", { class: "split" }, svg, panel);
  const nodes = inner.selectAll("g.node"), edges = inner.selectAll("path.edge");
  const choose = (i) => {
    const open = i !== null;
    split.classList.toggle("open", open);
    panel.hidden = !open;
    nodes.classed("chosen", (_, j) => j === i);
    edges.classed("faded", (e) => open && e.from !== i && e.to !== i);
    panel.replaceChildren();
    if (open) A.panel(panel, graph, i, choose);
  };
  nodes.on("click", (_, d) => choose(d.i)).on("keydown", (event, d) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(d.i); }
    if (event.key === "Escape") choose(null);
  });
  nodes.each(function (d) {
    const error = d.std_err === undefined ? "" : ` ± ${A.number(d.std_err)}`;
    const lines = [d.name, d.score === undefined ? "" : `score: ${A.number(d.score)}${error}`, "click: edges, attention, logits"];
    this.addEventListener("pointerenter", () => A.tip.show(this, lines));
    this.addEventListener("pointerleave", A.tip.hide);
  });
  edges.each(function (d) {
    const slot = d.slot ? `<${d.slot}>` : "";
    const lines = [`${graph.nodes[d.from].name} → ${graph.nodes[d.to].name}${slot}`, d.score === undefined ? "" : `score: ${A.number(d.score)}`];
    this.addEventListener("pointerenter", () => A.tip.show(this, lines));
    this.addEventListener("pointerleave", A.tip.hide);
  });
  const button = (text, label, act) => A.el("button", { type: "button", "aria-label": label, click: act }, text);
  const tools = A.el("div", { class: "tools" },
    button("+", "Zoom in", () => root.call(zoom.scaleBy, 1.4)),
    button("−", "Zoom out", () => root.call(zoom.scaleBy, 1 / 1.4)),
    button("Whole", "Show the whole circuit", () => root.call(zoom.transform, d3.zoomIdentity)));
  return A.el("div", null, A.graphLegend(graph), split, tools);
};

A.graphLegend = (graph) => {
  const legend = A.el("div", { class: "legend" });
  const scored = [...graph.nodes, ...graph.edges].some((x) => x.score !== undefined);
  if (scored) legend.append(A.chip("var(--pos)", "supports the behaviour"), A.chip("var(--neg)", "works against it"));
  return legend;
};

// Rows from the input at the bottom to the logits at the top, only rows that have nodes; a column for each head where there are few
// enough of them.
A.layered = (graph) => {
  const STEP = 58, COLUMNS = 14;
  const rows = d3.groups(graph.nodes.map((n, i) => ({ ...n, i })), (n) => n.row).sort((a, b) => a[0] - b[0]).map((r) => r[1]);
  const inColumns = graph.heads <= COLUMNS;
  const width = Math.max(640, 74 * (inColumns ? graph.heads + 1 : d3.max(rows, (r) => r.length) + 1)), height = Math.max(220, STEP * rows.length + 20);
  const place = [];
  rows.forEach((row, r) => row.forEach((n, j) => {
    const share = inColumns ? (n.column + 0.5) / (graph.heads + 1) : (j + 1) / (row.length + 1);
    place[n.i] = { x: 10 + share * (width - 20), y: height - 36 - STEP * r };
  }));
  const root = d3.create("svg").attr("class", "graph").attr("viewBox", [0, 0, width, height]).attr("role", "group").attr("preserveAspectRatio", "xMidYMid meet")
    .style("height", `${height}px`);
  const inner = root.append("g").attr("class", "all");
  const mostEdge = A.most(graph.edges.map((e) => e.score || 0)), mostNode = A.most(graph.nodes.map((n) => n.score || 0));
  const share = (e) => (e.score === undefined || mostEdge === 0 ? 0.4 : Math.abs(e.score) / mostEdge);
  const path = (e) => {
    const a = place[e.from], b = place[e.to];
    // a head and the MLP of its own layer stand side by side
    if (a.y === b.y) return `M${a.x + 31},${a.y}C${a.x + 50},${a.y - 18} ${b.x - 50},${b.y - 18} ${b.x - 31},${b.y}`;
    // queries, keys and values of a head are read side by side
    const x = b.x + ({ q: -14, k: 0, v: 14 }[e.slot] || 0), bend = (a.y - b.y) * 0.35;
    // an edge that passes over rows goes around what lies between
    const round = a.y - b.y > STEP && Math.abs(a.x - b.x) < 8 ? 44 : 0;
    return `M${a.x},${a.y - 11}C${a.x + round},${a.y - 11 - bend} ${x + round},${b.y + 11 + bend} ${x},${b.y + 11}`;
  };
  inner.append("g").selectAll("path").data(graph.edges).join("path").attr("class", "edge").attr("d", path)
    .style("stroke", (e) => (e.score === undefined ? "var(--soft)" : e.score < 0 ? "var(--neg)" : "var(--pos)"))
    .style("stroke-width", (e) => 1 + 4 * share(e)).style("stroke-opacity", (e) => 0.25 + 0.65 * share(e));
  const node = inner.append("g").selectAll("g").data(graph.nodes.map((n, i) => ({ ...n, i }))).join("g").attr("class", "node")
    .attr("tabindex", 0).attr("role", "button").attr("aria-label", (n) => `${n.name}${n.score === undefined ? "" : `, score ${A.number(n.score)}`}`)
    .attr("transform", (n) => `translate(${place[n.i].x},${place[n.i].y})`);
  node.append("rect").attr("x", -31).attr("y", -12).attr("width", 62).attr("height", 24).attr("rx", 5)
    .style("fill", (n) => (n.score === undefined ? "var(--card)" : A.colour(n.score, mostNode)));
  node.append("text").text((n) => n.name)
    .style("fill", (n) => (n.score !== undefined && mostNode > 0 && Math.abs(n.score) / mostNode > 0.6 ? "var(--bg)" : "var(--fg)"));
  return { svg: root.node(), place, width, height };
};

// What is known of a node.
A.panel = (panel, graph, i, choose) => {
  const node = graph.nodes[i];
  const close = A.el("button", { type: "button", "aria-label": "Close", click: () => choose(null) }, "×");
  panel.append(A.el("div", { class: "bar" }, A.el("h3", null, node.name), close));
  if (node.score !== undefined) {
    const error = node.std_err === undefined ? "" : ` ± ${A.number(node.std_err)}`;
    panel.append(A.el("p", null, `Score ${A.number(node.score)}${error}`));
  }
  const side = (name, mine, other) => {
    const list = graph.edges.filter((e) => e[mine] === i).sort((a, b) => Math.abs(b.score || 0) - Math.abs(a.score || 0));
    panel.append(A.el("h4", null, `${name}${graph.left_out > 0 ? ", of those drawn" : ""}: ${list.length}`));
    const link = (e) => {
      const slot = e.slot ? (mine === "to" ? ` into ${e.slot}` : ` <${e.slot}>`) : "";
      return A.el("button", { type: "button", click: () => choose(e[other]) }, `${graph.nodes[e[other]].name}${slot} ${A.number(e.score)}`);
    };
    panel.append(A.el("div", { class: "links" }, ...list.map(link)));
  };
  side("Edges in", "to", "from");
  side("Edges out", "from", "to");
  A.looks(panel, node.name);
};

// Attention patterns and what the node adds to the logits, on a prompt that can be chosen.
A.looks = (panel, name) => {
  const live = A.page.live;
  if (!live) {
    panel.append(A.el("p", { class: "soft" }, "Attention and logits were not asked for: ", A.code("`ablate report … --model MODEL --data DATA` adds them.")));
    return;
  }
  const head = live.heads.find((h) => h.name === name), node = live.nodes.find((n) => n.name === name);
  if (!head && !node) {
    panel.append(A.el("p", { class: "soft" }, "The model was not run for this node: only for those that matter most."));
    return;
  }
  const holder = A.el("div");
  const show = (p) => {
    holder.replaceChildren();
    const prompt = live.prompts[p];
    if (head) holder.append(A.el("h4", null, "Attention, rows look at columns"), A.pattern(prompt, head.patterns[p], name));
    if (node) {
      const list = (changes) => ({ columns: ["token", "logit"], rows: changes.map((c) => [A.token(c.token), c.change]), left_out: 0 });
      holder.append(A.el("h4", null, "Top logits: what it adds to the next token"), A.rows(list(node.adds[p])));
      holder.append(A.el("h4", null, "And takes from it"), A.rows(list(node.takes[p])));
      holder.append(A.el("p", { class: "soft" }, "Logit after the last token, minus the same with the node's output replaced by zero."));
    }
    const likely = { columns: ["token", "logit", "probability"], rows: prompt.top.map((t) => [A.token(t.token), t.logit, t.probability]), left_out: 0 };
    holder.append(A.el("h4", null, "The model's likely next tokens"), A.rows(likely));
  };
  const option = (prompt, p) => A.el("option", { value: p }, `${p + 1}. ${A.short(A.prompt(prompt.tokens), 40)}`);
  const select = A.el("select", { "aria-label": "Prompt", change: () => show(Number(select.value)) }, ...live.prompts.map(option));
  panel.append(A.el("h4", null, "On the prompt"), select, holder);
  show(0);
};

// Tokens as one text, apart where none of them holds a space.
A.prompt = (tokens) => tokens.join(tokens.some((t) => /\s/.test(t)) ? "" : " ");

// A pattern as a grid.
A.pattern = (prompt, pattern, name) => {
  const n = prompt.tokens.length;
  const names = prompt.tokens.map((t, i) => `${i} ${t}`);
  const cells = Array.from(pattern, (value, i) => ({ x: i % n, y: Math.floor(i / n), value })).filter((c) => c.value !== 0 || c.x <= c.y);
  return A.heat({ x_label: "looks at", y_label: "token", value_label: "attention", x: names, y: names, cells }, `Attention of ${name}`, 300);
};
