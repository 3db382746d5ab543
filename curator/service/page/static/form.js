// The form of a new job: a recipe that is checked as it is typed, and plain fields for the other verbs. A draft is kept
// as long as the tab is open.
import { api, problemBox } from "/static/api.js";
import { editor } from "/static/editor.js";

const PAUSE = 400; // ms after the last key
const page = document.getElementById("new"), forms = [...document.querySelectorAll(".job-form")];
const example = document.getElementById("example"), into = document.getElementById("into");
const verdict = document.getElementById("verdict"), summary = document.getElementById("summary"), planned = document.getElementById("planned");
const recipe = editor(document.getElementById("recipe")), form = document.getElementById("of-recipe");
editor(document.getElementById("eval-suite"));
const draftKey = `forgetless-draft${location.search}`;
const address = new URLSearchParams(location.search);
let base = page.dataset.base, others = [], examples = [], began = "", state = null, waiting = 0, asking = null;

const verb = () => document.querySelector("[name=verb]:checked").value;

// What to do

function choose(name) {
  document.querySelector(`[name=verb][value="${name}"]`).checked = true;
  for (const each of forms) each.hidden = !each.dataset.verbs.split(" ").includes(name);
  form.querySelector("[type=submit]").textContent = name === "train" ? "Train" : "Build";
  judge();
  keep();
}

for (const radio of document.querySelectorAll("[name=verb]")) radio.addEventListener("change", () => choose(radio.value));

// The recipe

function draft() {
  const overrides = into.value ? [...others, `store=${JSON.stringify(into.value)}`] : others;
  return { recipe: recipe.text, base, overrides };
}

function changed() {
  clearTimeout(waiting);
  asking?.abort();
  waiting = setTimeout(check, PAUSE);
  planned.replaceChildren();
  keep();
}

async function check() {
  asking?.abort();
  const controller = asking = new AbortController();
  try {
    state = await api("/v1/recipes/check", { method: "POST", json: draft(), signal: controller.signal });
    judge();
  } catch (error) {
    if (error.name === "AbortError") return;
    state = null;
    verdict.replaceChildren(problemBox(error, check));
    told = "";
  }
}

let told = "";

/** Say how it stands with the recipe, for what is to be done with it. */
function judge() {
  if (!state) return;
  const lacks = !state.problems.length && verb() === "train" && !state.summary.trains;
  const faults = lacks ? [{ detail: "the recipe has no `train`", hint: "add `train:` with its `output`", lines: [] }] : state.problems;
  recipe.mark(faults.flatMap((fault) => fault.lines));
  document.getElementById("recipe").setAttribute("aria-invalid", String(faults.length > 0));
  if (told !== (told = JSON.stringify(faults))) { // said once: a screen reader reads out whatever is put here
    verdict.replaceChildren(...(faults.length ? faults.map(said) : [element("p", { className: "ok" }, "✓ This can run.")]));
  }
  summary.replaceChildren(...(state.summary ? summarised(state.summary) : []));
  form.querySelector("[type=submit]").disabled = faults.length > 0;
  document.getElementById("plan").disabled = faults.length > 0;
}

function said({ detail, hint, lines }) {
  const parts = detail.replace(/^recipe: /, "").split("; ").map((part) => element("li", {}, part));
  const where = lines.length ? `Line ${lines.join(", ")}` : "It cannot run like this";
  return element("div", { className: "problem" }, element("p", {}, element("b", {}, where)), element("ul", { className: "faults" }, ...parts),
    ...(hint && !hint.startsWith("nothing was run") ? [element("p", { className: "about" }, hint)] : []));
}

function summarised({ name, store, model, steps, trains, output }) {
  const facts = [["Recipe", name], ["Store", store], ["Model", model], ...(trains ? [["Trains into", output]] : [])];
  const rows = steps.map((step) => [step.name === step.pipeline ? step.name : `${step.name} (${step.pipeline})`, step.count === null ? "all" : step.count.toLocaleString("en")]);
  return [
    element("dl", { className: "facts" }, ...facts.map(([key, value]) => element("div", {}, element("dt", {}, key), element("dd", {}, value)))),
    ...(rows.length ? [table(["step", "count"], rows)] : []),
  ];
}

