// Headless Chromium for the scripts beside this one: ABLATE_CHROMIUM is the browser, ABLATE_NODE_MODULES the folder that its driver
// is installed in.
import { join } from "node:path";
import { createRequire } from "node:module";

export const launch = () =>
  createRequire(join(process.env.ABLATE_NODE_MODULES ?? ".", "x.js"))("puppeteer-core").launch({
    executablePath: process.env.ABLATE_CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"],
  });

// how many checks were made
export const made = { checks: 0 };

export const check = (truth, what) => {
  made.checks += 1;
  if (!truth) throw new Error(what);
};
