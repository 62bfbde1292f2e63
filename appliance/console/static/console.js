// What the console does beyond what its pages do by themselves: live updates, times that go on,
// keys, and the theme without a reload. Everything works without it. No inline code anywhere.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("scripts");

  // Times. The server says `data-ago` / `data-until` in unix seconds; its clock is the Date header's,
  // ours may be off, so what is shown moves on from what the server said.
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const span = (seconds) => {
    const [size, name] = units.find(([size]) => seconds >= size) || [1, "s"];
    return `${Math.floor(seconds / size)} ${name}`;
  };
  const ago = (seconds) => {
    if (Math.abs(seconds) < 5) return "just now";
    return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
  };
  const two = (number) => String(number).padStart(2, "0");
  const countdown = (seconds) => {
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    if (hours >= 48) return `${Math.floor(hours / 24)} d`;
    return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
  };
  const say = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const serverNow = Number(root.dataset.now || Date.now() / 1000);
  const begun = performance.now();
  const now = () => serverNow + (performance.now() - begun) / 1000;
  const tick = () => {
    const at = now();
    for (const one of document.querySelectorAll("time[data-ago]")) say(one, ago(at - one.dataset.ago));
    for (const one of document.querySelectorAll("time[data-until]")) {
      const left = Math.floor(one.dataset.until - at);
      say(one, left > 0 ? countdown(left) : "over");
    }
  };
  setInterval(tick, 1000);

  // Live: a change of a kind that the page shows makes its live part stale; htmx fetches it again.
  const live = () => document.querySelector("[data-live]");
  if (live() && root.dataset.events && window.EventSource && window.htmx) {
    let due = 0;
    const stale = () => {
      if (due) return;
      due = setTimeout(() => {
        due = 0;
        if (live()) htmx.trigger(live(), "stale");
      }, 150);
    };
    const stream = new EventSource(root.dataset.events);
    stream.addEventListener("change", (event) => {
      const kind = String(JSON.parse(event.data).kind).split("_")[0];
      if (live() && (kind === "missed" || live().dataset.live.split(" ").includes(kind))) stale();
    });
    let opened = false;
    stream.addEventListener("open", () => {
      root.dataset.stream = "open";
      if (opened) stale(); // what was missed meanwhile
      opened = true;
    });
    stream.addEventListener("error", () => { root.dataset.stream = "lost"; });
    addEventListener("pagehide", () => stream.close());
  }
  // A request that failed (signed out, restarting) must not replace what is shown.
  document.addEventListener("htmx:before:swap", (event) => {
    const raw = event.detail.ctx?.response?.raw;
    if (raw?.redirected) location.reload(); // to the sign-in page
    if (raw && (raw.redirected || !raw.ok)) event.preventDefault();
  });
  document.addEventListener("htmx:after:swap", tick);

  // Theme.
  const next = {auto: "dark", dark: "light", light: "auto"};
  const signs = {auto: "◐", dark: "●", light: "○"};
  for (const form of document.querySelectorAll("form.theme")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const button = form.querySelector("button"), chosen = button.value;
      fetch(form.action, {
        method: "POST", redirect: "manual",
        body: new URLSearchParams({...Object.fromEntries(new FormData(form)), theme: chosen}),
      });
      root.dataset.theme = chosen;
      button.value = next[chosen];
      button.title = `Colours: ${chosen}`;
      button.setAttribute("aria-label", `Colours: ${chosen}. Change.`);
      button.firstElementChild.textContent = signs[chosen];
      document.dispatchEvent(new Event("themed"));
    });
  }

  // On a phone the tabs scroll; begin where one is.
  const tab = document.querySelector("nav [aria-current]");
  if (tab) tab.closest("nav").scrollLeft = tab.offsetLeft - 60;

  // Keys. None of them changes anything by itself.
  const links = () => [...document.querySelectorAll("[data-entry]")].map((one) => one.querySelector("a, summary")).filter(Boolean);
  const go = (path) => { if (path) location.assign(path); };
  const move = (step) => {
    const page = live();
    if (page && page.classList.contains("one")) return go(step > 0 ? page.dataset.following : page.dataset.previous);
    const all = links();
    if (!all.length) return;
    const here = all.findIndex((one) => one.closest("[data-entry]").contains(document.activeElement));
    const to = all[here < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(here + step, 0), all.length - 1)];
    to.focus();
    to.scrollIntoView({block: "nearest"});
  };
  const decide = (selector, hash) => {
    const wanted = document.querySelector(selector);
    if (wanted) {
      wanted.scrollIntoView({block: "nearest"});
      return wanted.focus();
    }
    const entry = document.activeElement.closest("[data-entry] > a");
    if (entry) go(`${entry.getAttribute("href")}#${hash}`);
  };
  const keys = {
    j: () => move(1), k: () => move(-1),
    a: () => decide("[data-approve]", "approve"), d: () => decide("[data-reason]", "deny"),
    u: () => go(document.querySelector("[data-up]")?.getAttribute("href")),
    "/": () => document.querySelector("[data-find]")?.focus(),
    "?": () => document.getElementById("keys")?.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input, textarea, select, dialog")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  if (location.hash === "#approve") document.querySelector("[data-approve]")?.focus();
  if (location.hash === "#deny") document.querySelector("[data-reason]")?.focus();

  // One decision per click.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || form.classList.contains("theme")) return;
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 4000);
  });
})();
