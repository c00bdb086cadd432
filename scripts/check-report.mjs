// Opens pages of `ablate report` in headless Chromium and uses them as a reader would.
//   node check-report.mjs OUT PAGE.html…
// Checked of every page: each figure is there with all its data; pointing at it and the arrow keys say values; a node of a circuit
// opens its panel by click and by key; tables unfold and download as CSV; light, dark, narrow and print; nothing in the data has
// become markup; no error on the console; no request beyond the file itself. Screenshots go to OUT.
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { check, launch, made } from "./browser.mjs";

const [out, ...pages] = process.argv.slice(2);
mkdirSync(out, { recursive: true });

const browser = await launch();
let failed = 0;
for (const file of pages) {
  try {
    const before = made.checks;
    await use(file);
    console.log(`ok: ${file}, ${made.checks - before} checks`);
  } catch (error) {
    failed += 1;
    console.error(`FAILED: ${file}: ${error.stack}`);
  }
}
await browser.close();
// the line that continuous integration reads
console.log(`${pages.length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);

async function use(file) {
  const url = pathToFileURL(resolve(file)).href;
  const name = basename(file, ".html");
  const page = await browser.newPage();
  const problems = [];
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) problems.push(`console: ${m.text()}`); });
  page.on("pageerror", (e) => problems.push(`error: ${e.message}`));
  page.on("dialog", async (d) => { problems.push(`dialog: ${d.message()}`); await d.dismiss(); });
  page.on("request", (r) => { if (r.url() !== url && !r.url().startsWith("blob:")) problems.push(`request: ${r.url()}`); });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(url);
  await page.waitForSelector("html[data-ready]", { timeout: 20000 });
  const data = await page.evaluate(() => JSON.parse(document.getElementById("data").textContent));

  check((await page.$eval("h1", (e) => e.textContent)) === data.title, "the title is not the first heading");
  check((await page.$eval("#verdict .first", (e) => e.textContent)).includes(data.headline.text.replaceAll("`", "")), "the verdict is not there");
  check((await page.$$("#verdict li")).length === data.statements.length + data.doubts.length, "sentences are missing");
  check((await page.$$("#sources article")).length === data.sources.length, "files are missing");
  const figures = data.sections.flatMap((s) => s.figures);
  check((await page.$$("article.figure")).length === figures.length, "figures are missing");
  for (const figure of figures) await figureIsWhole(page, figure);
  for (const kind of ["heat", "lines", "bars"]) {
    for (const figure of figures.filter((f) => f.body.kind === kind)) await speaks(page, figure);
  }
  for (const figure of figures.filter((f) => f.body.kind === "graph")) await opens(page, figure, data.live, name);
  if (figures.length > 0) await downloads(page, figures[0], name);
  await nothingIsMarkup(page, data);
  await looks(page, name);
  check(problems.length === 0, problems.join("\n"));
  await page.close();
}

// Marks of the drawing = items of the data; the table unfolds with all its rows.
async function figureIsWhole(page, figure) {
  const counts = await page.$eval(`#${figure.id}`, (e) => {
    const count = (selector) => e.querySelectorAll(selector).length;
    const details = e.querySelector("details");
    if (details) details.open = true;
    return {
      heat: count('[aria-label="cell"] rect'), lines: count('[aria-label="dot"] circle'), bars: count('[aria-label="bar"] rect'),
      nodes: count("g.node"), edges: count("path.edge"), tree: count(".tree li"), title: e.querySelector("h3").textContent,
    };
  });
  const body = figure.body;
  const wanted = {
    heat: () => counts.heat === body.cells.length && body.cells.length > 0,
    lines: () => counts.lines === body.series.reduce((n, s) => n + s.points.length, 0) && counts.lines > 0,
    bars: () => counts.bars === body.bars.length && counts.bars > 0,
    graph: () => counts.nodes === body.nodes.length && counts.edges === body.edges.length && counts.nodes > 1,
    tree: () => counts.tree > 0,
    table: () => figure.table.rows.length > 0,
  };
  check(wanted[body.kind](), `${figure.id}: not all data is drawn: ${JSON.stringify(counts)}`);
  check(counts.title === figure.title, `${figure.id}: the title is ${counts.title}`);
  await page.waitForFunction((id, n) => document.querySelectorAll(`#${id} .scroll tbody tr`).length === n, { timeout: 5000 }, figure.id, figure.table.rows.length);
  await page.$eval(`#${figure.id}`, (e) => { const d = e.querySelector("details"); if (d) d.open = false; });
}

