// The official Node client against BASE_URL with MODEL: whole, streamed, an error, the list of
// models; what it saw as one JSON line. usage: node client.mjs BASE_URL MODEL NODE_MODULES
import { createRequire } from "node:module";

const [baseURL, model, modules] = process.argv.slice(2);
const { OpenAI } = createRequire(modules + "/")("openai");
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, timeout: 50000 });
const ask = { model, max_tokens: 5, messages: [{ role: "user", content: "Tell me a story." }] };

const whole = await client.chat.completions.create(ask).withResponse();
const stream = await client.chat.completions.create({ ...ask, stream: true }).withResponse();
let pieces = 0;
for await (const chunk of stream.data) {
  if (chunk.choices[0]?.delta?.content) pieces++;
}
let error = null;
try {
  await client.chat.completions.create({ ...ask, model: "nobody" });
} catch (e) {
  error = { status: e.status, code: e.code };
}
const models = [];
for await (const m of client.models.list()) models.push(m.id);
console.log(JSON.stringify({
  whole: {
    server: whole.response.headers.get("x-sim-name"),
    model: whole.data.model,
    tokens: whole.data.usage.completion_tokens,
  },
  stream: { server: stream.response.headers.get("x-sim-name"), pieces },
  error,
  models,
}));
