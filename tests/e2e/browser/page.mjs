// Drives the page. Arguments: the page's URL, a TARGET, a directory for pictures, the name of a job,
// the number of files that can be read. What the test has to
// do between two steps is written as one line to stdout, and done when a line comes back.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.BROWSER_MODULES}/`);
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");
const [url, target, pictures, hostile, files] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function ask(what) {
  console.log(what);
  await lines.next();
}

const args = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split(" ");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, bypassCSP: false });
const page = await context.newPage();
page.setDefaultTimeout(30000);
const faults = [];
page.on("pageerror", (error) => faults.push(String(error)));
page.on("dialog", (dialog) => { faults.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
page.on("console", (said) => { if (said.type() === "error" && !/Failed to load resource/.test(said.text())) faults.push(said.text()); });
page.on("request", (asked) => { if (!asked.url().startsWith(url)) faults.push(`asked elsewhere: ${asked.url()}`); });

const text = (selector) => page.locator(selector).innerText();
const state = (wanted) => page.waitForFunction((name) => document.querySelector("#job-state").textContent === name, wanted);
const number = async (name) => page.evaluate((label) => [...document.querySelectorAll("#job dt")].find((term) => term.textContent === label).nextSibling.textContent, name);
const items = async () => Object.fromEntries(await page.evaluate(() => [...document.querySelectorAll("#items dt")].map((term) => [term.textContent, Number(term.nextSibling.textContent)])));
function expect(good, what) { if (!good) throw new Error(what); }

async function judge(where) {
  const judged = await context.newPage(); // axe is no part of the page: its policy would not let it in
  await judged.close();
  const source = require("node:fs").readFileSync(axe, "utf8");
  const session = await context.newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: source });
  const { result } = await session.send("Runtime.evaluate", { expression: "axe.run().then((found) => JSON.stringify(found.violations.map((one) => [one.impact, one.id, one.nodes.map((node) => node.html.slice(0, 200)).slice(0, 3)])))", awaitPromise: true, returnByValue: true });
  const found = JSON.parse(result.value).filter(([impact]) => ["serious", "critical"].includes(impact));
  expect(!found.length, `axe on ${where}: ${JSON.stringify(found)}`);
}

async function takePictures(name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [400, 1280, 1600]) {
      await page.setViewportSize({ width, height: 900 });
      await page.evaluate(() => new Promise((resume) => requestAnimationFrame(() => requestAnimationFrame(resume))));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(wide <= 0, `${name} at ${width} is ${wide} pixels too wide`);
      await page.screenshot({ path: `${pictures}/${name}-${width}-${colorScheme}.png`, fullPage: true });
      if (width !== 1280) await judge(`${name}, ${width}, ${colorScheme}`);
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1280, height: 900 });
}

