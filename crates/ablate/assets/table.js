// Tables, and their download as CSV.

// A cell of a CSV file. Texts that a spreadsheet would take for a formula get a quote in front.
A.csvCell = (value) => {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
A.csv = (table) => [table.columns, ...table.rows].map((row) => row.map(A.csvCell).join(",")).join("\r\n") + "\r\n";

A.download = (name, text) => {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = A.el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
};

A.rows = (table) => {
  const numbers = table.columns.map((_, i) => table.rows.every((r) => typeof r[i] !== "string") && table.rows.some((r) => typeof r[i] === "number"));
  const cell = (tag) => (value, i) => A.el(tag, { class: numbers[i] ? "num" : "", scope: tag === "th" ? "col" : null }, A.number(value));
  return A.el(
    "table", null,
    A.el("thead", null, A.el("tr", null, ...table.columns.map(cell("th")))),
    A.el("tbody", null, ...table.rows.map((row) => A.el("tr", null, ...row.map(cell("td"))))),
  );
};

// The table of a figure: open where there is no drawing, else folded and made when it is opened.
A.tableOf = (figure) => {
  const table = figure.table;
  const more = table.left_out > 0 ? ` The smallest ${table.left_out} are only in the file.` : "";
  const button = A.el("button", { type: "button", class: "csv", click: () => A.download(`${figure.id}.csv`, A.csv(table)) }, "Download CSV");
  const holder = A.el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${figure.title}` });
  if (figure.body.kind === "table") {
    holder.append(A.rows(table));
    return A.el("div", null, holder, A.el("div", { class: "tools" }, button));
  }
  const details = A.el("details", null, A.el("summary", null, `Table, ${table.rows.length} rows.${more}`), holder);
  details.addEventListener("toggle", () => {
    if (details.open && !holder.firstChild) holder.append(A.rows(table));
  });
  return A.el("div", null, A.el("div", { class: "tools" }, button), details);
};