function tip(page) {
  return page.$eval(".tip", (e) => (e.hidden ? "" : e.textContent));
}

// The first digits of a number, as the page writes it.
function shown(x) {
  if (Number.isInteger(x)) return String(x);
  const small = x !== 0 && (Math.abs(x) < 0.0005 || Math.abs(x) >= 1e6);
  return small ? x.toExponential(2) : x.toFixed(3).slice(0, 4);
}

// Pointing and arrow keys say values.
async function speaks(page, figure) {
  const selector = { heat: '[aria-label="cell"] rect', lines: '[aria-label="dot"] circle', bars: '[aria-label="bar"] rect' }[figure.body.kind];
  const mark = await page.$(`#${figure.id} ${selector}`);
  await mark.scrollIntoView();
  await mark.hover();
  const i = await mark.evaluate((e) => e.__data__);
  const points = { heat: (b) => b.cells[i].value, lines: (b) => b.series.flatMap((s) => s.points)[i].y, bars: (b) => b.bars[i].value };
  const said = await tip(page);
  check(said.length > 0, `${figure.id}: pointing at it says nothing`);
  check(said.includes(shown(points[figure.body.kind](figure.body))), `${figure.id}: says ${said}`);
  await page.mouse.move(2, 2);
  check((await tip(page)) === "", `${figure.id}: the value stays when the pointer leaves`);
  await page.$eval(`#${figure.id} svg[tabindex]`, (e) => e.focus());
  await page.keyboard.press("ArrowRight");
  const one = await tip(page);
  check(one.length > 0, `${figure.id}: the arrow keys say nothing`);
  await page.keyboard.press("Escape");
  check((await tip(page)) === "", `${figure.id}: Escape does not hide the value`);
}

// A node opens its panel by click and by key; the panel leads to other nodes; zooming moves the drawing.
async function opens(page, figure, live, name) {
  const id = `#${figure.id}`;
  const scored = figure.body.nodes.findIndex((n) => live?.heads.some((h) => h.name === n.name));
  const chosen = scored >= 0 ? scored : Math.min(1, figure.body.nodes.length - 1);
  const nodes = await page.$$(`${id} g.node`);
  await nodes[chosen].scrollIntoView();
  await nodes[chosen].click();
  const panel = () => page.$eval(`${id} .panel`, (e) => (e.hidden ? "" : e.textContent));
  let said = await panel();
  check(said.startsWith(figure.body.nodes[chosen].name), `${figure.id}: a click opens nothing: ${said.slice(0, 80)}`);
  check(said.includes("Edges in") && said.includes("Edges out"), `${figure.id}: no edges in the panel`);
  if (live && scored >= 0) {
    check((await page.$$(`${id} .panel [aria-label="cell"] rect`)).length > 0, `${figure.id}: no attention pattern`);
    check(said.includes("Top logits"), `${figure.id}: no top logits`);
    if (live.prompts.length > 1) {
      await page.select(`${id} .panel select`, "1");
      check((await page.$$(`${id} .panel [aria-label="cell"] rect`)).length > 0, `${figure.id}: no pattern of the second prompt`);
    }
  }
  await page.screenshot({ path: join(out, `${name}-node-${figure.id}.png`) });
  const link = await page.$(`${id} .panel .links button`);
  if (link) {
    await link.click();
    check((await panel()).slice(0, 40) !== said.slice(0, 40) || figure.body.nodes.length < 2, `${figure.id}: links lead nowhere`);
  }
  await page.click(`${id} .panel button[aria-label="Close"]`);
  check((await panel()) === "", `${figure.id}: the panel does not close`);
  await page.$eval(`${id} g.node`, (e) => e.focus());
  await page.keyboard.press("Enter");
  said = await panel();
  check(said.startsWith(figure.body.nodes[0].name), `${figure.id}: Enter opens nothing`);
  await page.$eval(`${id} g.node`, (e) => e.focus());
  await page.keyboard.press("Escape");
  check((await panel()) === "", `${figure.id}: Escape does not close the panel`);
  const transform = () => page.$eval(`${id} g.all`, (e) => e.getAttribute("transform") ?? "");
  const whole = await transform();
  await page.click(`${id} button[aria-label="Zoom in"]`);
  check((await transform()) !== whole, `${figure.id}: zooming does nothing`);
  await page.click(`${id} button[aria-label="Show the whole circuit"]`);
}

