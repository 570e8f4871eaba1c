// The list of jobs: asked for anew now and then; what has not changed stays as it is, and so does the focus.
"use strict";

const EVERY_MS = 1500, SHOWN = 50, MOST_SHOWN = 500;
const ENDED = new Set(["done", "failed", "aside", "cancelled"]);
const CALLED = { aside: "set aside" };
const SHOWABLE = /\.(mp4|webm|png|jpe?g|gif|webp)$/i;
const at = (id) => document.getElementById(id);
const rows = new Map();
let token = "", shown = SHOWN, timer = 0;

async function ask(address, method = "GET") {
  const headers = { Authorization: `Bearer ${token}` };
  const body = method === "POST" ? "{}" : undefined;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(address, { method, headers, body });
  if (answer.status === 401) {
    openDoor();
    throw new Error("The token is wrong.");
  }
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

function openDoor() {
  token = "";
  sessionStorage.removeItem("token");
  at("door").hidden = false;
  at("token").focus();
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(text, label, act) {
  const made = element("button", "", text);
  made.setAttribute("aria-label", label);
  made.addEventListener("click", () => act().catch(tell).finally(refresh));
  return made;
}

function rowOf(job) {
  const row = element("li", "");
  row.parts = {
    picture: element("img", "picture"), title: element("p", "title"), facts: element("p", "facts"),
    said: element("p", "said"), actions: element("div", "actions"),
  };
  row.parts.picture.alt = "";
  row.parts.picture.hidden = false;
  const about = element("div", "about");
  about.append(row.parts.title, row.parts.facts, row.parts.said);
  row.append(row.parts.picture, about, row.parts.actions);
  return row;
}

function took(job) {
  const seconds = Math.round((ENDED.has(job.state) ? job.ended_s : Date.now() / 1000) - job.started_s);
  return job.started_s ? `, ${seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`}` : "";
}

function fill(row, job) {
  const { title, facts, said } = row.parts;
  row.className = job.state;
  title.textContent = job.title || job.id;
  const when = new Date(job.submitted_s * 1000).toLocaleString();
  facts.replaceChildren(element("span", "state", CALLED[job.state] || job.state), took(job),
    job.attempts > 1 ? `, attempt ${job.attempts}` : "", job.priority ? `, priority ${job.priority}` : "",
    job.seat > 1 ? `, ${job.seat} GPUs` : "", ` - ${when}`);
  const isBad = job.state === "failed" || job.state === "aside";
  said.textContent = isBad ? job.error : job.said;
  said.classList.toggle("bad", isBad);
  const key = `${job.state} ${job.results.length}`;
  if (row.key !== key) {
    row.key = key;
    setActions(row, job);
  }
}

function setActions(row, job) {
  const hadFocus = row.parts.actions.contains(document.activeElement);
  const name = job.title || job.id;
  const made = [];
  for (const result of job.results) {
    if (SHOWABLE.test(result.name)) made.push(button("View", `View ${result.name} of ${name}`, () => view(job, result)));
    made.push(button("Save", `Save ${result.name} of ${name}`, () => save(job, result)));
  }
  if (!ENDED.has(job.state)) made.push(button("Cancel", `Cancel ${name}`, () => ask(`api/jobs/${job.id}/cancel`, "POST")));
  if (["failed", "aside", "cancelled"].includes(job.state)) {
    made.push(button("Again", `Queue ${name} again`, () => ask(`api/jobs/${job.id}/again`, "POST")));
  }
  row.parts.actions.replaceChildren(...made);
  if (hadFocus && made.length) made[0].focus();
}

async function showPicture(row, job) {
  const wanted = job.state === "running" ? `${job.reached}` : job.state;
  if (row.pictured === wanted || !job.attempts) return;
  row.pictured = wanted;
  try {
    setSource(row.parts.picture, await blobOf(`api/jobs/${job.id}/preview`));
  } catch {
    // There is none (yet).
  }
}

async function blobOf(address) {
  return (await ask(address)).blob();
}

function setSource(place, blob) {
  if (place.src) URL.revokeObjectURL(place.src);
  place.src = URL.createObjectURL(blob);
}

const addressOf = (job, result) => `api/jobs/${job.id}/result?name=${encodeURIComponent(result.name)}`;

async function view(job, result) {
  const blob = await blobOf(addressOf(job, result));
  const place = element(/^video/.test(blob.type) ? "video" : "img", "");
  if (place.tagName === "VIDEO") Object.assign(place, { controls: true, loop: true, autoplay: true, muted: true });
  else place.alt = job.title;
  setSource(place, blob);
  at("result").replaceChildren(place);
  at("viewer").showModal();
}

async function save(job, result) {
  const link = element("a", "");
  link.href = URL.createObjectURL(await blobOf(addressOf(job, result)));
  link.download = `${job.id}_${result.name.split("/").pop()}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function tell(error) {
  at("trouble").textContent = error.message;
  at("trouble").hidden = false;
}

async function refresh() {
  clearTimeout(timer);
  if (!token) return;
  try {
    const state = at("state").value;
    const found = await (await ask(`api/jobs?state=${state}&limit=${shown}`)).json();
    show(found);
    at("trouble").hidden = true;
  } catch (error) {
    tell(error instanceof TypeError ? new Error("The server does not answer. Is it running?") : error);
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, document.hidden ? 10 * EVERY_MS : EVERY_MS);
}

function show(found) {
  const counts = Object.entries(found.counts).filter(([, count]) => count)
    .map(([state, count]) => `${count.toLocaleString()} ${CALLED[state] || state}`);
  const busy = found.workers.filter((worker) => worker.job).length;
  const said = `${counts.join(", ") || "no jobs"}; ${busy} of ${found.workers.length} workers busy`;
  if (at("counts").textContent !== said) at("counts").textContent = said;
  const list = at("jobs"), ids = new Set(found.jobs.map((job) => job.id));
  for (const [id, row] of rows) {
    if (!ids.has(id)) {
      row.remove();
      rows.delete(id);
    }
  }
  found.jobs.forEach((job, index) => {
    const row = rows.get(job.id) || rowOf(job);
    rows.set(job.id, row);
    fill(row, job);
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] || null);
    showPicture(row, job);
  });
  at("nothing").hidden = found.jobs.length > 0;
  at("more").hidden = found.jobs.length < shown || shown >= MOST_SHOWN;
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  sessionStorage.setItem("token", token);
  at("door").hidden = true;
  refresh();
});
at("state").addEventListener("change", refresh);
at("more").addEventListener("click", () => {
  shown = Math.min(shown + SHOWN, MOST_SHOWN);
  refresh();
});
at("close").addEventListener("click", () => at("viewer").close());
at("viewer").addEventListener("close", () => at("result").replaceChildren());
document.addEventListener("visibilitychange", () => document.hidden || refresh());

const given = new URLSearchParams(location.hash.slice(1)).get("token");
token = given || sessionStorage.getItem("token") || "";
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname); // out of the address line, and of what is copied from it
}
if (token) refresh();
else openDoor();