document.getElementById("plan").addEventListener("click", async (event) => {
  const button = event.target;
  button.disabled = true;
  planned.replaceChildren(element("p", { className: "about" }, "Reading the store…"));
  try {
    const steps = await api("/v1/recipes/plan", { method: "POST", json: draft() });
    const rows = steps.map((step) => [step.name, ...[step.planned, step.there, Math.max(step.planned - step.there, 0)].map((number) => number.toLocaleString("en"))]);
    planned.replaceChildren(table(["step", "planned", "there", "to make"], rows), ...steps.flatMap((step) => step.notes).map((note) => element("p", { className: "about" }, note)));
  } catch (error) {
    planned.replaceChildren(problemBox(error));
  }
  button.disabled = false;
});

document.getElementById("recipe").addEventListener("input", changed);
into.addEventListener("change", changed);
let chosen = "";
example.addEventListener("change", () => {
  if (recipe.text.trim() && recipe.text !== began && !confirm("Replace what you have written?")) example.value = chosen;
  else startFrom(example.value);
});

/** A ready-made recipe, as it was. */
function startFrom(name) {
  const found = examples.find((each) => each.name === name);
  if (found) begin(name, found.text, found.base, []);
}

function begin(name, text, folder, overrides, original = text) {
  example.value = chosen = name;
  recipe.text = text;
  began = original;
  base = folder;
  document.getElementById("base").textContent = base;
  override(overrides);
}

/** What replaces values of the recipe, beside its text. */
function override(all) {
  others = all;
  const none = element("button", { type: "button" }, "Leave them out");
  none.addEventListener("click", () => override([]));
  document.getElementById("others").replaceChildren(...(all.length ? ["With ", ...all.flatMap((each) => [element("code", {}, each), " "]), none] : []));
  changed();
}

// Sending it

for (const each of forms) each.addEventListener("submit", (event) => { event.preventDefault(); send(each); });

let sent = { body: "", key: "" };
addEventListener("pageshow", (event) => { if (event.persisted) sent = { body: "", key: "" }; });

