// Puts the page together: verdict, evidence, how it was made.
(() => {
  const page = A.page;
  const main = A.el("main", { class: "page", id: "top" });

  const theme = () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };
  main.append(A.el("div", { class: "bar" },
    A.el("h1", null, page.title),
    A.el("div", { class: "tools" },
      A.el("button", { type: "button", id: "theme", click: theme }, "Light / dark"),
      A.el("button", { type: "button", click: () => window.print() }, "Print"))));

  const sentence = (s) => A.el("li", null,
    A.el("span", { class: `tone ${s.tone}` }, A.tones[s.tone]), A.code(s.text),
    s.source ? A.el("span", { class: "soft" }, ` (${s.source})`) : null);
  main.append(A.el("section", { class: `verdict ${page.headline.tone}`, id: "verdict", "aria-label": "Verdict" },
    A.el("p", { class: "first" }, A.el("strong", null, `${A.tones[page.headline.tone]}: `), A.code(page.headline.text)),
    page.headline.source ? A.el("p", { class: "soft" }, `From ${page.headline.source}.`) : null,
    A.el("ul", { class: "said" }, ...page.statements.map(sentence)),
    page.doubts.length > 0 ? A.el("h2", { class: "care" }, "To be taken with care") : null,
    A.el("ul", { class: "said" }, ...page.doubts.map(sentence))));

  const shown = page.sections.filter((s) => s.figures.length > 0);
  const link = (id, text) => A.el("li", null, A.el("a", { href: `#${id}` }, text));
  main.append(A.el("nav", { "aria-label": "Parts of the page" }, A.el("ul", null,
    ...shown.map((s) => link(s.id, s.title)), link("missing", "What is missing"), link("sources", "How it was made"))));

  const draw = {
    heat: A.heat, lines: A.lines, bars: A.bars, graph: A.graph, tree: A.tree, table: () => null,
  };
  for (const section of shown) {
    const part = A.el("section", { id: section.id }, A.el("h2", null, section.title), A.el("p", null, section.about));
    for (const figure of section.figures) {
      part.append(A.el("article", { class: "figure", id: figure.id, "data-kind": figure.body.kind },
        A.el("h3", null, figure.title),
        A.el("p", { class: "how" }, A.code(figure.how), ` From ${figure.source}.`),
        draw[figure.body.kind](figure.body, figure.title),
        A.tableOf(figure)));
    }
    main.append(part);
  }

  const missing = A.el("section", { id: "missing" }, A.el("h2", null, "What is missing"),
    A.el("p", null, "Parts that no file has, and files that could not be shown."),
    A.el("ul", null, ...page.missing.map((m) => A.el("li", null, A.el("strong", null, m.what), ": ", A.code(m.why)))));
  if (!page.live) missing.append(A.el("p", null, A.code("Attention patterns and top logits of nodes were not asked for: `--model MODEL --data DATA` adds them.")));
  main.append(missing);

  const sources = A.el("section", { id: "sources" }, A.el("h2", null, "How it was made"),
    A.el("p", null, "The commands that made the files, in the order in which the files were given, and what their manifests say."));
  for (const source of page.sources) {
    const facts = { columns: ["what", "value"], rows: source.facts, left_out: 0 };
    const details = A.el("details", null, A.el("summary", null, "Manifest"), A.rows(facts));
    sources.append(A.el("article", { class: "source" }, A.el("h3", null, `${source.name} (${source.kind})`),
      source.command ? A.el("pre", null, source.command) : A.el("p", { class: "soft" }, "The file does not say how it was made."),
      ...source.warnings.map((w) => A.el("p", null, A.el("strong", null, "Warned: "), w)),
      details));
  }
  main.append(sources);
  document.body.prepend(A.el("a", { class: "skip", href: "#verdict" }, "To the verdict"), main);
  window.addEventListener("beforeprint", () => A.tip.hide());
  document.documentElement.dataset.ready = "yes";
})();
