// The stories of faults, and the list of what everyone said.

import { on } from "./state.js";
import { clock, duration, element, grouped } from "./text.js";

const ENTRIES_MAX = 200;
const list = document.getElementById("timeline");
const stories = document.getElementById("stories");
const nothing = stories.firstElementChild;
/** Stories on the page. */
const STORIES_MAX = 20;
let started = 0;
let writes = true;
const shown = new Map();

on("lab", (lab) => {
  started = lab.started;
  writes = lab.rate != null;
  list.replaceChildren();
  stories.replaceChildren(nothing);
  shown.clear();
});

on("entry", ({ t, what, node, by, detail, kind }) => {
  const who = [node, detail].filter(Boolean).join(", ");
  const item = element("li", { class: kind, "data-t": t },
    element("time", {}, clock(started + t)),
    element("b", {}, what), ` ${who}`,
    by ? element("span", { class: "soft" }, ` (by ${by})`) : null);
  // The newest first. A fault is known only once it has been injected.
  let after = list.firstElementChild;
  while (after && Number(after.dataset.t) > t) after = after.nextElementSibling;
  list.insertBefore(item, after);
  while (list.childElementCount > ENTRIES_MAX) list.lastElementChild.remove();
});

on("story", (story) => {
  let box = shown.get(story.number);
  if (!box) {
    box = element("article", { class: "told" });
    shown.set(story.number, box);
    nothing.remove();
    stories.prepend(box);
    if (shown.size > STORIES_MAX) {
      const [oldest, its] = shown.entries().next().value;
      its.remove();
      shown.delete(oldest);
    }
  }
  const told = element("div");
  // Made by the server, which escapes every text; it has no scripts, and none would run.
  told.innerHTML = story.html;
  box.replaceChildren(
    element("h3", {}, `${story.title} `, element("time", { class: "soft" }, clock(started + story.t))),
    told,
    element("p", { class: "after" }, after(story)));
});

/** What is known beside the sentences of the server. */
function after(story) {
  const parts = [];
  if (story.in_sync_ms != null) {
    parts.push(`All data nodes were in sync ${duration(story.in_sync_ms)} after it.`);
  }
  if (story.is_interrupted) {
    return story.is_recovered ? "Another fault followed while the records were read back."
      : "Another fault followed before the lab had recovered.";
  }
  if (story.is_recovered) parts.push("The lab can lose any one node again.");
  else if (story.missing.length) parts.push(`No answer from ${story.missing.join(" and ")}: a second loss now is one too many.`);
  else if (!story.is_over) parts.push("The lab is recovering.");
  if (story.read_back) {
    const { verdict, nodes, reasons } = story.read_back;
    parts.push(verdict === "holds"
      ? `Read back from ${nodes.join(" and ")}: every acknowledged record is there.`
      : `Read back from ${nodes.join(" and ")}: ${verdict}. ${reasons.join("; ")}`);
  } else if (!writes) parts.push("This page writes no records, so it reads none back.");
  else if (story.is_ended) parts.push("Its records could not be read back; they are read again within a minute.");
  else if (story.is_over) parts.push("All records are being read back.");
  return parts.join(" ");
}

const numbers = {
  acknowledged: document.getElementById("acknowledged"),
  lost: document.getElementById("lost"),
  gap: document.getElementById("longest-gap"),
};
const lostFact = document.getElementById("lost-fact");
const reading = document.getElementById("reading");

on("records", (records) => {
  numbers.acknowledged.textContent = grouped(records.acknowledged);
  const verdict = records.read_back?.verdict;
  const isKnown = records.lost > 0 || (verdict && verdict !== "inconclusive");
  numbers.lost.textContent = isKnown ? grouped(records.lost) : "-";
  lostFact.classList.toggle("bad", records.lost > 0 || verdict === "violated");
  numbers.gap.textContent = duration(records.longest_gap);
  const { read_back, problem, kept, unreadable } = records;
  const parts = [];
  if (problem) parts.push(`The writer of this page does not write: ${problem}.`);
  if (records.reading) parts.push("All records are being read back.");
  else if (read_back) {
    const result = read_back.verdict === "holds" ? "every acknowledged record is there" : read_back.verdict;
    parts.push(`Read back at ${clock(started + read_back.t).slice(0, 8)} from ${read_back.nodes.join(" and ")}: ${result}.`);
  } else parts.push("Not read back yet: that happens once a minute, and after every fault.");
  if (read_back?.reasons.length) parts.push(`${read_back.reasons.join("; ")}.`);
  if (kept.length) {
    parts.push(`Acknowledged records are missing or changed; the ledger is kept: ${kept.join(", ")}. After the restore of an `
      + "older backup that is expected. Move the file elsewhere to dismiss it.");
  }
  if (unreadable.length) parts.push(`Not read back, because the ledger cannot be read: ${unreadable.join(", ")}.`);
  reading.textContent = parts.join(" ");
});
