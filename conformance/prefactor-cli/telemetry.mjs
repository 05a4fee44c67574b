// A program that is watched by @prefactor/core, on a server that takes no telemetry: it must run to its end all the same.
// Writes what its HTTP client was told, one JSON document.

import { createCore, HttpClient, HttpClientError, HttpTransportConfigSchema, shutdown } from '@prefactor/core';

const httpConfig = {
  apiUrl: process.env.PREFACTOR_API_URL,
  apiToken: process.env.PREFACTOR_API_TOKEN,
  agentId: process.env.PREFACTOR_AGENT_ID,
  agentIdentifier: '1.0.0',
  initialRetryDelay: 1,
};
const client = new HttpClient(HttpTransportConfigSchema.parse(httpConfig));
const said = { ping: await client.request('/api/v1/ping') };

const core = createCore({ httpConfig });
core.agentManager.registerSchema({ external_identifier: '1.0.0', span_schemas: {} });
core.agentManager.startInstance();
const span = core.tracer.startSpan({ name: 'work', spanType: 'agent', inputs: {} });
core.tracer.endSpan(span, { outputs: { done: true } });
core.agentManager.finishInstance();
await core.shutdown();
await shutdown?.();

for (const [name, path, options] of [
  ['absent', '/api/v1/agent_instance/register', { method: 'POST', body: {} }],
  ['invalid', '/api/v1/pfid/generate', { method: 'POST', body: { count: 0 } }],
]) {
  try {
    await client.request(path, options);
  } catch (error) {
    const { status, retryable, responseBody } = error;
    said[name] = { isOurs: error instanceof HttpClientError, status, retryable, code: responseBody.code };
  }
}
console.log(JSON.stringify(said));
