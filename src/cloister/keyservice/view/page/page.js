// The page: asks, has `proofs.js` verify, and shows. Text from the service becomes text, never markup.
import * as proofs from "./proofs.js";

const SHOWN = 50;
const EVERY_MS = 15000;
const memory = { token: "", said: null, checkpoint: null };
const at = (id) => document.getElementById(id);

function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = String(text);
  if (kind) made.className = kind;
  return made;
}

const MARKS = { good: "✓ verified", bad: "✗ FAILED", open: "not verified" };

function mark(state, text) {
  return element("span", text ?? MARKS[state], `mark ${state}`);
}

function showChecks(checks) {
  at("checks").replaceChildren(...checks.map(({ state, what, why }) => {
    const line = element("li");
    line.append(mark(state), element("span", what), element("span", why, "why"));
    line.dataset.state = state;
    return line;
  }));
  const failed = checks.filter((check) => check.state === "bad");
  at("alarm").hidden = failed.length === 0;
  at("alarm").textContent = failed.length === 0 ? "" : "Do not believe what this page shows. What failed: " + failed.map((check) => check.what).join("; ") + ".";
}

class Refused extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

async function ask(path) {
  const headers = memory.token ? { Authorization: `Bearer ${memory.token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store", redirect: "error" });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Refused(`${problem.detail ?? answer.statusText} [${problem.code ?? answer.status}]`, answer.status);
  }
  return answer;
}

const askJSON = async (path) => (await ask(path)).json();

function table(columns, rows) {
  if (rows.length === 0) return element("p", "None.", "quiet");
  const whole = element("table"), head = element("tr"), box = element("div", undefined, "scroll");
  head.append(...columns.map((column) => element("th", column)));
  whole.append(head, ...rows.map((cells) => {
    const row = element("tr");
    row.append(...cells.map((cell) => {
      if (cell instanceof HTMLTableCellElement) return cell;
      const made = element("td");
      made.append(cell instanceof Node ? cell : String(cell));
      return made;
    }));
    return row;
  }));
  box.append(whole);
  return box;
}

function short(text) {
  const made = element("td", text.length > 20 ? `${text.slice(0, 20)}…` : text, "mono");
  made.title = text;
  return made;
}

const tight = (text) => element("td", text, "tight");
const when = (seconds) => tight(new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19));

function scalar(value) {
  return element("span", value instanceof Uint8Array ? proofs.toHex(value) : value === "" ? "(empty)" : value, "value mono");
}

function tree(value) {
  const size = value instanceof Map ? value.size : Array.isArray(value) ? value.length : -1;
  if (size === 0) return element("span", "none", "quiet");
  if (Array.isArray(value) && value.every((each) => !(each instanceof Map || Array.isArray(each)))) {
    const line = element("span");
    line.append(...value.map(scalar));
    return line;
  }
  if (value instanceof Map || Array.isArray(value)) {
    const list = element("ul");
    const pairs = value instanceof Map ? [...value.entries()] : value.map((each) => [null, each]);
    list.append(...pairs.map(([key, each]) => {
      const line = element("li");
      if (key !== null) line.append(element("span", key, "key"));
      line.append(tree(each));
      return line;
    }));
    return list;
  }
  return scalar(value);
}

function showService(service) {
  document.title = `${service.trust_domain}: key service`;
  at("domain").textContent = service.trust_domain;
  at("simulation").hidden = service.hardware_rooted === true;
  const roots = Object.entries(service.roots_of_trust).map(([name, root]) => `${name} (${root.hardware_rooted ? "hardware" : "SIMULATED"})`);
  const rows = [["Identity", service.identity], ["Root of trust", roots.join(", ") || "none"],
    ["Rooted in hardware", service.hardware_rooted ? "yes, it says" : "no"], ["Log", service.log_origin], ["Owner", service.owner]];
  at("service").replaceChildren(...rows.flatMap(([name, value]) => {
    const shown = element("dd", value, /^ed25519:/.test(value) ? "mono" : "");
    return [element("dt", name), shown];
  }));
  at("versions").textContent = `Cloister ${service.versions.cloister}`;
}

function checkIdentity(service) {
  const what = "The service is the one that your token names";
  if (memory.said === null) return { state: "open", what: "Who the service is", why: "Compare its identity with domain.json on your own machine, or use a view token, which names it." };
  return `ed25519:${proofs.toHex(memory.said.service)}` === service.identity
    ? { state: "good", what, why: "Whoever made the token wrote this identity into it." }
    : { state: "bad", what, why: "The token names another identity." };
}

async function checkSignature(service, checkpoint) {
  const what = `The checkpoint of ${checkpoint.size} entries is signed by that identity`;
  const signed = await proofs.isSigned(checkpoint, proofs.fromHex(service.identity.slice("ed25519:".length)));
  if (signed === null) return { state: "open", what, why: "This browser has no Ed25519." };
  return signed ? { state: "good", what, why: "Ed25519 over the signed note." } : { state: "bad", what, why: "The signature does not hold." };
}

async function checkExtension(checkpoint) {
  const old = memory.checkpoint;
  const what = "The log only grew since this page was opened";
  if (old === null || old.size === 0) return { state: "open", what, why: "Known after the next look." };
  let holds = false;
  if (old.size <= checkpoint.size) {
    const given = old.size === checkpoint.size ? { proof: [] } : await askJSON(`/v1/log/proof/consistency?old=${old.size}&new=${checkpoint.size}`);
    holds = await proofs.isExtension({ oldSize: old.size, oldRoot: old.root, size: checkpoint.size, root: checkpoint.root, proof: given.proof }).catch(() => false);
  }
  return holds ? { state: "good", what, why: old.size === checkpoint.size ? "The same size and the same root." : `From ${old.size} to ${checkpoint.size} entries, by a consistency proof.` }
    : { state: "bad", what, why: `The log of ${checkpoint.size} entries is no continuation of the ${old.size} seen before.` };
}

async function checkEntry(entry, checkpoint) {
  const leaf = proofs.fromHex(entry.leaf);
  const content = proofs.decode(leaf);
  let holds = false;
  try {
    const given = await askJSON(`/v1/log/proof/inclusion?index=${entry.index}&size=${checkpoint.size}`);
    holds = await proofs.isIncluded({ leaf, index: entry.index, size: checkpoint.size, proof: given.proof, root: checkpoint.root });
  } catch (error) {
    if (error instanceof Refused && error.status !== 404) throw error;
  }
  return { index: entry.index, content, holds };
}

function outcome(content) {
  const code = content.get("code");
  if (code === undefined) return element("span", "");
  return code === "" ? mark("good", "granted") : mark("open", `refused: ${code}`);
}

function showLog(entries, checkpoint) {
  const newest = [...entries].reverse();
  const state = (entry) => mark(entry.holds ? "good" : "bad");
  at("log-said").textContent = `Of the newest ${Math.min(SHOWN, checkpoint.size)} of ${checkpoint.size} entries, the ${entries.length} that your token shows, each checked against the signed checkpoint.`;
  at("log").replaceChildren(table(["", "Number", "When (UTC)", "Operation", "Subject", "Outcome"], newest.map((entry) => [
    state(entry), tight(entry.index), entry.content.has("at") ? when(entry.content.get("at")) : "", entry.content.get("operation"),
    entry.content.get("subject") ?? "", outcome(entry.content)])));
  const releases = newest.filter((entry) => entry.content.get("operation") === "release");
  at("releases").replaceChildren(table(["", "When (UTC)", "Workload", "Instance", "Policy", "Outcome"], releases.map((entry) => [
    state(entry), when(entry.content.get("at")), entry.content.get("subject"), entry.content.get("instance"),
    short(proofs.toHex(entry.content.get("policy"))), outcome(entry.content)])));
}

function showPolicies(policies) {
  const shown = new Set([...at("policies").querySelectorAll("details[open]")].map((each) => each.dataset.hash));
  if (policies.length === 0) { at("policies").replaceChildren(element("p", "None.", "quiet")); return; }
  at("policies").replaceChildren(...[...policies].reverse().map((policy) => {
    const whole = element("details"), head = element("summary");
    whole.dataset.hash = policy.hash;
    head.append(element("span", `${policy.namespace} / ${policy.name}`, "name"), element("span", policy.current ? "current" : "replaced", policy.current ? "" : "quiet"),
      element("span", policy.hash, "mono quiet"));
    whole.append(head);
    whole.addEventListener("toggle", () => { if (whole.open && whole.children.length === 1) openPolicy(whole, policy.hash); });
    if (shown.has(policy.hash)) whole.open = true;
    return whole;
  }));
}

async function openPolicy(whole, hash) {
  const body = element("div", undefined, "tree");
  whole.append(body);
  try {
    const canonical = proofs.fromHex((await askJSON(`/v1/policies/${encodeURIComponent(hash)}`)).canonical);
    const holds = await proofs.policyHash(canonical) === hash;
    body.append(mark(holds ? "good" : "bad", holds ? "✓ these bytes have this hash" : "✗ FAILED: other bytes than the hash names"));
    if (holds) body.append(tree(proofs.decode(canonical)));
  } catch (error) {
    body.append(mark("bad", String(error.message)));
  }
}

function showVolumes(volumes) {
  at("volumes").replaceChildren(table(["Identity", "Kind", "Version", "Root", "Lease epoch", ""], volumes.map((volume) => [
    short(volume.id), volume.kind, tight(volume.version), short(volume.root), tight(volume.lease_epoch), volume.leased ? "leased" : ""])));
}

async function lookInside(checkpoint, checks) {
  const [policies, volumes] = await Promise.all([askJSON("/v1/policies?first=0&count=500"), askJSON("/v1/volumes?first=0&count=500")]);
  const first = Math.max(0, checkpoint.size - SHOWN);
  const given = checkpoint.size === 0 ? [] : (await askJSON(`/v1/log/entries?first=${first}&count=${SHOWN}`)).entries;
  const entries = await Promise.all(given.filter((entry) => entry.index < checkpoint.size).map((entry) => checkEntry(entry, checkpoint)));
  const wrong = entries.filter((entry) => !entry.holds).length;
  const what = `Each entry shown is in the log that the checkpoint signs`;
  if (entries.length === 0) checks.push({ state: "open", what, why: "The log is empty, or has nothing new that your token shows." });
  else checks.push(wrong === 0 ? { state: "good", what, why: `${entries.length} inclusion proofs (RFC 9162).` }
    : { state: "bad", what, why: `${wrong} of ${entries.length} proofs do not hold.` });
  showPolicies(policies.policies);
  showVolumes(volumes.volumes);
  showLog(entries, checkpoint);
}

async function look() {
  const checks = [];
  try {
    const service = await askJSON("/v1/service");
    showService(service);
    if (globalThis.crypto?.subtle === undefined) {
      showChecks([{ state: "bad", what: "Nothing can be verified here", why: "Browsers verify on https and on this machine's own addresses only. Use a tunnel: ssh -L." }]);
      return;
    }
    const checkpoint = proofs.readCheckpoint(await (await ask("/v1/log/checkpoint")).text(), service.log_origin);
    checks.push(checkIdentity(service), await checkSignature(service, checkpoint), await checkExtension(checkpoint));
    let inside = memory.said !== null;
    try {
      if (inside) await lookInside(checkpoint, checks);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      inside = false;
      checks.push({ state: "open", what: "Policies, volumes, releases and log are not shown", why: error.message });
    }
    for (const each of document.querySelectorAll(".private")) each.hidden = !inside;
    at("locked").hidden = inside;
    if (checks.every((check) => check.state !== "bad")) memory.checkpoint = checkpoint;
  } catch (error) {
    checks.push({ state: "bad", what: "The service answered as it should", why: String(error.message) });
  }
  showChecks(checks);
  at("when").textContent = `looked at ${new Date().toISOString().slice(11, 19)} UTC`;
  document.body.dataset.looked = String(Number(document.body.dataset.looked ?? 0) + 1);
}

function forget() {
  memory.token = "";
  memory.said = null;
  at("token-said").textContent = "Kept in this page's memory only.";
  for (const id of ["policies", "volumes", "releases", "log"]) at(id).replaceChildren();
}

let turn = Promise.resolve();
const lookAgain = () => { turn = turn.then(look); };

at("use").addEventListener("click", () => {
  const text = at("token").value;
  at("token").value = "";
  forget();
  try {
    memory.said = proofs.readToken(text);
    memory.token = text.trim();
    at("token-said").textContent = `Good until ${new Date(memory.said.expires * 1000).toISOString().replace("T", " ").slice(0, 16)} UTC, for ${memory.said.scope}.`;
    at("forget").hidden = false;
  } catch {
    at("token-said").textContent = "That is not a view token.";
  }
  lookAgain();
});
at("token").addEventListener("keydown", (event) => { if (event.key === "Enter") at("use").click(); });
at("forget").addEventListener("click", () => { forget(); at("forget").hidden = true; lookAgain(); });
setInterval(() => { if (!document.hidden) lookAgain(); }, EVERY_MS);
lookAgain();
