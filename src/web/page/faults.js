// The buttons that break the lab, and mend it.

import { post } from "./request.js";
import { on } from "./state.js";
import { element } from "./text.js";

const root = document.getElementById("faults");
const result = document.getElementById("fault-result");
const ask = document.getElementById("ask");
const stakes = document.getElementById("stakes");

let picker = null;

on("lab", (lab) => {
  if (!lab.faults.length) {
    root.replaceChildren(element("p", { class: "soft" },
      "This page may only look: ", element("code", {}, "halab web --allow-faults"), " shows buttons here."));
    return;
  }
  const names = [...lab.data_nodes, ...lab.sentinels];
  const chosen = picker?.value;
  picker = element("select", { id: "node" }, ...names.map((name) => element("option", { value: name }, name)));
  // After a lost connection, a person means the node that was chosen before.
  if (names.includes(chosen)) picker.value = chosen;
  const items = lab.faults.map((fault) => {
    const id = `about-${fault.fault}`;
    const button = element("button", { type: "button", "data-fault": fault.fault, "aria-describedby": id }, fault.title);
    button.addEventListener("click", () => inject(button, fault));
    return element("li", {}, button, element("span", { id }, fault.must_hold));
  });
  const primary = element("button", { type: "button", id: "kill-primary", class: "danger" }, "Kill the primary");
  primary.addEventListener("click", () => {
    if (!primaryName) return say("No node is primary now.", true);
    return inject(primary, { fault: "kill-server", of_node: true, title: "Kill the server" }, primaryName);
  });
  root.replaceChildren(
    element("p", {}, primary, " the server that accepts writes now. The replica takes over."),
    element("p", {}, element("label", { for: "node" }, "Node: "), picker),
    element("ul", { class: "faults" }, ...items));
});

let primaryName = null;
on("status", (status) => { primaryName = status.primary?.node ?? null; });

function say(text, isProblem) {
  result.textContent = text;
  result.classList.toggle("bad", isProblem);
}

async function inject(button, fault, node = fault.of_node ? picker.value : null, confirmed = false) {
  button.disabled = true;
  say(`${fault.title}${node ? ` of ${node}` : ""} ...`, false);
  const { ok, told } = await post("/api/faults", { fault: fault.fault, node, confirmed });
  button.disabled = false;
  if (!told.stakes) {
    say(told.done ?? told.problem, !ok);
    if (ok) result.append(". ", element("a", { href: "#stories-title" }, "What happened"));
    return undefined;
  }
  say("Nothing is done before you decide.", false);
  if (await confirmedBy(told.stakes)) return inject(button, fault, node, true);
  return say("Nothing was done.", false);
}

/** Whether the person wants it although it is a second loss. */
function confirmedBy(texts) {
  stakes.replaceChildren(...texts.map((text) => element("li", {}, text)));
  ask.returnValue = "no";
  ask.showModal();
  return new Promise((resolve) => {
    ask.addEventListener("close", () => resolve(ask.returnValue === "yes"), { once: true });
  });
}
