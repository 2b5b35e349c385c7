// The demo's page: asks, shows the answer as it streams, and keeps the logs beside it up to date.
"use strict";

const at = (id) => document.getElementById(id);
const vendor = () => document.querySelector("input[name=vendor]:checked").value;
const GLOBE = "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M3 12h18M12 3c3 3 3 15 0 18M12 3c-3 3-3 15 0 18";

/** Make an element with a class and children; text is never parsed as markup. */
function make(tag, name, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children);
  return made;
}

function link(url, text) {
  const made = make("a", "", text);
  if (/^https?:/.test(url)) Object.assign(made, { href: url, target: "_blank", rel: "noreferrer" });
  return made;
}

async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer;
}

/** Yield the values of a response of JSON lines. */
async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const whole = (held + value).split("\n");
    held = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}

function denied(problem) {
  const box = make("div", "denied", make("p", "", make("strong", "", problem.title), ` · ${problem.detail}`));
  if (problem.suggestion) box.append(make("p", "", "To allow it: ", make("code", "", problem.suggestion)));
  box.append(make("p", "who", `${problem.reason} · decision ${problem.decision_id}`));
  return box;
}

function globe() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "globe");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  svg.firstChild.setAttribute("d", GLOBE);
  return svg;
}

/** Draw "Searched the web" from a receipt. */
function receipt(found, cited) {
  const many = (count, word) => `${count} ${word}${count === 1 ? "" : word.endsWith("h") ? "es" : "s"}`;
  const sources = make("ol", "sources");
  for (const source of found.sources) {
    const host = new URL(source.url).hostname;
    const number = cited.indexOf(source.url) + 1;
    const badge = source.permitted ? make("span", "badge ok", "permitted") : make("span", "badge flag", "outside the allowlist");
    const title = found.citations.find((each) => each.url === source.url)?.title || source.title || host;
    sources.append(make("li", "", make("span", "n", number || ""), make("div", "", link(source.url, title), make("small", "", host)), badge));
  }
  const facts = `${many(found.this_turn, "search")} · ${many(found.sources.length, "source")}`;
  const box = make("details", "receipt", make("summary", "", globe(), "Searched the web", make("span", "", facts)));
  box.open = true;
  box.append(make("div", "query", `“${found.queries.at(-1) ?? ""}”`), sources);
  return box;
}

async function turn(asked, body) {
  at("hint")?.remove();
  const buttons = document.querySelectorAll(".send, .scenes button");
  buttons.forEach((button) => { button.disabled = true; });
  const answer = make("p", "answer");
  const shown = make("div", "turn", make("p", "asked", asked), answer);
  at("turns").append(shown);
  const cited = [];
  let wait = null;
  try {
    for await (const event of lines(await post("api/ask", { vendor: vendor(), ...body }))) {
      if (event.search) shown.insertBefore(wait = make("p", "searching", `Searching the web: ${event.search}`), answer);
      if (event.text) {
        wait?.remove();
        if (answer.lastElementChild === answer.lastChild) answer.append(" "); // after a citation
        answer.append(event.text);
      }
      if (event.cited) {
        if (!cited.includes(event.cited)) cited.push(event.cited);
        answer.append(make("sup", "", link(event.cited, String(cited.indexOf(event.cited) + 1))));
      }
      if (event.denied) shown.append(denied(event.denied));
      if (event.receipt) shown.append(receipt(event.receipt, cited));
      if (event.receipt === null) shown.append(make("p", "memory", "No web search: the tool was taken out of the request, the turn went on."));
    }
  } catch (error) {
    shown.append(make("p", "denied", String(error)));
  }
  wait?.remove();
  buttons.forEach((button) => { button.disabled = false; });
  shown.scrollIntoView({ block: "nearest" });
  await refresh();
}

function row(badge, kind, time, what) {
  const shown = new Date(time).toLocaleTimeString([], { hour12: false });
  const head = make("div", "head", make("span", `badge ${kind}`, badge), make("time", "", shown));
  return make("li", "", head, make("span", "what", what));
}

function fill(id, rows, empty) {
  at(id).replaceChildren(...(rows.length ? rows : [make("li", "empty", empty)]));
}

async function refresh() {
  const state = await (await fetch(`api/state?vendor=${vendor()}`)).json();
  at("conversation").textContent = `Conversation ${state.conversation}`;
  at("search").checked = state.opted_in;
  at("blocked-host").textContent = state.blocked_host;
  at("sent").textContent = state.sent ? JSON.stringify(state.sent, null, 2) : "no search tool";
  at("policy").textContent = state.policy;
  fill("blocked", state.blocked.map((each) => row(each.reason, each.verdict === "deny" ? "no" : "flag", each.time,
    `${each.host} · ${each.title}${each.suggestion ? ` · allow with “${each.suggestion}”` : ""}`)), "Nothing was blocked.");
  fill("audit", state.audit.map((each) => {
    const facts = each.details;
    const counts = facts.event_name === "web_search_invoked" ? `${facts.search_count} search, ${facts.source_count} sources` : "";
    const what = [facts.vendor, facts.action, facts.reason, counts, facts.vendor ? "" : facts.custom_message]
      .filter(Boolean).join(" · ");
    return row(facts.event_name, facts.reason ? "flag" : "plain", each.created_at, `${facts.target_details} · ${what}`);
  }), "Nothing yet.");
}

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  turn(at("question").value, { question: at("question").value });
});
at("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); at("composer").requestSubmit(); }
});
at("search").addEventListener("change", async (event) => { await post("api/opt-in", { active: event.target.checked }); await refresh(); });
at("new").addEventListener("click", async () => { await post("api/new", {}); at("turns").replaceChildren(); await refresh(); });
document.querySelectorAll("input[name=vendor]").forEach((each) => each.addEventListener("change", refresh));
document.querySelector("[data-scene=careless]").addEventListener("click", () => turn(at("question").value, { scene: "careless" }));
document.querySelector("[data-scene=blocked_host]").addEventListener("click", () =>
  turn(`Open https://${at("blocked-host").textContent}/ for me.`, { scene: "blocked_host" }));
refresh().then(() => { document.querySelector("[data-scene=blocked_host]").disabled = false; }); // its host is known now
setInterval(refresh, 1500);
