// SPDX-License-Identifier: Apache-2.0
// The whole fleet as one canvas: a square a miner, racks side by side; shape marks what colour alone must not say.
"use strict";

window.hubHeat = (() => {
  const canvas = document.getElementById("heat");
  if (!canvas) return null;
  const root = document.documentElement, site = root.dataset.site;
  const NAMES = ["unknown", "hashing", "ramping", "tuning", "asleep", "stopped", "fault", "unreachable"];
  const text = document.getElementById("heat-text"), legend = document.getElementById("heat-legend");
  let layout = null, known = "", states = new Uint8Array(), temps = new Uint8Array(), mode = "state", cursor = -1, places = [], size = 12, asking = "";
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const bytes = (base64) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));

  async function ask(name) {
    if (asking === name) return;
    asking = name;
    try {
      const answer = await fetch(`/api/v1/sites/${encodeURIComponent(site)}/fleet`);
      if (answer.ok) { layout = await answer.json(); known = layout.layout; place(); draw(); }
    } catch { /* the stream tells */ }
    asking = "";
  }

  function place() {  // racks as columns of squares, wrapped to the width
    const width = canvas.parentElement.clientWidth, racks = new Map();
    layout.racks.forEach((rack, i) => { if (!racks.has(rack)) racks.set(rack, []); racks.get(rack).push(i); });
    const count = layout.devices.length || 1;
    size = Math.max(5, Math.min(18, Math.floor(Math.sqrt(width * 260 / count))));
    const high = Math.max(1, Math.min(12, Math.ceil(Math.max(...[...racks.values()].map((rack) => rack.length)) / 2)));
    const gap = Math.max(4, Math.floor(size / 2)), label = 14;
    let x = 0, y = 0;
    places = new Array(layout.devices.length);
    const labels = [];
    for (const [rack, members] of racks) {
      const wide = Math.ceil(members.length / high) * size;
      if (x && x + wide > width) { x = 0; y += high * size + label + gap; }
      labels.push([rack, x, y + 10, wide]);
      members.forEach((miner, i) => { places[miner] = [x + Math.floor(i / high) * size, y + label + (i % high) * size]; });
      x += wide + gap;
    }
    places.labels = labels;
    places.height = y + high * size + label;
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(width * scale); canvas.height = Math.round(places.height * scale);
    canvas.style.height = places.height + "px";
  }

  function tint(temp) {  // cold grey to hot: two ramps, one for each theme, by lightness as well as by hue
    const share = Math.max(0, Math.min(1, (temp - 40) / 50));
    return matchMediaDark() ? `hsl(${210 - 200 * share} ${15 + 65 * share}% ${25 + 40 * share}%)` : `hsl(${210 - 200 * share} ${12 + 65 * share}% ${82 - 42 * share}%)`;
  }
  const matchMediaDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

  function square(ctx, state, temp, x, y, side) {
    const name = NAMES[state] || "unknown", edge = css("--h-edge");
    ctx.fillStyle = mode === "temp" && temp !== null ? tint(temp) : css("--h-" + name);
    if (mode === "temp" && temp === null) ctx.fillStyle = css("--h-unknown");
    ctx.fillRect(x, y, side, side);
    ctx.lineWidth = 1;
    if (name === "unknown" || name === "stopped" || (mode === "temp" && temp === null)) { ctx.strokeStyle = edge; ctx.strokeRect(x + .5, y + .5, side - 1, side - 1); }
    if (mode === "temp") return;
    const mid = side / 2;
    ctx.strokeStyle = ctx.fillStyle = css("--card");
    if (name === "fault") { ctx.lineWidth = Math.max(1.2, side / 7); ctx.beginPath(); ctx.moveTo(x + 2, y + 2); ctx.lineTo(x + side - 2, y + side - 2); ctx.moveTo(x + side - 2, y + 2); ctx.lineTo(x + 2, y + side - 2); ctx.stroke(); }
    else if (name === "unreachable") { ctx.lineWidth = Math.max(1.2, side / 7); ctx.beginPath(); ctx.moveTo(x + 2, y + mid); ctx.lineTo(x + side - 2, y + mid); ctx.stroke(); }
    else if (name === "asleep" || name === "stopped") { ctx.fillStyle = css("--h-mark"); ctx.beginPath(); ctx.arc(x + mid, y + mid, Math.max(1, side / (name === "asleep" ? 8 : 4)), 0, 7); ctx.fill(); }
    else if (name === "ramping" || name === "tuning") { ctx.beginPath(); ctx.moveTo(x + 2, y + side - 2); ctx.lineTo(x + mid, y + 2); ctx.lineTo(x + side - 2, y + side - 2); name === "ramping" ? ctx.fill() : ctx.stroke(); }
  }

  function draw() {
    if (!layout || !states.length) return;
    const ctx = canvas.getContext("2d"), scale = devicePixelRatio || 1, side = size - 1;
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    ctx.clearRect(0, 0, canvas.width, canvas.height);
    ctx.font = "10px system-ui, sans-serif"; ctx.fillStyle = css("--quiet");
    for (const [rack, x, y, wide] of places.labels) {
      const label = fit(ctx, rack, wide);
      if (label) ctx.fillText(label, x, y);
    }
    const colours = stamps(scale, side);
    for (let i = 0; i < places.length; i++) {
      if (mode === "temp") square(ctx, states[i], temps[i] === 255 ? null : temps[i] - 60, places[i][0], places[i][1], side);
      else ctx.drawImage(colours[states[i]] || colours[0], places[i][0], places[i][1], side, side);
    }
    if (cursor >= 0 && places[cursor]) { ctx.strokeStyle = css("--ink"); ctx.lineWidth = 2; ctx.strokeRect(places[cursor][0] - 1, places[cursor][1] - 1, size + 1, size + 1); }
  }

  function fit(ctx, rack, wide) {
    for (const label of [rack, rack.split(/[-/ ]/).at(-1)]) if (ctx.measureText(label).width <= wide + 2) return label;
    return "";
  }

  function stamps(scale, side) {
    return NAMES.map((name, state) => {
      const stamp = document.createElement("canvas");
      stamp.width = stamp.height = Math.max(1, Math.round(side * scale));
      const ctx = stamp.getContext("2d");
      ctx.scale(stamp.width / side, stamp.height / side);
      square(ctx, state, null, 0, 0, side);
      return stamp;
    });
  }

  function tell(miner) {
    if (miner < 0 || !layout) return;
    const temp = temps[miner] === 255 ? "temperature unknown" : `${temps[miner] - 60} °C`;
    text.textContent = `${layout.devices[miner].split("/").at(-1)} · ${layout.racks[miner]} · ${layout.models[miner]} · ${NAMES[states[miner]]} · ${temp}`;
  }

  function legends() {
    legend.replaceChildren();
    const items = mode === "state" ? NAMES.map((name, state) => [name, (ctx) => { square(ctx, state, null, 0, 0, 14); }])
      : [40, 55, 70, 80, 90].map((temp) => [temp === 90 ? "90 °C or more" : temp + " °C", (ctx) => { ctx.fillStyle = tint(temp); ctx.fillRect(0, 0, 14, 14); }]);
    const counts = new Array(8).fill(0);
    states.forEach((state) => counts[state]++);
    items.forEach(([name, paint], i) => {
      const item = document.createElement("li"), swatch = document.createElement("canvas");
      swatch.width = swatch.height = 14; paint(swatch.getContext("2d"));
      item.append(swatch, mode === "state" ? `${name} ${counts[i]}` : name);
      legend.append(item);
    });
  }

  const at = (event) => {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    return places.findIndex((spot) => spot && x >= spot[0] && x < spot[0] + size && y >= spot[1] && y < spot[1] + size);
  };
  canvas.addEventListener("pointermove", (event) => { const found = at(event); if (found >= 0 && found !== cursor) { cursor = found; tell(found); draw(); } });
  canvas.addEventListener("click", (event) => { const found = at(event); if (found >= 0) show(found); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (event.key === "Enter" && cursor >= 0) { event.preventDefault(); show(cursor); return; }
    if (!step || !layout) return;
    event.preventDefault();
    const from = places[Math.max(cursor, 0)];
    let best = -1, least = Infinity;
    places.forEach((spot, miner) => {  // the nearest square that lies that way
      const dx = spot[0] - from[0], dy = spot[1] - from[1], along = dx * step[0] + dy * step[1], aside = Math.abs(dx * step[1]) + Math.abs(dy * step[0]);
      if (along > 0 && along + 3 * aside < least) { least = along + 3 * aside; best = miner; }
    });
    if (best >= 0) { cursor = best; tell(best); draw(); }
  });

  async function show(miner) {
    const name = layout.devices[miner].split("/").at(-1), body = document.getElementById("miner-body");
    const answer = await fetch(`/api/v1/sites/${encodeURIComponent(site)}/miners/${encodeURIComponent(name)}`);
    body.replaceChildren();
    document.getElementById("miner-title").textContent = name;
    const list = document.createElement("dl");
    const row = (key, value) => { const dt = document.createElement("dt"), dd = document.createElement("dd"); dt.textContent = key; dd.textContent = value; list.append(dt, dd); };
    if (!answer.ok) row("The hub says", (await answer.json()).detail || answer.status);
    else {
      const found = await answer.json();
      for (const key of ["model", "rack", "state", "mode", "why"]) if (found[key]) row(key, found[key]);
      for (const [metric, value] of Object.entries(found.values || {})) {
        if (metric.endsWith("_json")) continue;
        row(metric, value !== null && typeof value === "object" ? "— " + (value.missing || "unknown") : typeof value === "number" ? value.toLocaleString("en-GB", { maximumFractionDigits: 2 }) : value);
      }
      for (const command of found.commands || []) row(command.intent, `${command.outcome} ${command.text || ""}`);
    }
    body.append(list);
    document.getElementById("miner-dialog").showModal();
  }

  document.querySelectorAll("[data-heat]").forEach((button) => button.addEventListener("click", () => {
    document.querySelectorAll("[data-heat]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    mode = button.dataset.heat; legends(); draw();
  }));
  new ResizeObserver(() => { if (layout) { place(); draw(); } }).observe(canvas.parentElement);
  document.addEventListener("hub-theme", () => { legends(); draw(); });

  return {
    take(frame) {
      states = bytes(frame.states); temps = bytes(frame.temps);
      legends();
      if (frame.layout !== known) ask(frame.layout); else draw();
      if (cursor >= 0) tell(cursor);
    },
  };
})();
