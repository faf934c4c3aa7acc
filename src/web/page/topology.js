// The nodes as cards, and arrows for replication and writes.

import { on } from "./state.js";
import { bytes, element, grouped, svg } from "./text.js";

const root = document.getElementById("topology");
const arrows = svg("svg", { class: "arrows", "aria-hidden": "true" });
const rows = element("div", { class: "rows" });
root.append(arrows, rows);

/** The cards by name, and what each showed last: a change is marked. */
const cards = new Map();
let latest = null;

function card(name, kind) {
  const made = { state: element("p", { class: "state" }), details: element("p", { class: "soft details" }) };
  made.box = element("article", { class: `card ${kind}`, "data-node": name },
    element("h3", {}, name), made.state, made.details);
  cards.set(name, made);
  return made.box;
}

on("lab", (lab) => {
  cards.clear();
  rows.replaceChildren(
    element("div", { class: "row" }, ...lab.sentinels.map((name) => card(name, "sentinel"))),
    element("div", { class: "row" },
      ...(lab.rate ? [card("writer", "writer")] : []),
      ...lab.data_nodes.map((name) => card(name, "data"))),
  );
  if (lab.rate) show("writer", "good", "writes", `${grouped(lab.rate)} records a second`);
});

/** Shows the state of a node. `tone` is good, soft, warn or bad. */
function show(name, tone, state, details) {
  const card = cards.get(name);
  if (!card) return;
  if (card.state.textContent !== state && card.state.textContent !== "") {
    card.box.classList.remove("changed");
    void card.box.offsetWidth; // so that the animation begins anew
    card.box.classList.add("changed");
  }
  card.state.textContent = state;
  card.details.textContent = details;
  card.box.dataset.tone = tone;
}

on("status", (status) => {
  latest = status;
  for (const node of status.data_nodes) dataNode(status, node);
  for (const node of status.sentinels) sentinel(status, node);
  draw();
});

function dataNode(status, node) {
  if (!node.up) {
    show(node.name, "bad", "does not answer", node.unreachable ?? "");
    return;
  }
  const { role, replica_of, link_up, promotable, lag_bytes, offset, version, replicas } = node.up;
  const report = status.supervisors[node.name]?.up;
  const about = `version ${version}, offset ${grouped(offset)}${memory(report)}${restarts(report)}`;
  if (role === "primary") {
    const behind = status.primary?.node === node.name ? "" : " (not the one that the Sentinels name)";
    show(node.name, behind ? "warn" : "good", `primary${behind}`, `${replicas} in sync; ${about}`);
  } else if (role === "replica") {
    const state = !link_up ? "replica, link down"
      : promotable ? "replica, promotable" : "replica, not promotable yet";
    const tone = link_up && promotable ? "soft" : "warn";
    show(node.name, tone, state, `of ${replica_of}, ${bytes(lag_bytes ?? 0)} behind; ${about}`);
  } else {
    show(node.name, "warn", role === "loading" ? "loads its data" : "has no role yet", about);
  }
}

function memory(report) {
  if (!report?.memory) return "";
  const { used, limit } = report.memory;
  return `, memory ${bytes(used)}${limit ? ` of ${bytes(limit)}` : ""}`;
}

function restarts(report) {
  return report?.ends ? `, restarted ${grouped(report.ends)} ${report.ends === 1 ? "time" : "times"}` : "";
}

/** The proxy has a card from its first answer on. */
on("proxy", ({ serves, why }) => {
  if (!cards.has("proxy")) {
    if (!serves) return;
    rows.lastElementChild.prepend(card("proxy", "proxy"));
  }
  if (serves) show("proxy", "good", "serves", "any Redis client uses the lab through it");
  else show("proxy", "bad", "does not serve", why);
});

function sentinel(status, node) {
  if (!node.up) {
    show(node.name, "bad", "does not answer", node.unreachable ?? "");
    return;
  }
  const { primary, primary_down, failover_in_progress, promotable } = node.up;
  const state = failover_in_progress ? "failover in progress"
    : primary_down ? `${primary.node} is down` : `sees ${primary.node}`;
  const tone = failover_in_progress || primary_down ? "warn" : "soft";
  const could = promotable.length ? `could promote ${promotable.join(", ")}` : "could promote no node";
  show(node.name, tone, state, `epoch ${primary.epoch}; ${could}`);
}

/** Arrows from each primary to its replicas, and from the writer to the primary. */
function draw() {
  if (!latest) return;
  const frame = root.getBoundingClientRect();
  arrows.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
  const pairs = latest.data_nodes
    .filter((node) => node.up?.role === "replica")
    .map((node) => ({ from: node.up.replica_of, to: node.name, up: node.up.link_up, kind: "replication" }));
  const primary = latest.data_nodes.find((n) => n.up?.role === "primary" && n.name === latest.primary?.node);
  if (primary && cards.has("writer")) {
    pairs.push({ from: "writer", to: primary.name, up: true, kind: "write" });
  }
  if (primary && cards.get("proxy")?.box.dataset.tone === "good") {
    pairs.push({ from: "proxy", to: primary.name, up: true, kind: "write" });
  }
  arrows.replaceChildren(...pairs.map((pair) => arrow(frame, pair)).filter(Boolean));
}

function arrow(frame, { from, to, up, kind }) {
  const [a, b] = [cards.get(from)?.box, cards.get(to)?.box].map((box) => box?.getBoundingClientRect());
  if (!a || !b) return null;
  const middle = (box) => box.left + box.width / 2 - frame.left;
  const below = kind === "replication";
  const edge = (box) => (below ? box.bottom : box.top) - frame.top;
  const [x1, x2, y1, y2] = [middle(a), middle(b), edge(a), edge(b)];
  const bend = below ? 26 : -26;
  const path = `M${x1} ${y1} C${x1} ${y1 + bend} ${x2} ${y2 + bend} ${x2} ${y2}`;
  const head = below ? `M${x2 - 5} ${y2 + 8} L${x2} ${y2} L${x2 + 5} ${y2 + 8}` : `M${x2 - 5} ${y2 - 8} L${x2} ${y2} L${x2 + 5} ${y2 - 8}`;
  return svg("g", { class: `arrow ${kind} ${up ? "up" : "down"}` },
    svg("path", { d: path, class: "flow" }), svg("path", { d: head }));
}

new ResizeObserver(draw).observe(root);