// A table as CSV: a line a row, and one for the columns.
async function downloads(page, figure, name) {
  const folder = resolve(out, `${name}-download`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const session = await page.createCDPSession();
  await session.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: folder });
  await page.$eval(`#${figure.id} button.csv`, (e) => e.click());
  let files = [];
  for (let i = 0; i < 50 && !files.some((f) => f.endsWith(".csv")); i += 1) {
    await new Promise((done) => setTimeout(done, 100));
    files = readdirSync(folder);
  }
  check(files.includes(`${figure.id}.csv`), `no CSV was downloaded: ${files}`);
  const text = readFileSync(join(folder, `${figure.id}.csv`), "utf8");
  check(text.split(",").length > figure.table.columns.length, "the CSV is empty");
  const plain = !figure.table.rows.flat().some((c) => typeof c === "string" && /[\r\n"]/.test(c));
  if (plain) check(text.trimEnd().split("\r\n").length === figure.table.rows.length + 1, "the CSV has other rows than the table");
}

// Texts of the data are texts of the page, and nothing else.
async function nothingIsMarkup(page, data) {
  const found = await page.evaluate(() => ({
    made: ["img", "iframe", "object", "embed", "form", "link", "base"].filter((t) => document.querySelector(t)),
    scripts: document.scripts.length,
    hacked: window.hacked,
    handlers: Array.from(document.querySelectorAll("*")).filter((e) => Array.from(e.attributes).some((a) => a.name.startsWith("on"))).length,
  }));
  check(found.made.length === 0, `there are elements of the kinds ${found.made}`);
  check(found.scripts === 10, `${found.scripts} scripts instead of the page's own`);
  check(found.hacked === undefined, "a text of the data was run");
  check(found.handlers === 0, "there are event handlers in attributes");
  const words = (text) => text.replace(/\s+/g, " ").trim();
  check(words(await page.title()) === words(data.title), "the title of the window is another");
}

// Light, dark, narrow, printed: with screenshots to look at.
async function looks(page, name) {
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const photo = (what) => page.screenshot({ path: join(out, `${name}-${what}.png`), fullPage: true });
  await page.evaluate(() => { document.activeElement?.blur(); window.scrollTo(0, 0); });
  const light = await background();
  await photo("light");
  await page.click("#theme");
  const dark = await background();
  check(light !== dark, "the button changes no colours");
  await photo("dark");
  await page.click("#theme");
  check((await background()) === light, "the button does not lead back");
  const wide = await page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth);
  check(wide, "the page is wider than the window");
  await page.setViewport({ width: 480, height: 900 });
  const narrow = await page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth);
  check(narrow, "the page is wider than a narrow window");
  await photo("narrow");
  await page.setViewport({ width: 1280, height: 900 });
  await page.click("#theme"); // printed light even when dark is chosen
  await page.emulateMediaType("print");
  check((await background()) === light, "it is not printed light");
  await page.emulateMediaType();
  await page.pdf({ path: join(out, `${name}.pdf`), format: "A4", printBackground: true, margin: { top: "12mm", bottom: "12mm", left: "12mm", right: "12mm" } });
  await page.click("#theme");
}
