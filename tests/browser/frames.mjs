// Frames a second of the page in Chromium.
//
//   node frames.mjs LINK SECONDS

import { chromium } from "playwright-core";

const [link, seconds] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
await page.goto(link);
await page.waitForTimeout(2000);
const drawn = await page.evaluate((ms) => new Promise((resolve) => {
  const begun = performance.now();
  let frames = 0;
  const next = (now) => {
    frames += 1;
    if (now - begun < ms) requestAnimationFrame(next);
    else resolve((frames / (now - begun)) * 1000);
  };
  requestAnimationFrame(next);
}), Number(seconds) * 1000);
console.log(drawn.toFixed(1));
await browser.close();
