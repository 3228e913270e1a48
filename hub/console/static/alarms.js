// SPDX-License-Identifier: Apache-2.0
// An alarm is answered: seen, or put away for a while with a reason; it comes back by itself.
"use strict";

(() => {
  const place = document.getElementById("piece-alarms"), dialog = document.getElementById("shelf-dialog"), form = document.getElementById("shelf-form");
  if (!place) return;
  const path = `/api/v1/sites/${encodeURIComponent(document.documentElement.dataset.site)}/alarms/`;
  let asked = null;

  async function answer(what, body, faultId) {
    const fault = document.getElementById(faultId);
    fault.hidden = true;
    try {
      const reply = await fetch(path + what, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
      if (reply.ok) return true;
      const found = await reply.json().catch(() => ({}));
      fault.textContent = found.faults ? found.faults.map((one) => `${one.place}: ${one.problem}. ${one.remedy}`).join(" ") : found.detail || `the hub answered ${reply.status}`;
    } catch { fault.textContent = "The hub does not answer."; }
    fault.hidden = false;
    return false;
  }

  place.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-rule]");
    if (!button) return;
    const alarm = { rule: button.dataset.rule };  // without a place: all places of the rule
    if (button.dataset.scope) alarm.scope = button.dataset.scope;
    if ("acknowledge" in button.dataset) { answer("acknowledge", alarm, "alarm-fault"); return; }
    asked = alarm;
    document.getElementById("shelf-text").textContent = `${button.dataset.text}. It comes back by itself when its time is over.`;
    document.getElementById("shelf-fault").hidden = true;
    dialog.showModal();
  });
  document.getElementById("shelf-cancel").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = { ...asked, minutes: Number(form.elements.minutes.value), why: form.elements.why.value };
    if (await answer("shelve", body, "shelf-fault")) { dialog.close(); form.reset(); }
  });
})();
