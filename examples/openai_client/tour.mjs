// A tour of the routes with the official Node client.
//
//     npm install
//     npu-gateway serve --http
//     node tour.mjs [http://127.0.0.1:8642/v1 [KEY]]
//
// Each step prints one line. A step that finds something else than it should ends it.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL = "http://127.0.0.1:8642/v1", apiKey = "none"] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const text = "The tide is rising.";

const models = (await client.models.list()).data;
const [decoder, embedder] = ["generate", "embed"].map(
  (task) => models.find((one) => one.task === task).id,
);

async function all(stream) {
  const found = [];
  for await (const one of stream) found.push(one);
  return found;
}

const steps = {
  async models() {
    return (await client.models.retrieve(embedder)).id;
  },

  // The client asks for base64 by itself and decodes whatever comes: floats would become rubbish.
  async embeddings() {
    const packed = await client.embeddings.create({ model: embedder, input: text });
    const plain = await client.embeddings.create({ model: embedder, input: text, encoding_format: "float" });
    const [a, b] = [packed, plain].map((one) => one.data[0].embedding);
    assert.equal(a.length, b.length);
    a.forEach((value, at) => assert.ok(Math.abs(value - b[at]) < 1e-5));
    return `${a.length} dimensions`;
  },

  async chat() {
    const asked = { model: decoder, messages: [{ role: "user", content: "Count to three." }], max_completion_tokens: 8, temperature: 0 };
    const whole = await client.chat.completions.create(asked);
    const chunks = await all(await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } }));
    const told = chunks.map((one) => one.choices[0]?.delta.content ?? "").join("");
    assert.equal(told, whole.choices[0].message.content);
    assert.equal(chunks.at(-1).usage.total_tokens, whole.usage.total_tokens);
    return JSON.stringify(told);
  },

  async tools() {
    const parameters = { type: "object", properties: { place: { enum: ["Rome", "Oslo"] } }, required: ["place"], additionalProperties: false };
    const told = await client.chat.completions.create({
      model: decoder, messages: [{ role: "user", content: "The weather in Rome?" }], max_completion_tokens: 48, temperature: 0,
      tools: [{ type: "function", function: { name: "get_weather", parameters } }], tool_choice: "required",
    });
    const { name, arguments: given } = told.choices[0].message.tool_calls[0].function;
    assert.ok(["Rome", "Oslo"].includes(JSON.parse(given).place));
    return `${name}(${given})`;
  },

  async completions() {
    const asked = { model: decoder, prompt: "Once upon", max_tokens: 6, temperature: 0 };
    const whole = await client.completions.create(asked);
    const chunks = await all(await client.completions.create({ ...asked, stream: true }));
    assert.equal(chunks.map((one) => one.choices[0].text).join(""), whole.choices[0].text);
    return JSON.stringify(whole.choices[0].text);
  },

  async responses() {
    const asked = { model: decoder, input: "Count to three.", max_output_tokens: 16, temperature: 0 };
    const whole = await client.responses.create(asked);
    const events = await all(await client.responses.create({ ...asked, stream: true }));
    const told = events.filter((one) => one.type === "response.output_text.delta").map((one) => one.delta).join("");
    assert.equal(told, whole.output_text);
    assert.equal(events[0].type, "response.created");
    const counted = await client.responses.inputTokens.count({ model: decoder, input: asked.input });
    assert.equal(counted.input_tokens, whole.usage.input_tokens);
    return `${events.length} events`;
  },

  async vectorStores() {
    const store = (await client.vectorStores.list()).data[0];
    const files = (await client.vectorStores.files.list(store.id)).data;
    const found = (await client.vectorStores.search(store.id, { query: text })).data;
    assert.ok(found[0].content[0].text);
    return `${store.name}: ${files.length} files, best ${found[0].filename}`;
  },

  async failures() {
    await assert.rejects(client.chat.completions.create({ model: "none", messages: [{ role: "user", content: "Hi" }] }),
      (error) => error.status === 404 && error.code === "model_not_found");
    return "model_not_found";
  },
};

for (const [name, step] of Object.entries(steps)) console.log(name.padEnd(24), await step());
