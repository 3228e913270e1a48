// SPDX-License-Identifier: Apache-2.0
// Power (mean in a band of lowest and highest), plan and limit as steps over it, price on its own axis; the site's clock.
"use strict";

window.hubChart = (() => {
  const root = document.documentElement, zone = root.dataset.zone, site = root.dataset.site;
  const box = document.getElementById("chart");
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const clock = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" });
  const clockDay = new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit" });
  const offsetMs = offsetOf(zone);
  let span = { back: 3600, ahead: 7200 }, plot = null, data = null, newest = [], drawn = 0, asked = 0, asOf = 0, mark = "", chosen = false;

  function offsetOf(name) {  // of now, for ticks on the site's round hours
    const now = new Date(), parts = Object.fromEntries(new Intl.DateTimeFormat("en-GB", { timeZone: name, hourCycle: "h23",
      year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" })
      .formatToParts(now).map((part) => [part.type, Number(part.value)]));
    return Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second) - Math.floor(now / 1000) * 1000;
  }

  function steps(at, values, xs) {  // the value that holds at each x; null before the first
    const out = new Array(xs.length).fill(null);
    let index = -1;
    for (let i = 0; i < xs.length; i++) {
      while (index + 1 < at.length && at[index + 1] <= xs[i] * 1000) index++;
      if (index >= 0) out[i] = values[index];
    }
    return out;
  }

  function table(found) {
    const ends = (at, values) => at.filter((ms, i) => i && values[i] === null && values[i - 1] !== null).map((ms) => ms - 1);  // a step is drawn to its end
    const xs = [...new Set([...found.power_at_ms, ...found.plan_at_ms, ...found.price_at_ms, ...found.limit_at_ms,
      ...ends(found.plan_at_ms, found.plan_w), ...ends(found.price_at_ms, found.price_per_mwh), ...ends(found.limit_at_ms, found.limit_w),
      ...newest.map((point) => point[0]), found.start_ms, found.end_ms])].filter((ms) => ms >= found.start_ms && ms <= found.end_ms)
      .sort((a, b) => a - b).map((ms) => ms / 1000);
    const at = new Map(found.power_at_ms.map((ms, i) => [ms / 1000, i]));
    const late = new Map(newest.map((point) => [point[0] / 1000, point[1]]));
    const pick = (column) => xs.map((x) => at.has(x) ? scaled(column[at.get(x)]) : undefined);
    const power = xs.map((x) => at.has(x) ? scaled(found.power_w[at.get(x)]) : late.has(x) ? scaled(late.get(x)) : undefined);
    return [xs, pick(found.power_low_w), pick(found.power_high_w), power,
      steps(found.plan_at_ms, found.plan_w.map(scaled), xs), steps(found.limit_at_ms, found.limit_w.map(scaled), xs),
      steps(found.price_at_ms, found.price_per_mwh.map((v) => v === null ? null : v / 1000), xs)];
  }

  const scaled = (watts) => watts === null || watts === undefined ? watts : watts / 1e6;
  const mw = (value) => value === null || value === undefined ? "—" : value.toFixed(value >= 10 ? 1 : 3) + " MW";

  function options(width) {
    const ink = css("--quiet"), grid = { stroke: css("--c-grid"), width: 1 }, font = "12px system-ui, sans-serif";
    const axis = { stroke: ink, grid, ticks: grid, font };
    const narrow = width < 600, far = span.back + span.ahead > 100000;
    const stepped = uPlot.paths.stepped({ align: 1 });
    return {
      width, height: narrow ? 260 : 340, tzDate: (seconds) => new Date(seconds * 1000 + offsetMs + new Date().getTimezoneOffset() * 60000),
      cursor: { drag: { x: false, y: false } }, padding: [10, narrow ? 4 : 8, 0, 0],
      scales: { x: { time: true }, y: { range: (u, low, high) => [0, Math.max(high || 0, 0.001) * 1.12] }, price: {} },
      axes: [
        { ...axis, space: far ? 110 : 70, values: (u, ticks) => ticks.map((tick) => (far ? clockDay : clock).format(tick * 1000)) },
        { ...axis, size: narrow ? 44 : 62, label: narrow ? undefined : "MW", labelFont: font, values: (u, ticks) => ticks.map((tick) => +tick.toFixed(3)) },
        { ...axis, scale: "price", side: 1, size: narrow ? 40 : 62, grid: { show: false }, label: narrow ? undefined : root.dataset.currency + "/kWh", labelFont: font },
      ],
      series: [
        { label: "Time", value: (u, x) => x === null ? "—" : clockDay.format(x * 1000) },
        { label: "lowest", stroke: "transparent", points: { show: false }, value: (u, v) => mw(v) },
        { label: "highest", stroke: "transparent", points: { show: false }, value: (u, v) => mw(v) },
        { label: "power by the meter", stroke: css("--c-power"), width: 1.6, points: { show: false }, value: (u, v) => mw(v) },
        { label: "plan", stroke: css("--c-plan"), width: 2.2, dash: [8, 4], paths: stepped, points: { show: false }, value: (u, v) => mw(v) },
        { label: "limit", stroke: css("--c-limit"), width: 2.2, paths: stepped, points: { show: false }, value: (u, v) => mw(v) },
        { label: "price", scale: "price", stroke: css("--c-price"), width: 1.4, dash: [2, 3], paths: stepped, points: { show: false },
          value: (u, v) => v === null || v === undefined ? "—" : v.toFixed(2) + " " + root.dataset.currency + "/kWh" },
      ],
      bands: [{ series: [2, 1], fill: css("--c-band") }],
      hooks: { draw: [markNow] },
    };
  }

  function markNow(u) {
    if (!asOf) return;
    const x = u.valToPos(asOf / 1000, "x", true);
    if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return;
    u.ctx.save();
    u.ctx.strokeStyle = u.ctx.fillStyle = css("--c-now");
    u.ctx.setLineDash([3, 3]);
    u.ctx.beginPath(); u.ctx.moveTo(x, u.bbox.top); u.ctx.lineTo(x, u.bbox.top + u.bbox.height); u.ctx.stroke();
    u.ctx.font = 11 * devicePixelRatio + "px system-ui, sans-serif";
    u.ctx.fillText("now", x + 4 * devicePixelRatio, u.bbox.top + 12 * devicePixelRatio);
    u.ctx.restore();
  }

  function draw() {
    if (!data) return;
    const width = Math.floor(box.clientWidth);
    if (plot) plot.destroy();
    plot = new uPlot(options(width), table(data), box);
    drawn = performance.now();
    describe();
  }

  function describe() {  // the chart for people who cannot see it
    const last = (column) => { for (let i = column.length - 1; i >= 0; i--) if (column[i] !== null) return column[i]; return null; };
    const next = data.plan_at_ms.findIndex((ms) => ms > asOf);
    const parts = ["Power " + mw(scaled(last(data.power_w)))];
    if (next > 0 && next < data.plan_at_ms.length) parts.push("plan " + mw(scaled(data.plan_w[next - 1])) + ", from " +
      clock.format(data.plan_at_ms[next]) + " " + mw(scaled(data.plan_w[next])));
    const gaps = data.power_w.filter((value) => value === null).length;
    if (gaps) parts.push(gaps + " gaps without a meter reading");
    document.getElementById("chart-text").textContent = parts.join(" · ");
  }

  async function ask() {
    if (!asOf || document.hidden) return;
    asked = performance.now();
    const query = new URLSearchParams({ start_ms: asOf - span.back * 1000, end_ms: asOf + span.ahead * 1000, width: Math.max(50, Math.floor(box.clientWidth / 2)) });
    try {
      const answer = await fetch(`/api/v1/sites/${encodeURIComponent(site)}/series?${query}`);
      if (!answer.ok) return;
      data = await answer.json();
      if (!chosen) { chosen = true; if (data.power_at_ms.length && data.power_at_ms[0] > asOf - 900000) { document.querySelector("[data-back]").click(); return; } }
      newest = newest.filter((point) => point[0] > (data.power_at_ms.at(-1) ?? 0));
      draw();
    } catch { /* the stream tells when the hub is gone */ }
  }

  document.querySelectorAll("[data-back]").forEach((button) => button.addEventListener("click", () => {
    chosen = true;
    document.querySelectorAll("[data-back]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    span = { back: Number(button.dataset.back), ahead: Number(button.dataset.ahead) };
    ask();
  }));
  new ResizeObserver(() => { if (plot && Math.abs(plot.width - box.clientWidth) > 2) draw(); }).observe(box);
  document.addEventListener("hub-theme", draw);

  return {
    now(point) {
      const first = !asOf;
      asOf = point.as_of_ms;
      newest.push([point.as_of_ms, point.power_w]);  // null is a gap, and is drawn as one
      if (newest.length > 600) newest.shift();
      const news = point.mark !== mark;
      mark = point.mark;
      if (first || news || performance.now() - asked > (span.back > 4000 ? 30000 : 10000)) ask();
      else if (data && performance.now() - drawn > 2000 && !document.hidden && plot) { plot.setData(table(data)); drawn = performance.now(); }
    },
    ask,
  };
})();