try {
  await page.goto(url);
  await page.locator("#connection", { hasText: "live" }).waitFor();
  // Submit, with the keyboard alone.
  await page.locator("#new").focus();
  await page.keyboard.press("Enter");
  await page.keyboard.type(target);
  await page.keyboard.press("Tab");
  await page.locator("#submit [name=name]").fill(hostile);
  await page.locator("#submit [name=bandwidth]").fill("4MB/s");
  await page.keyboard.press("Enter");
  await state("warming");
  // Watch.
  await page.waitForFunction(() => document.querySelectorAll("#workers tbody tr").length === 2);
  await page.waitForFunction(() => parseInt(document.querySelector("#job-numbers dd").textContent, 10) > 0);
  await page.waitForFunction(() => document.querySelectorAll(".u-over").length === 3);
  expect((await text("#job-name")).includes("<img"), "the name is not shown as it is");
  expect(!(await text("#job-name")).match(/[\u202e\u0007]/), "a control character got through");
  expect((await page.locator("main img, main script, main b").count()) === 0, "a name became markup");
  expect((await number("limit")) === "4.0 MB/s", `limit ${await number("limit")}`);
  // Limit it, first in words that make no sense.
  await page.locator("[data-act=limit]").click();
  await page.locator("#limit [name=bandwidth]").fill("fast");
  await page.keyboard.press("Enter");
  await page.locator("#limit .fault", { hasText: "not a valid rate" }).waitFor();
  await page.locator("#limit [name=bandwidth]").fill("00:00-24:00=24Mbit,=1Gbit");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#job-hours").textContent === "Limit: 00:00-24:00 3.0 MB/s, else 125 MB/s.");
  // Pause, and resume.
  await page.locator("[data-act=pause]").click();
  await state("paused");
  await page.locator("[data-act=resume]").click();
  await state("warming");
  await takePictures("job");
  // A worker is killed while both hold items: it is shown as lost, with nothing in hand.
  await page.waitForFunction(() => [...document.querySelectorAll("#workers tbody tr")].filter((row) => Number(row.children[3].textContent) > 0).length === 2);
  const before = await items();
  const all = before.done + before.poison + before.waiting + before.leased;
  await ask("kill a worker");
  await page.waitForFunction(() => [...document.querySelectorAll("#workers tbody tr.away")].some((row) => row.firstChild.firstChild.textContent === "first" && row.textContent.includes("lost") && row.children[3].textContent === "–"), null, { timeout: 40000 });
  await page.waitForFunction(() => [...document.querySelectorAll("#workers tbody tr:not(.away)")].some((row) => row.firstChild.firstChild.textContent === "second" && Number(row.children[3].textContent) > 0));
  await takePictures("lost");
  // The broker goes away for a while: the page says so, and what it shows stays.
  await ask("take the broker away");
  await page.locator("#alert", { hasText: "The broker does not answer" }).waitFor();
  expect(await page.locator("#job-name").isVisible(), "what was known is gone");
  await takePictures("away");
  await ask("bring the broker back");
  await page.locator("#alert").waitFor({ state: "hidden" });
  // Without its limit it is seen to its end: what the killed worker held was taken over by the other, each file counts once.
  await page.locator("[data-act=limit]").click();
  await page.locator("#limit [name=bandwidth]").fill("none");
  await page.keyboard.press("Enter");
  await state("completed with errors");
  const after = await items();
  expect(after.waiting + after.leased === 0 && after.done + after.poison === all, `items ${JSON.stringify([before, after])}`);
  expect((await number("files read")) === files, `${await number("files read")} files were read, not ${files}`);
  expect((await number("failed files")) === "1", `${await number("failed files")} files failed`);
  const denied = (await text("#failures tbody tr td.path")).trim();
  expect(denied.endsWith(`a<script>alert(2)\\u202egnp\\x1b[2J\\x0a"'&lt;\\u2028`), `a file's name is shown as ${JSON.stringify(denied)}`);
  await page.locator("[data-act=verify]").click();
  await page.waitForFunction(() => { // in words or in numbers: a plain server keeps nothing that could be told from its origin
    const [said, told] = [document.querySelector("#verified p"), document.querySelector("#verified dl")];
    return said.offsetParent && !said.textContent.startsWith("Reading") && (said.textContent || told.children.length);
  });
  await takePictures("end");
  // Another one is cancelled, after a question.
  await page.locator("nav a").click();
  await page.locator("#new").click();
  await page.locator("#submit [name=target]").fill(target);
  await page.locator("#submit [name=include]").fill("f*");
  await page.locator("#submit [name=bandwidth]").fill("1MB/s");
  await page.locator("#submit .primary").click();
  await state("warming");
  await page.locator("[data-act=cancel]").click();
  await page.locator("#sure button[value=no]").click();
  expect((await text("#job-state")) === "warming", "it was cancelled though that was denied");
  await page.locator("[data-act=cancel]").click();
  await page.locator("#sure button[value=yes]").click();
  await state("cancelled");
  await page.locator("nav a").click();
  await page.waitForFunction(() => document.querySelectorAll("#jobs tbody tr").length === 2);
  await takePictures("list");
  expect(!faults.length, faults.join("; "));
  console.log("done");
} catch (error) {
  await page.screenshot({ path: `${pictures}/fault.png`, fullPage: true });
  console.log(`fault: ${error.stack} ${faults.join("; ")}`.replaceAll("\n", " | "));
} finally {
  await browser.close();
}
process.exit(0);
