// The official OpenAI client for Node, unchanged but for baseURL: one plain request and one stream.
// usage: node client.mjs BASE_URL MODEL NODE_MODULES stream|plain; tells what it saw as JSON.
import { createRequire } from "node:module";

const [baseURL, model, modules, how] = process.argv.slice(2);
const { OpenAI } = createRequire(modules + "/")("openai");
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, timeout: 60000 });
const began = performance.now();
let first;
const { data, response } = await client.chat.completions
  .create({
    model,
    max_tokens: 20,
    messages: [{ role: "user", content: "Say hello." }],
    stream: how === "stream",
  })
  .withResponse();
let said = data.model;
if (how === "stream") {
  for await (const chunk of data) {
    if (first === undefined && chunk.choices[0]?.delta?.content) first = performance.now();
    said = chunk.model;
  }
}
console.log(JSON.stringify({
  status: response.status,
  headers: Object.fromEntries(response.headers),
  model: said,
  seconds: ((first ?? performance.now()) - began) / 1000,
}));
