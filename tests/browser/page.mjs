// The page of a running lab in Chromium: what a person does with it, on a desktop and on a phone.
//
//   node page.mjs LINK FOLDER      needs playwright-core and axe-core in the folder of this file
//
// Every step polls until a deadline. Screenshots of each state go to FOLDER. LAB_ACTION is a command
// for what a page cannot do (lab.sh); without it, these steps are left out.

import assert from "node:assert/strict";
import { execSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [link, folder] = process.argv.slice(2);
assert.ok(folder, "usage: node page.mjs LINK FOLDER");
mkdirSync(folder, { recursive: true });
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Limit of every wait, and of a wait for a drill. */
const LIMIT = 60_000;
const DRILL_LIMIT = 180_000;
const SCREENS = {
  "desktop-light": { viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  "desktop-dark": { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  "phone-light": { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, colorScheme: "light" },
  "phone-dark": { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, colorScheme: "dark" },
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // As root, Chromium has no sandbox of its own; the page is ours.
  args: ["--no-sandbox", "--disable-gpu"],
});

/** Messages of the console that are errors, and requests that failed or left the server. */
const complaints = [];
/** Set while the page is killed: the browser reports what it cannot reach. */
let pageIsKilled = false;

async function open(screen) {
  const context = await browser.newContext(SCREENS[screen]);
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  page.on("console", (message) => {
    if (pageIsKilled && /ERR_(CONNECTION|INCOMPLETE|EMPTY)/.test(message.text())) return;
    if (["error", "warning"].includes(message.type())) complaints.push(`${screen}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${screen}: ${error.message}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(link).origin) {
      complaints.push(`${screen}: loads ${request.url()}`);
    }
  });
  await page.goto(link);
  return page;
}

async function until(what, holds, limit = LIMIT) {
  const deadline = Date.now() + limit;
  for (;;) {
    const seen = await holds();
    if (seen) return seen;
    assert.ok(Date.now() < deadline, `waited ${limit / 1000} s for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const text = (page, selector) => page.locator(selector).first().innerText();
const number = async (page, selector) => Number((await text(page, selector)).replace(/\D/g, "") || NaN);
const healthy = (page) =>
  until("a healthy lab", async () => (await text(page, "#health")).includes("loses no acknowledged write"));
const primary = async (page) => (await text(page, "#health")).match(/^(\S+) is primary/)?.[1];
const state = (page, node) => text(page, `[data-node="${node}"] .state`);
const ALL_THERE = "every acknowledged record is there";
const storyEnds = (page, text_) =>
  until("the end of the story", async () => (await text(page, ".told .after")).includes(text_));
const shot = (page, name) => page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });

const labAction = (action) => execSync(`${process.env.LAB_ACTION} ${action}`, { encoding: "utf8" });

/** No rule of WCAG A and AA is broken, and nothing is wider than the screen. */
async function isAccessible(page, name) {
  // By the debugger: the page's own policy permits no script from elsewhere.
  await page.evaluate(axe);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
  const { violations } = await page.evaluate((values) => globalThis.axe.run({ runOnly: values }), tags);
  const found = violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`);
  assert.deepEqual(found, [], name);
  const [wide, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= screen, `${name}: ${wide} pixels wide on a screen of ${screen}`);
}

async function step(name, work) {
  const begun = Date.now();
  await work();
  console.log(`ok  ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
}

await step("without the token, the page says how to get it", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const answer = await page.goto(new URL("/", link).href);
  assert.equal(answer.status(), 401);
  assert.match(await text(page, "body"), /halab web --link/);
  await context.close();
});

const page = await open("desktop-light");

await step("the page shows a healthy lab that writes", async () => {
  await healthy(page);
  await until("acknowledged writes", async () => (await number(page, "#acknowledged")) > 100);
  await until("a first reading", async () => (await number(page, "#lost")) === 0);
  assert.ok(!page.url().includes("token"), "the token is not in the address bar");
  assert.equal(await state(page, await primary(page)), "primary");
});

for (const screen of Object.keys(SCREENS)) {
  await step(`accessible, and nothing too wide: ${screen}`, async () => {
    const other = await open(screen);
    await healthy(other);
    await until("the chart", async () => (await text(other, "#writes-text")) !== "");
    await isAccessible(other, screen);
    await shot(other, `healthy-${screen}`);
    await other.context().close();
  });
}

await step("the primary is killed by the button, and its story is told", async () => {
  const before = await primary(page);
  const kept = await number(page, "#acknowledged");
  // By the keyboard.
  await page.locator("#kill-primary").focus();
  await page.keyboard.press("Enter");
  const begun = Date.now();
  const story = page.locator(".told").first();
  await story.waitFor();
  await until("the first write after it", async () =>
    (await text(page, ".told .story")).includes("a write was acknowledged after"));
  console.log(`    told after ${Date.now() - begun} ms`);
  await until("another primary", async () => ![before, undefined].includes(await primary(page)));
  const after = await primary(page);
  await until("its card", async () => (await state(page, after)) === "primary");
  assert.match(await text(page, ".told h3"), new RegExp(`SIGKILL to the server of ${before}`));
  await storyEnds(page, ALL_THERE);
  const told = await text(page, ".told .story");
  const gap = told.match(/: ([\d.]+) (ms|s) without an acknowledged write/);
  assert.ok(gap, told);
  for (const part of ["a failover began after", "a Sentinel was elected after", "another node was primary after",
    "a write was acknowledged after", "acknowledged records none is lost"]) {
    assert.ok(told.includes(part), `${part}: ${told}`);
  }
  // The same time is marked in the chart of writes.
  const ms = Number(gap[1]) * (gap[2] === "s" ? 1000 : 1);
  await until("the longest gap", async () => {
    const shown = (await text(page, "#longest-gap")).match(/([\d.]+) (ms|s)/);
    return Number(shown[1]) * (shown[2] === "s" ? 1000 : 1) >= ms - 11;
  });
  assert.equal(await number(page, "#lost"), 0);
  await until("more writes", async () => (await number(page, "#acknowledged")) > kept);
  await healthy(page);
  await page.evaluate(() => window.scrollTo(0, 0));
  await page.screenshot({ path: join(folder, "web.png") });
  await shot(page, "after-kill-primary");
});

await step("a second loss is asked about first", async () => {
  await healthy(page);
  const first = await primary(page);
  const names = await page.locator("#node option").allInnerTexts();
  const data = await page.locator(".card.data h3").allInnerTexts();
  const other = data.find((name) => name !== first);
  assert.ok(names.includes(other));
  await page.selectOption("#node", other);
  await page.locator('[data-fault="pause-node"]').click();
  await until("the lab is not healthy", async () => !(await text(page, "#health")).includes("loses no"));
  await page.selectOption("#node", first);
  await page.locator('[data-fault="kill-server"]').click();
  const dialog = page.locator("#ask");
  await dialog.waitFor();
  assert.match(await text(page, "#stakes"), /two losses coincide/);
  await shot(page, "second-loss");
  await isAccessible(page, "the question");
  await page.keyboard.press("Escape");
  await until("nothing was done", async () => (await text(page, "#fault-result")) === "Nothing was done.");
  assert.equal(await state(page, first), "primary");
  await healthy(page);
});

await step("a handover by the button fails no write", async () => {
  const before = await primary(page);
  await page.locator('[data-fault="handover"]').click();
  await until("its result", async () => (await text(page, "#fault-result")).includes("handed over"));
  await until("another primary", async () => ![before, undefined].includes(await primary(page)));
  await healthy(page);
  assert.equal(await number(page, "#lost"), 0);
});

if (await page.locator('[data-fault="stop-node"]').count()) {
  await step("a node is stopped and started by the buttons", async () => {
    const node = (await page.locator(".card.data h3").allInnerTexts()).at(-1);
    await page.selectOption("#node", node);
    await page.locator('[data-fault="stop-node"]').click();
    await until("it is down", async () => (await state(page, node)) === "does not answer");
    await page.locator('[data-fault="start-node"]').click();
    await healthy(page);
  });
}

if (await page.locator('[data-fault="cut-node"]').count()) {
  await step("a primary that is cut off is replaced, and follows afterwards", async () => {
    await healthy(page);
    const before = await primary(page);
    await page.selectOption("#node", before);
    await page.locator('[data-fault="cut-node"]').click();
    await until("another primary", async () => ![before, undefined].includes(await primary(page)));
    await storyEnds(page, ALL_THERE);
    assert.match(await text(page, ".told h3"), new RegExp(`${before} cut off`));
    await healthy(page);
    assert.equal(await state(page, before), "replica, promotable");
  });

  await step("a Sentinel that is cut off counts as lost, although it answers the page", async () => {
    const sentinel = await text(page, ".card.sentinel h3");
    await page.selectOption("#node", sentinel);
    await page.locator('[data-fault="cut-node"]').click();
    await until("its result", async () => (await text(page, "#fault-result")).includes("cut off"));
    await page.locator("#kill-primary").click();
    await page.locator("#ask").waitFor();
    await page.keyboard.press("Escape");
    await until("the lab is not healthy", async () => !(await text(page, "#health")).includes("loses no"));
    await storyEnds(page, ALL_THERE);
    await healthy(page);
  });
}

await step("a drill is started, followed, and its report kept", async () => {
  await page.selectOption("#drill-fault", "kill-replica");
  await page.locator("#start-drill").click();
  await until("its progress", async () => (await text(page, "#drill-lines")).includes("kill-replica"));
  await until("its end", async () => (await text(page, "#drill-result")).includes("kill-replica: holds"), DRILL_LIMIT);
  const [report] = await Promise.all([page.context().waitForEvent("page"),
    page.locator("#drill-result a").click({ modifiers: ["Control"] })]);
  await until("the report", async () => (await text(report, "body")).includes("kill-replica"));
  await report.close();
  assert.equal(await page.locator("#reports a").count(), 1);
});

if (process.env.LAB_ACTION) {
  await step("halab web is killed: the page comes back, and what it has left is removed", async () => {
    await healthy(page);
    pageIsKilled = true;
    labAction("kill-page");
    await until("the loss is shown", async () => (await text(page, "#health")).includes("is lost"));
    await healthy(page);
    pageIsKilled = false;
    await until("writes", async () => (await number(page, "#acknowledged")) > 0);
    await until("one ledger", () => Number(labAction("count-ledgers")) === 1);
    await until("a first reading", async () => (await number(page, "#lost")) === 0);
  });

  await step("control: a record that is removed is counted as lost", async () => {
    await until("records", async () => (await number(page, "#acknowledged")) > 100);
    labAction("lose-record");
    await page.locator('[data-fault="handover"]').click();
    await until("the loss", async () => (await number(page, "#lost")) === 1);
    await storyEnds(page, ": violated.");
    await isAccessible(page, "a loss");
    await shot(page, "lost");
  });
}

await browser.close();
assert.deepEqual(complaints, []);
console.log(`ok  no complaint of the browser; screenshots are in ${folder}`);
