// The page: its head, and its parts, each in a module of its own.

import { connect, on } from "./state.js";
import { lastSecond } from "./chart.js";
import "./topology.js";
import "./timeline.js";
import "./faults.js";
import "./drills.js";
import { grouped } from "./text.js";

/** Without a message for this time, what is shown is old. */
const SILENT_MS = 5000;
const health = document.getElementById("health");
const problems = document.getElementById("problems");
const rate = document.getElementById("rate");

/** Sets a text only if it differs: a screen reader reads each change. */
function set(element, text, tone) {
  if (element.textContent !== text) element.textContent = text;
  if (tone) element.dataset.tone = tone;
}

on("lab", (lab) => {
  set(document.getElementById("lab-name"), lab.name);
  set(document.getElementById("version"), `halab ${lab.version}`);
  document.title = lab.name;
});

on("status", (status) => {
  const fault = status.problems.find((problem) => problem.severity === "fault");
  const named = status.primary?.node;
  const serves = status.data_nodes.some((node) => node.name === named && node.up?.role === "primary");
  const primary = serves ? `${named} is primary`
    : `No node is primary now${named ? `; the Sentinels name ${named}` : ""}`;
  const recovers = fault?.code === "not-recovered";
  const stake = status.stakes[0] ?? (recovers ? "the lab has not recovered yet" : "the lab is not healthy");
  set(health, fault
    ? `${primary}: ${stake}.`
    : `${primary}. The loss of any one node loses no acknowledged write.`, fault ? "warn" : "good");
  set(problems, status.problems.map((problem) => `${problem.what}: ${problem.remedy}.`).join(" "));
});

on("lost", (isFinal) => set(health, isFinal
  ? "The connection to halab web is lost: open the link with the token again."
  : "The connection to halab web is lost; trying again.", "bad"));

// A connection that is dead without being closed.
let heard = performance.now();
for (const event of ["alive", "open"]) on(event, () => { heard = performance.now(); });
setInterval(() => {
  if (performance.now() - heard > SILENT_MS) set(health, "halab web does not answer; what is below is old.", "bad");
}, 1000);

setInterval(() => set(rate, grouped(lastSecond())), 500);
connect();