/** The same request has the same key, so that a second click, or a second try, makes no second job. */
function keyOf(body) {
  if (sent.body !== body) sent = { body, key: [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
  return sent.key;
}

async function send(each) {
  const button = each.querySelector("[type=submit]"), place = each.querySelector(".said");
  if (button.getAttribute("aria-busy")) return;
  const json = each === form ? { verb: verb(), ...draft() } : { verb: verb(), ...fields(each) };
  button.setAttribute("aria-busy", "true");
  place.replaceChildren();
  for (const field of each.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  try {
    const job = await api("/v1/jobs", { method: "POST", json, headers: { "Idempotency-Key": keyOf(JSON.stringify(json)) } });
    sessionStorage.removeItem(draftKey);
    location.assign(`/jobs/${job.id}`);
  } catch (error) {
    place.replaceChildren(problemBox(pointed(error, each)));
  }
  button.removeAttribute("aria-busy");
}

/** The problem, in the words of the form, with its fields marked. */
function pointed(error, each) {
  const parts = error.errors.map(({ pointer, detail }) => {
    const field = each.elements[pointer.split("/")[2]];
    if (!field?.labels) return `${pointer}: ${detail}`;
    field.setAttribute("aria-invalid", "true");
    field.focus();
    return `${field.labels[0].textContent}: ${detail}`;
  });
  return parts.length ? Object.assign(error, { message: parts.join("; ") }) : error;
}

function fields(each) {
  const given = {};
  for (const { name, type, value, checked } of each.elements) {
    if (!name) continue;
    if (type === "checkbox") { if (checked) given[name] = true; } else if (value.trim()) given[name] = type === "number" ? Number(value) : value;
  }
  return given;
}

/** The other way round: values as a job was asked for. A store may be given by its folder. */
function fill(each, values) {
  for (const field of each.elements) {
    const value = values[field.name];
    if (!field.name || value === undefined || value === null) continue;
    if (field.type === "checkbox") field.checked = value === true;
    else field.value = field.name === "store" ? [...into.options].find((store) => store.value === value)?.text ?? value : typeof value === "object" ? JSON.stringify(value, null, 2) : value;
    field.dispatchEvent(new Event("input")); // for an editor's lines
  }
}

// Drafts

const plain = forms.filter((each) => each !== form);

function keep() {
  const drafts = Object.fromEntries(plain.map((each) => [each.dataset.verbs, fields(each)]));
  try {
    sessionStorage.setItem(draftKey, JSON.stringify({ verb: verb(), example: example.value, text: recipe.text, began, base, others, into: into.value, drafts }));
  } catch { /* not kept */ }
}

for (const each of plain) each.addEventListener("input", keep);
document.getElementById("over").addEventListener("click", () => { sessionStorage.removeItem(draftKey); location.reload(); });

function kept() {
  try { return JSON.parse(sessionStorage.getItem(draftKey)); } catch { return null; }
}

// Beginning

async function start() {
  const draft = kept(), from = address.get("from");
  try {
    examples = (await api("/v1/recipes")).recipes;
  } catch (error) {
    verdict.replaceChildren(problemBox(error, start));
  }
  example.replaceChildren(...examples.map(({ name, about }) => new Option(`${name}: ${about}`, name)));
  if (from) example.prepend(new Option(`job ${from.slice(0, 8)}`, "job"));
  if (draft?.example) { // without one the recipes could not be had
    for (const each of plain) fill(each, draft.drafts[each.dataset.verbs] || {});
    into.value = draft.into;
    begin(draft.example, draft.text, draft.base, draft.others, draft.began);
    return choose(draft.verb);
  }
  startFrom(examples.find(({ name }) => name === address.get("recipe"))?.name ?? examples[0]?.name);
  choose(from ? await again(from) : page.dataset.verb);
}

/** Begin with what another job was asked for; the verb of the form that holds it. */
async function again(id) {
  try {
    const job = await api(`/v1/jobs/${encodeURIComponent(id)}`), { request } = job;
    const place = forms.find((each) => each.dataset.verbs.split(" ").includes(job.verb));
    if (!place) throw new Error(`a ${job.verb} job has no form: ask for it at /v1/jobs`);
    if (place !== form) {
      fill(place, request);
      const left = Object.keys(request).filter((name) => name !== "verb" && !place.elements[name]);
      if (left.length) document.getElementById("unfilled").append(element("p", { className: "about" }, `Not taken over, as the form has no field for it: ${left.join(", ")}.`));
      return job.verb;
    }
    const text = typeof request.recipe === "string" ? request.recipe : JSON.stringify(request.recipe, null, 2);
    const stores = (request.overrides || []).filter((each) => each.startsWith("store="));
    const wanted = [...into.options].find(({ value }) => stores.at(-1) === `store=${JSON.stringify(value)}`);
    if (wanted) into.value = wanted.value;
    begin("job", text, request.base || page.dataset.base, (request.overrides || []).filter((each) => !wanted || !stores.includes(each)));
    return address.get("verb") === "train" ? "train" : job.verb;
  } catch (error) {
    document.getElementById("unfilled").replaceChildren(problemBox(error));
    return page.dataset.verb;
  }
}

// Elements

function element(tag, given, ...children) {
  const made = Object.assign(document.createElement(tag), given);
  made.append(...children);
  return made;
}

function table(head, rows) {
  const cell = (tag) => (text, place) => element(tag, { className: place ? "n" : "" }, text);
  return element("table", { className: "list" }, element("thead", {}, element("tr", {}, ...head.map(cell("th")))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cell("td"))))));
}

start();
