// SPDX-License-Identifier: Apache-2.0
// A limit is sent in two steps: its effect is shown before it is sent. Every order can be ended.
"use strict";

(() => {
  const root = document.documentElement, site = root.dataset.site;
  const dialog = document.getElementById("order-dialog"), form = document.getElementById("order-form");
  const path = `/api/v1/sites/${encodeURIComponent(site)}`;
  const mw = (watts) => (watts / 1e6).toFixed(watts < 1e7 ? 3 : 2) + " MW";
  let facts = null;

  const faultText = async (answer) => {
    const body = await answer.json().catch(() => ({}));
    if (body.faults) return body.faults.map((fault) => `${fault.place}: ${fault.problem}. ${fault.remedy}`).join(" ");
    return body.refused || body.detail || `the hub answered ${answer.status}`;
  };
  const tell = (id, text) => { const place = document.getElementById(id); place.textContent = text; place.hidden = !text; };

  function preview() {
    const place = document.getElementById("order-preview"), asked = Number(form.elements.mw.value) * 1e6;
    if (!facts || !form.elements.mw.value) { place.textContent = "Say how much may be drawn."; return; }
    const now = facts.status.power.best.value, down = facts.availability && facts.availability.down_w;
    const until = new Intl.DateTimeFormat("en-GB", { timeZone: root.dataset.zone, day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit" })
      .format(Date.now() + Number(form.elements.minutes.value) * 60000);
    const parts = [`At most ${mw(asked)} until ${until} (${root.dataset.zone}).`];
    if (now !== null) parts.push(asked >= now ? `Now ${mw(now)}: nothing has to go down.` : `Now ${mw(now)}: ${mw(now - asked)} have to go down.`);
    if (now !== null && down !== null && down !== undefined && asked < now && now - asked > down) parts.push(`Only ${mw(down)} can go down now.`);
    if (facts.availability && asked < now) {
      const index = facts.availability.down_in_w.findIndex((value) => value >= now - asked);
      if (index >= 0) parts.push(`About ${facts.availability.steps_s[index]} s at the fleet's own ramps.`);
    }
    place.textContent = parts.join(" ");
  }

  document.getElementById("order-new")?.addEventListener("click", async () => {
    tell("order-fault", "");
    dialog.showModal();
    preview();
    const [status, availability] = await Promise.all([fetch(path + "/status"), fetch(path + "/availability")]);
    facts = { status: await status.json(), availability: availability.ok ? await availability.json() : null };
    preview();
  });
  form?.addEventListener("input", preview);
  document.getElementById("order-cancel")?.addEventListener("click", () => dialog.close());
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const now = new Date(), send = document.getElementById("order-send");
    const body = { scope: root.dataset.scope, power_w: Number(form.elements.mw.value) * 1e6, from: now.toISOString(),
      until: new Date(now.getTime() + Number(form.elements.minutes.value) * 60000).toISOString() };
    for (const name of ["reference", "reason"]) if (form.elements[name].value) body[name] = form.elements[name].value;
    send.disabled = true;
    try {
      const headers = { "Content-Type": "application/json" };
      if (form.elements.telephone.checked) headers["Mining-Hub-Entry"] = "telephone";
      const answer = await fetch(path + "/orders", { method: "POST", headers, body: JSON.stringify(body) });
      if (answer.ok) { dialog.close(); form.reset(); } else tell("order-fault", await faultText(answer));
    } catch { tell("order-fault", "The hub does not answer: the limit was not sent, or it is not known whether it was."); }
    send.disabled = false;
  });

  const end = document.getElementById("end-dialog"), endForm = document.getElementById("end-form");
  let ending = "";
  document.getElementById("piece-orders")?.addEventListener("click", (event) => {
    const button = event.target.closest("[data-end]");
    if (!button) return;
    ending = button.dataset.end;
    tell("end-fault", "");
    document.getElementById("end-text").textContent = `${button.dataset.what}. Its limit goes at once; what else limits the site still holds.`;
    end.showModal();
  });
  document.getElementById("end-cancel").addEventListener("click", () => end.close());
  endForm.addEventListener("submit", async (event) => {
    event.preventDefault();
    const query = new URLSearchParams({ why: endForm.elements.why.value });
    try {
      const answer = await fetch(`${path}/orders/${encodeURIComponent(ending)}?${query}`, { method: "DELETE" });
      if (answer.ok) { end.close(); endForm.reset(); } else tell("end-fault", await faultText(answer));
    } catch { tell("end-fault", "The hub does not answer: it is not known whether the order ended."); }
  });
})();
