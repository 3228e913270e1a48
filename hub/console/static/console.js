// SPDX-License-Identifier: Apache-2.0
// One stream keeps the page; when it stops, the page says so and greys: old numbers are never shown as live.
"use strict";

(() => {
  const root = document.documentElement, live = document.getElementById("live"), stale = document.getElementById("stale");
  const clock = new Intl.DateTimeFormat("en-GB", { timeZone: root.dataset.zone, hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const oldAfterS = () => Number(root.dataset.oldAfterS || 15);
  let source = null, heard = performance.now(), fault = "";

  const state = (name, text) => { live.dataset.state = name; live.textContent = text; };

  function put(piece) {
    const place = document.getElementById("piece-" + piece.name);
    if (!place) return;
    const key = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    place.innerHTML = piece.html;  // made by the hub's own templates, every value escaped there
    if (key) place.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
    onlyMine();
  }

  function onlyMine() {  // the hub refuses it anyway; a button that cannot work is not shown
    const orders = document.getElementById("piece-orders");
    if (orders && !orders.dataset.mayEnd) orders.querySelectorAll("[data-end]").forEach((button) => button.remove());
  }

  function open() {
    if (source) source.close();
    state("connecting", "connecting");
    source = new EventSource(`/sites/${encodeURIComponent(root.dataset.site)}/stream`);
    const on = (name, act) => source.addEventListener(name, (event) => { heard = performance.now(); act(JSON.parse(event.data)); });
    on("piece", put);
    on("heat", (frame) => window.hubHeat?.take(frame));
    on("fault", (body) => { fault = body.text; });
    on("now", (point) => {
      fault = "";
      state("live", "live");
      const asof = document.getElementById("asof");
      asof.dataset.ms = point.as_of_ms; asof.textContent = clock.format(point.as_of_ms);
      document.getElementById("position").textContent = `Journal position ${point.position}`;
      window.hubChart.now(point);
    });
    source.onerror = () => { state("lost", "connection lost"); if (source.readyState === EventSource.CLOSED) setTimeout(open, 3000); };
  }

  setInterval(() => {
    const silent = (performance.now() - heard) / 1000, old = !document.hidden && (silent > oldAfterS() || fault);
    document.body.classList.toggle("old", Boolean(old));
    stale.hidden = !old;
    if (old) stale.textContent = fault || `✖ Nothing heard from the hub for ${Math.round(silent)} s: what stands below is as of ${document.getElementById("asof").textContent}.`;
    if (silent > oldAfterS() && !document.hidden) state("lost", "connection lost");
  }, 1000);

  document.addEventListener("visibilitychange", () => {  // browsers allow six connections to a host: a hidden tab gives its back
    if (document.hidden) { source?.close(); source = null; state("paused", "paused"); } else { heard = performance.now(); open(); }
  });

  const remembered = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  if (remembered) root.dataset.theme = remembered;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* private window */ }
    document.dispatchEvent(new Event("hub-theme"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("hub-theme")));

  onlyMine();
  if (!document.hidden) open();
})();
