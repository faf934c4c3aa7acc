// Drills in labs of their own, and their reports.

import { post } from "./request.js";
import { on } from "./state.js";
import { clock, element } from "./text.js";

const root = document.getElementById("drills");
const result = document.getElementById("drill-result");
const lines = document.getElementById("drill-lines");
const reports = document.getElementById("reports");
const REPORTS_SHOWN = 10;

let button = null;

on("drills", (drills) => {
  const shown = drills.reports.slice(0, REPORTS_SHOWN).map((name) => {
    const [, at, fault] = name.match(/^(\d+)-(.*)\.html$/) ?? [null, "0", name];
    const date = new Date(Number(at) / 1000);
    const when = `${date.toLocaleDateString("sv")} ${clock(date.getTime()).slice(0, 8)}`;
    return element("li", {}, element("a", { href: `/reports/${encodeURIComponent(name)}` }, fault), ` ${when}`);
  });
  reports.replaceChildren(...shown);
  if (button || !drills.is_allowed) return;
  const names = drills.faults.map((fault) => element("option", { value: fault.name }, fault.name));
  const picker = element("select", { id: "drill-fault" }, ...names);
  const about = element("p", { class: "soft" });
  const describe = () => {
    const fault = drills.faults.find((one) => one.name === picker.value);
    about.textContent = `${fault.does}. What must hold: ${fault.must}.`;
  };
  picker.addEventListener("change", describe);
  describe();
  button = element("button", { type: "button", id: "start-drill" }, "Start the drill");
  button.addEventListener("click", async () => {
    const { told, ok } = await post("/api/drills", { fault: picker.value });
    result.textContent = told.done ?? told.problem;
    result.classList.toggle("bad", !ok);
  });
  root.replaceChildren(
    element("p", {}, element("label", { for: "drill-fault" }, "Fault: "), picker, " ", button), about);
});

on("drill", (drill) => {
  lines.hidden = false;
  lines.textContent = drill.lines.join("\n");
  if (!drill.is_over) return;
  const link = drill.report
    ? element("a", { href: `/reports/${encodeURIComponent(drill.report)}` }, "Its report")
    : "It has no report.";
  result.replaceChildren(`${drill.fault}: ${drill.verdict}. `, link);
});
