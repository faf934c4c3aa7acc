// Writes records to Redis, repeats calls that fail, and reads all records back.
//
// The settings are environment variables: see the README of the examples.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";

const env = process.env;
const GIVE_UP_MS = 60_000; // without an answer to one command

/** A client of `halab proxy`, or of the primary that the Sentinels name. */
function connect() {
  if (!env.SENTINELS) {
    if (!env.REDIS_URL) throw new Error("set REDIS_URL or SENTINELS: see the README");
    return new Redis(env.REDIS_URL);
  }
  const username = env.REDIS_USER;
  const password = readFileSync(env.REDIS_PASSWORD_FILE, "utf8").trim();
  const tls = env.REDIS_CA && { ca: readFileSync(env.REDIS_CA) };
  return new Redis({
    sentinels: env.SENTINELS.split(",").map((address) => {
      const [host, port] = address.split(":");
      return { host, port: Number(port) };
    }),
    name: env.PRIMARY_NAME,
    username,
    password,
    sentinelUsername: username,
    sentinelPassword: password,
    ...(tls && { tls, sentinelTLS: tls, enableTLSForSentinelMode: true }),
  });
}

const seen = { failed: 0, firstError: null, longestCall: 0, longestWait: 0 };

/** Repeats a call that fails. Repeating is harmless here: it sets the same key to the same value. */
async function call(command) {
  const begun = performance.now();
  for (;;) {
    const called = performance.now();
    try {
      return await command();
    } catch (error) {
      seen.failed += 1;
      seen.firstError ??= `${error.name}: ${error.message}`;
      if (performance.now() - begun > GIVE_UP_MS) throw error;
    } finally {
      const now = performance.now();
      seen.longestCall = Math.max(seen.longestCall, now - called);
      seen.longestWait = Math.max(seen.longestWait, now - begun);
    }
    await sleep(50);
  }
}

const prefix = `${env.APP ?? "shop"}:record`;
const records = Number(env.RECORDS ?? 1000);
const pace = Number(env.PACE_MS ?? 0);
const db = connect();
db.on("error", () => {}); // the calls report it
const acknowledged = [];
let missing = null;
try {
  for (let number = 0; number < records; number += 1) {
    const value = `${Date.now()} ${randomBytes(8).toString("hex")}`;
    await call(() => db.set(`${prefix}:${number}`, value));
    acknowledged.push(value);
    if (pace > 0) await sleep(pace);
  }
  let different = 0;
  for (const [number, value] of acknowledged.entries()) {
    if ((await call(() => db.get(`${prefix}:${number}`))) !== value) different += 1;
  }
  missing = different;
} catch {
  // given up: the numbers show it
}
db.disconnect();
const { version } = createRequire(import.meta.url)("ioredis/package.json");
console.log(
  JSON.stringify({
    client: `ioredis ${version}`,
    records,
    acknowledged: acknowledged.length,
    missing,
    failed_calls: seen.failed,
    first_error: seen.firstError,
    longest_call_ms: Math.round(seen.longestCall),
    longest_wait_ms: Math.round(seen.longestWait),
  }),
);
process.exitCode = acknowledged.length === records && missing === 0 ? 0 : 1;
