// Acknowledged writes over time, on a canvas: one bar for each interval, and the times without an
// acknowledgement.

import { on } from "./state.js";
import { clock, duration, grouped } from "./text.js";

const canvas = document.getElementById("writes");
const text = document.getElementById("writes-text");
const HEIGHT = 180;
const LEFT = 46;
const BOTTOM = 20;
/** Shorter times without an acknowledgement are not marked, in milliseconds. */
const GAP_MIN = 150;
/** The same after a fault. */
const GAP_MIN_OF_FAULT = 20;

let fine = [];
let coarse = [];
let inSecond = 0;
let started = 0;
/** The local clock at the last message, and its time: between messages the chart moves on. */
let anchor = { t: 0, local: 0 };
let faults = [];
let span = 60;
let colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "soft", "edge", "rate", "witnessed", "fault", "gap"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
}

on("lab", (lab) => {
  started = lab.started;
  faults = [];
});
on("history", (history) => {
  ({ fine, coarse } = history);
  inSecond = 10;
});
on("writes", (interval) => {
  fine.push(interval);
  if (fine.length > 620) fine.splice(0, 20);
  const last = coarse.at(-1);
  if (last && inSecond < 10) {
    last.t = interval.t;
    last.replicated += interval.replicated;
    last.witnessed += interval.witnessed;
    last.latency = Math.max(last.latency, interval.latency);
    last.gap = Math.max(last.gap, interval.gap);
    inSecond += 1;
  } else {
    coarse.push({ ...interval });
    if (coarse.length > 620) coarse.splice(0, 20);
    inSecond = 1;
  }
  anchor = { t: interval.t, local: performance.now() };
});
on("story", ({ number, t, gap_ms }) => {
  faults = [...faults.filter((fault) => fault.number !== number), { number, t, gap: gap_ms ?? 0 }].slice(-50);
});

for (const input of document.querySelectorAll("input[name=span]")) {
  input.addEventListener("change", () => { span = Number(input.value); });
}

/** The acknowledged records of the last second. */
export const lastSecond = () =>
  fine.slice(-10).reduce((sum, interval) => sum + interval.replicated + interval.witnessed, 0);

function draw() {
  requestAnimationFrame(draw);
  if (document.hidden) return;
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  if (canvas.width !== Math.round(width * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(HEIGHT * scale);
    readColours();
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, HEIGHT);
  context.font = "11px system-ui, sans-serif";
  const now = anchor.t + Math.min(performance.now() - anchor.local, 1000);
  const from = now - span * 1000;
  const x = (t) => LEFT + ((t - from) / (span * 1000)) * (width - LEFT);
  const intervals = span === 60 ? fine : coarse;
  const length = span === 60 ? 100 : 1000;
  const bottom = HEIGHT - BOTTOM;
  const most = Math.max(1, ...intervals.map((i) => i.replicated + i.witnessed));
  const y = (count) => bottom - (count / most) * (bottom - 12);
  grid(context, { x, now, width, bottom, most, length });
  for (const interval of intervals) {
    const right = x(interval.t);
    if (right < LEFT) continue;
    const left = Math.max(LEFT, x(interval.t - length));
    const wide = Math.max(1, right - left - (span === 60 ? 0.5 : 0));
    const all = interval.replicated + interval.witnessed;
    context.fillStyle = colours.rate;
    context.fillRect(left, y(interval.replicated), wide, bottom - y(interval.replicated));
    context.fillStyle = colours.witnessed;
    context.fillRect(left, y(all), wide, y(interval.replicated) - y(all));
    if (interval.gap >= GAP_MIN) {
      context.fillStyle = colours.gap;
      const begin = Math.max(LEFT, x(interval.t - Math.max(interval.gap, length)));
      context.fillRect(begin, 12, right - begin, bottom - 12);
    }
  }
  marks(context, { x, bottom });
}

function grid(context, { x, now, width, bottom, most, length }) {
  context.fillStyle = colours.soft;
  context.textAlign = "right";
  context.fillText(`${grouped((most * 1000) / length)}/s`, LEFT - 6, 20);
  context.fillText("0", LEFT - 6, bottom);
  context.textAlign = "center";
  context.strokeStyle = colours.edge;
  const step = (span / 6) * 1000;
  for (let back = 0; back < span * 1000; back += step) {
    const at = x(now - back);
    context.beginPath();
    context.moveTo(at, 12);
    context.lineTo(at, bottom);
    context.stroke();
    const label = back === 0 ? "now" : `-${back / 1000} s`;
    context.fillText(label, Math.min(at, width - 14), HEIGHT - 5);
  }
}

/** The faults, and the longest time without an acknowledged write after each. */
function marks(context, { x, bottom }) {
  context.textAlign = "left";
  for (const { t, gap } of faults) {
    const at = x(t);
    if (at < LEFT) continue;
    context.strokeStyle = colours.fault;
    context.beginPath();
    context.moveTo(at, 4);
    context.lineTo(at, bottom);
    context.stroke();
    if (gap >= GAP_MIN_OF_FAULT) {
      context.fillStyle = colours.fault;
      const label = duration(gap);
      const isLate = at + 8 + context.measureText(label).width > canvas.clientWidth;
      context.textAlign = isLate ? "right" : "left";
      context.fillText(label, isLate ? at - 4 : at + 4, 12);
    }
  }
}

/** The same for those who do not see the canvas, once a second. */
function describe() {
  const intervals = span === 60 ? fine : coarse;
  if (!intervals.length) return;
  const longest = intervals.reduce((a, b) => (a.gap >= b.gap ? a : b));
  const latency = Math.max(...intervals.map((i) => i.latency));
  const shown = span === 60 ? "minute" : "ten minutes";
  const now = `In the last ${shown}: the longest time without an acknowledged write was `
    + `${duration(longest.gap)}${longest.gap >= GAP_MIN ? ` at ${clock(started + longest.t)}` : ""}, `
    + `the slowest acknowledgement ${duration(latency)}.`;
  if (text.textContent !== now) text.textContent = now;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
readColours();
requestAnimationFrame(draw);
setInterval(describe, 1000);
