// Takes the turns of turns.json, as an agent's host would, with the official TypeScript client.
//
//     npm install
//     python documents.py FOLDER
//     node turns.mjs modern FOLDER npu-gateway serve --root FOLDER --data-dir NEW
//
// Ends with a failure at the first turn that is not answered as it should be; prints how many
// characters each answer has in either channel, and whether they keep to their budgets. The era is
// modern (2026-07-28) or legacy (the handshake of before). turns.py is the same in Python.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const [era, place, command, ...args] = process.argv.slice(2);
const script = JSON.parse(readFileSync(new URL("turns.json", import.meta.url), "utf-8"));
const modes = { modern: { pin: "2026-07-28" }, legacy: "legacy" };
const almostForEver = 600_000;
const folder = realpathSync(place);

const files = readdirSync(folder, { recursive: true, withFileTypes: true });
const kept = {
  folder,
  count: files.filter((one) => one.isFile()).length,
  huge: "x".repeat(100_000),
  many: Array(100).fill("text"),
};

function filled(value) {
  if (Array.isArray(value)) return value.map(filled);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [filled(name), filled(one)]));
  }
  if (typeof value !== "string") return value;
  const whole = value.match(/^\$\{(\w+)\}$/);
  return whole ? kept[whole[1]] : value.replace(/\$\{(\w+)\}/g, (_, name) => kept[name]);
}

const at = (value, path) => path.split(".").reduce((part, name) => part?.[name], value) ?? null;

function allAt(value, path) {
  const [before, after] = path.split(".*.");
  return after === undefined ? [at(value, path)] : at(value, before).map((one) => at(one, after));
}

function seen(texts, data = null, meta = null, failed = false) {
  return { text: texts.join("\n"), parts: texts.length, data, meta, failed };
}

async function called(client, turn, given) {
  const told = [];
  const cancel = new AbortController();
  const options = { timeout: almostForEver, signal: cancel.signal };
  if (turn.progress || turn.cancel) {
    options.onprogress = (step) => {
      told.push(step);
      if (turn.cancel && step.total !== undefined) cancel.abort("enough");
    };
  }
  let result;
  try {
    result = await client.callTool({ name: turn.tool, arguments: given }, options);
  } catch (error) {
    if (cancel.signal.aborted) return seen([]);
    throw error;
  }
  assert.notEqual(turn.cancel, "must not be over");
  assert(told.length || !turn.progress, "no progress was told");
  const texts = result.content.map((part) => part.text);
  return seen(texts, result.structuredContent ?? null, result._meta, result.isError ?? false);
}

async function answer(client, turn) {
  const given = filled(turn.arguments ?? {});
  if (turn.tool) return called(client, turn, given);
  try {
    if (turn.resource) {
      const read = await client.readResource({ uri: filled(turn.resource) });
      return seen(read.contents.map((part) => part.text));
    }
    const got = await client.getPrompt({ name: turn.prompt, arguments: given });
    return seen(got.messages.map((message) => message.content.text));
  } catch (error) {
    if (typeof error.code !== "number") throw error;
    return seen([error.message], null, null, true);
  }
}

function check(turn, found) {
  const shown = `${turn.does}: ${found.text.slice(0, 500)}`;
  assert.equal(found.failed, "fails" in turn, shown);
  assert(!(found.failed && found.data), shown);
  for (const words of filled([...(turn.fails ?? []), ...(turn.holds ?? [])])) {
    assert(found.text.includes(words), `no ${words} in ${shown}`);
  }
  for (const words of turn.lacks ?? []) assert(!found.text.includes(words), `${words} in ${shown}`);
  for (const [path, value] of Object.entries(filled(turn.is ?? {}))) {
    assert.deepEqual(at(found, path), value, `${path} in ${shown}`);
  }
  for (const path of turn.both ?? []) {
    const values = allAt(found, path);
    assert(values.length, path);
    assert(values.every((one) => found.text.includes(one)), `${path} is not all in ${shown}`);
  }
  if (turn.json) assert.deepEqual(Object.keys(JSON.parse(found.text)).sort(), turn.json.toSorted());
  assert.match(found.text, new RegExp(turn.matches ?? ""));
}

async function take(client, turn, number) {
  const begin = performance.now();
  const isOver = (one) => Object.entries(turn.until ?? {}).every(([path, is]) => at(one, path) === is);
  let found = await answer(client, turn);
  while (!isOver(found)) {
    const patience = turn.seconds ?? script.stops_in_seconds;
    assert(performance.now() - begin < 1000 * patience, `${turn.does} lasts`);
    found = await answer(client, turn);
  }
  const seconds = (performance.now() - begin) / 1000;
  check(turn, found);
  for (const [name, path] of Object.entries(turn.keep ?? {})) {
    kept[name] = at(found, path);
    assert(kept[name], path);
  }
  for (const [name, pattern] of Object.entries(turn.find ?? {})) {
    kept[name] = Number(found.text.match(pattern)[1]);
  }
  const kind = found.failed ? "failure" : (turn.tool ?? ("resource" in turn ? "resource" : "prompt"));
  const data = found.data === null ? 0 : characters(JSON.stringify(found.data));
  const row = { number, does: turn.does, kind, text: characters(found.text), data, seconds };
  const most = turn.most ?? script.budgets[kind];
  assert(Math.max(row.text, row.data) <= most, `${JSON.stringify(row)} is over ${most} characters`);
  return row;
}

const characters = (text) => [...text].length;

async function takeAll(client) {
  const { tools } = await client.listTools();
  const facing = tools.map(({ name, description, inputSchema }) => ({ name, description, inputSchema }));
  const told = { number: "", data: 0, seconds: 0 };
  const rows = [
    { ...told, does: "is told what there is", kind: "tools", text: JSON.stringify(facing).length },
    {
      ...told,
      does: "is told how to use it",
      kind: "instructions",
      text: (client.getInstructions() ?? "").length,
    },
  ];
  for (const row of rows) assert(row.text > 0 && row.text <= script.budgets[row.kind], row.kind);
  for (const [place, turn] of script.turns.entries()) rows.push(await take(client, turn, place + 1));
  return rows;
}

function median(numbers) {
  const sorted = numbers.toSorted((one, other) => one - other);
  const last = sorted.length - 1;
  return (sorted[Math.floor(last / 2)] + sorted[Math.ceil(last / 2)]) / 2;
}

function print(rows) {
  const line = (number, does, kind, text, data, seconds) =>
    console.log(
      String(number).padStart(4), does.padEnd(32), kind.padEnd(17),
      String(text).padStart(7), String(data).padStart(7), seconds.padStart(8),
    );
  console.log(`TypeScript client, ${era} era`);
  line("", "turn", "kind", "text", "data", "seconds");
  for (const row of rows) {
    line(row.number, row.does, row.kind, row.text, row.data, row.seconds.toFixed(2));
  }
  const taken = rows.filter((row) => row.number);
  for (const [name, measure] of [["median", median], ["maximum", (all) => Math.max(...all)]]) {
    const text = measure(taken.map((row) => row.text));
    const data = measure(taken.map((row) => row.data));
    line("", name, "", text, data, "");
    if (name === "median") assert(Math.max(text, data) <= script.budgets.median);
  }
}

const client = new Client(
  { name: "agent-turns", version: "1.0.0" },
  { versionNegotiation: { mode: modes[era] } },
);
await client.connect(new StdioClientTransport({ command, args, env: process.env }));
try {
  print(await takeAll(client));
} finally {
  await client.close();
}
