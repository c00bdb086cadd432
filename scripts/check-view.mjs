// Uses the pages of `ablate view` in headless Chromium: the list, search, a run, its report, two runs compared; then a run that is
// written while its page is open.
//   node check-view.mjs OUT URL FOLDER PROGRAM EXPERIMENT
// FOLDER is the folder that URL shows, in which PROGRAM runs EXPERIMENT; screenshots go to OUT.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { check, launch, made } from "./browser.mjs";

const [out, url, folder, program, experiment] = process.argv.slice(2);
mkdirSync(out, { recursive: true });

const browser = await launch();
const page = await browser.newPage();
const problems = [];
const host = new URL(url).origin;
// a run that is gone is a 404, which the console repeats
page.on("console", (m) => { if (["error", "warning"].includes(m.type()) && !m.text().includes("404")) problems.push(`console: ${m.text()}`); });
page.on("pageerror", (e) => problems.push(`error: ${e.message}`));
page.on("request", (r) => { if (!r.url().startsWith(`${host}/`) && !r.url().startsWith("blob:")) problems.push(`request: ${r.url()}`); });
await page.setViewport({ width: 1280, height: 900 });
let failed = 0;
try {
  await use();
  check(problems.length === 0, problems.join("; "));
  console.log(`ok: view, ${made.checks} checks`);
} catch (error) {
  failed = 1;
  console.error(`FAILED: view: ${error.stack}`);
}
await browser.close();
console.log(`${1 - failed} passed, ${failed} failed`);
process.exit(failed);

async function rows() {
  return page.$$eval("main table tbody tr", (all) => all.filter((r) => r.querySelector("a[href^='/run/']")).length);
}

async function shoot(name) {
  await page.screenshot({ path: join(out, `view-${name}.png`), fullPage: true });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  check(!wide, `${name}: the page is wider than the window`);
}

async function use() {
  await page.goto(url);
  const all = await rows();
  check(all >= 2, `${all} runs are listed`);
  await shoot("list");
  // search
  await page.type("input[type=search]", "interactions");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  const found = await rows();
  check(found >= 1 && found < all, `the search lists ${found} of ${all} runs`);
  // a run and its report
  await Promise.all([page.waitForNavigation(), page.click("main table a[href^='/run/']")]);
  check((await page.$$("main table tbody tr")).length > 3, "the run's steps are not there");
  await shoot("run");
  const report = await page.$eval("a[href$='report.html']", (a) => a.href);
  await page.goto(report);
  await page.waitForSelector("html[data-ready]", { timeout: 20000 });
  check((await page.$$("article.figure")).length > 0, "the report has no figures");
  // two runs
  await page.goto(url);
  const [first, second] = [await page.$$("input[name=a]"), await page.$$("input[name=b]")];
  await first[0].click();
  await second[1].click();
  await Promise.all([page.waitForNavigation(), page.click("main form[action='/compare'] button")]);
  check(page.url().includes("/compare"), "the comparison did not open");
  check((await page.$$("main table")).length > 0, "the comparison shows nothing");
  await shoot("compare");
  // a run that goes on while its page is open, then goes away
  const place = join(folder, "growing");
  const child = spawn(program, ["-q", "run", experiment, "-o", place, "--rows", "200"], { stdio: "ignore" });
  const ended = once(child, "exit");
  const running = () => document.querySelector("main .badge.running") !== null;
  for (let i = 0; i < 100 && !(await page.evaluate(running)); i += 1) {
    await page.goto(new URL("/run/growing", url).href);
    await new Promise((done) => setTimeout(done, 200));
  }
  check(await page.evaluate(running), "the run is not said to be running");
  await shoot("running");
  const [code] = await ended;
  check(code === 0, `the run ended with ${code}`);
  await page.waitForFunction(() => document.querySelector("main .badge.running") === null, { timeout: 20000 });
  check((await page.$$("a[href$='report.html']")).length > 0, "the page of the finished run has no report");
  rmSync(place, { recursive: true });
  await page.goto(url);
  check((await rows()) === all, "the deleted run is still listed");
}
