// The page in headless Chromium, driven by the keyboard: training, tagging, a model from disk; both widths and schemes.
import assert from "node:assert";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const [page, model, hash, text, tagged] = process.argv.slice(2);
const shots = process.env.ELMAN_SHOTS, profile = mkdtempSync(join(tmpdir(), "elman-page-"));
const browser = spawn("chromium", ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
  "--remote-debugging-pipe", `--user-data-dir=${profile}`], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const timer = setTimeout(() => { console.error("no end after 15 minutes"); browser.kill("SIGKILL"); process.exit(1); }, 900_000);

// The protocol: JSON texts that end with a zero, on the browser's descriptors 3 and 4.
const waiting = new Map(), problems = [], requests = [];
let calls = 0, session, rest = "";
const send = (method, params = {}) => new Promise((resolve, reject) => {
  waiting.set(++calls, [resolve, reject, method]);
  browser.stdio[3].write(JSON.stringify({ id: calls, method, params, sessionId: session }) + "\0");
});
browser.stdio[4].setEncoding("utf8").on("data", data => {
  const messages = (rest + data).split("\0");
  rest = messages.pop();
  for (const { id, error, result, method, params } of messages.map(message => JSON.parse(message))) {
    if (id) {
      const [resolve, reject, called] = waiting.get(id);
      if (error) reject(new Error(`${called}: ${error.message}`)); else resolve(result);
    }
    if (method === "Runtime.exceptionThrown") problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Log.entryAdded" && params.entry.level === "error") problems.push(params.entry.text);
    if (method === "Network.requestWillBeSent") requests.push(params.request.url);
  }
});
const evaluate = async expression => {
  const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
  assert(!exceptionDetails, `${expression}: ${exceptionDetails?.exception?.description}`);
  return result.value;
};
const until = async (expression, what) => {
  for (const start = Date.now(); Date.now() - start < 600_000; await new Promise(done => setTimeout(done, 50))) {
    if (await evaluate(expression)) return;
    assert.deepEqual(problems, []);
  }
  assert.fail(`${what}: ${await evaluate("document.body.innerText")}`);
};
const key = async (name, code) => {
  const event = { key: name, code: name, windowsVirtualKeyCode: code, text: name === "Enter" ? "\r" : undefined };
  await send("Input.dispatchKeyEvent", { type: "keyDown", ...event });
  await send("Input.dispatchKeyEvent", { type: "keyUp", ...event, text: undefined });
};
const tabTo = async id => {
  for (let i = 0; i < 20; i++) {
    if (await evaluate("document.activeElement.id") === id) return;
    await key("Tab", 9);
  }
  assert.fail(`the tabulator does not lead to ${id}`);
};
const inner = id => evaluate(`document.getElementById(${JSON.stringify(id)}).textContent`);

const { targetId } = await send("Target.createTarget", { url: "about:blank" });
session = (await send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
for (const domain of ["Page", "Runtime", "Log", "Network", "DOM"]) await send(`${domain}.enable`);
await send("Network.emulateNetworkConditions", { offline: true, latency: 0, downloadThroughput: 0, uploadThroughput: 0 });
const show = async (width, scheme) => {
  await send("Emulation.setDeviceMetricsOverride", { width, height: 900, deviceScaleFactor: 1, mobile: width < 500 });
  await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
};
await show(1280, "light");
await send("Page.navigate", { url: `file://${resolve(page)}` });
await until("document.readyState === 'complete' && !!document.getElementById('train')", "the page");
assert.equal(await inner("native"), hash, "the native hash on the page is that of this program");

await tabTo("train");
const begun = Date.now();
await key("Enter", 13);
await until("/^yes|^no\\b|failed/.test(document.getElementById('equal').textContent + document.getElementById('status').textContent)", "a training");
const seconds = (Date.now() - begun) / 1000;
assert.equal(await inner("hash"), hash, await inner("status"));
assert.match(await inner("equal"), /^yes/);
assert.equal(await evaluate("document.querySelectorAll('#dots circle').length"), 20);
console.log(`${await inner("status")} (${seconds.toFixed(1)} s with the browser's)`);

// Its tags and probabilities are the program's.
const native = JSON.parse(readFileSync(tagged, "utf8"));
const compareTags = async () => {
  const found = await evaluate("[...document.querySelectorAll('#words li')].map(li => [li.querySelector('b').textContent, li.querySelector('span').textContent])");
  const expected = native.words.map((word, t) => [word, `${native.tags[t]} ${(100 * native.scores[t]).toFixed(1)}%`]);
  assert.deepEqual(found, expected);
};
await tabTo("text");
await evaluate("document.getElementById('text').select()");
await send("Input.insertText", { text });
await key("Enter", 13);
await until(`document.querySelectorAll('#words li').length === ${native.words.length}`, "tags");
await compareTags();
console.log(await inner("tag-status"));

// A model from disk.
await evaluate("document.getElementById('words').replaceChildren()");
const { root } = await send("DOM.getDocument");
const { nodeId } = await send("DOM.querySelector", { nodeId: root.nodeId, selector: "#files" });
await send("DOM.setFileInputFiles", { nodeId, files: readdirSync(model).map(name => resolve(model, name)) });
await until(`document.getElementById('load-status').textContent.includes("${hash}") && document.querySelectorAll('#words li').length > 0`, "a model from disk");
await compareTags();
// A broken one is refused with the file's name, and the page goes on.
await send("DOM.setFileInputFiles", { nodeId, files: [resolve(model, "config.toml")] });
await until("document.getElementById('load-status').textContent.includes('vocab.txt')", "the error of a broken model");

for (const width of [1280, 390]) for (const scheme of ["light", "dark"]) {
  await show(width, scheme);
  assert(await evaluate("document.documentElement.scrollWidth <= innerWidth"), `${width} pixels are too narrow`);
  if (shots) {
    const { data } = await send("Page.captureScreenshot", { captureBeyondViewport: true, clip: { x: 0, y: 0, width, height: await evaluate("document.documentElement.scrollHeight"), scale: 1 } });
    writeFileSync(join(shots, `${width}-${scheme}.png`), Buffer.from(data, "base64"));
  }
}
assert.deepEqual(problems, []);
assert.deepEqual(requests.filter(url => !/^(file|blob|data):/.test(url)), [], "the page asks nobody");
console.log(`the page trains to ${hash}, as elman train does`);
clearTimeout(timer);
browser.kill();
browser.once("exit", () => rmSync(profile, { recursive: true, force: true }));
