// What the admin page does beyond plain HTML: copying, and showing blocked attempts as they happen. Everything else
// works without it. Text from the server is set by the server's own escaping; this file never builds markup from data.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const label = button.textContent;
    const text = document.getElementById(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(document.getElementById(button.dataset.copy));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

for (const form of document.querySelectorAll("form[data-auto]")) {
  form.addEventListener("change", (event) => {
    if (event.target.type !== "datetime-local") { form.requestSubmit(); } // which changes with each part of it
  });
}

const live = document.querySelector("[data-live]");
if (live) {
  const label = live.querySelector("span");
  const say = (state, text) => { live.dataset.state = state; label.textContent = text; };
  let waiting = false;
  const known = (root) => new Set(Array.from(root.querySelectorAll("tr[data-key]"), (row) => row.dataset.key));

  const refresh = async () => {
    const reply = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
    if (!reply.ok || reply.redirected) { say("off", "Paused: load the page again"); return; }
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    const before = known(document);
    for (const part of document.querySelectorAll("[data-part]")) {
      const fresh = page.querySelector(`[data-part="${part.dataset.part}"]`);
      if (!fresh || part.contains(document.activeElement) || part.querySelector("details[open]")) { continue; }
      for (const row of fresh.querySelectorAll("tr[data-key]")) {
        if (!before.has(row.dataset.key)) { row.classList.add("fresh"); }
      }
      part.replaceWith(document.adoptNode(fresh));
    }
  };

  const soon = () => {
    if (waiting) { return; }
    waiting = true;
    setTimeout(() => { waiting = false; refresh().catch(() => say("off", "Not live")); }, 400);
  };

  const source = new EventSource(`/api/v1/events/stream?verdict=${live.dataset.live === "blocked" ? "deny" : "allow"}`);
  source.addEventListener("open", () => say("on", "Live"));
  source.addEventListener("decision", soon);
  source.addEventListener("error", () => say("off", "Reconnecting"));
  addEventListener("pagehide", () => source.close());
}
