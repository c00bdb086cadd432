// Reads the page again while its run is going on; what is unfolded, chosen or typed stays.
"use strict";
const state = () => ({
  open: Array.from(document.querySelectorAll("details[open]"), (e) => e.id),
  chosen: Array.from(document.querySelectorAll("input:checked"), (e) => [e.name, e.value]),
  typed: document.querySelector("input[type=search]")?.value,
});
const restore = (was) => {
  for (const id of was.open) { const e = document.getElementById(id); if (e) e.open = true; }
  for (const e of document.querySelectorAll("input[type=radio]")) e.checked = was.chosen.some(([n, v]) => n === e.name && v === e.value);
  const search = document.querySelector("input[type=search]");
  if (search && was.typed !== undefined) search.value = was.typed;
};
const again = async () => {
  const main = document.querySelector("main");
  if (!main.hasAttribute("data-live")) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    const busy = main.contains(document.activeElement) && document.activeElement !== document.body;
    if (fresh && !busy) {
      const was = state();
      main.replaceWith(document.importNode(fresh, true));
      restore(was);
    }
  } catch {
    // the program that serves this page has ended
    return;
  }
  setTimeout(again, 1500);
};
setTimeout(again, 1500);
