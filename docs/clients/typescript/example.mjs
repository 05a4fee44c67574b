// Makes a service token, rotates it without an outage, and ends it; asks the gate after each step.
//
//   npm install
//   CLOUDFLARE_BASE_URL=http://127.0.0.1:8787/client/v4 CLOUDFLARE_API_TOKEN=csat_… CLOUDFLARE_ACCOUNT_ID=… npm start

import Cloudflare from "cloudflare";

// Reads CLOUDFLARE_BASE_URL and CLOUDFLARE_API_TOKEN. A program that must not repeat a create sets maxRetries: 0.
const client = new Cloudflare({ maxRetries: 0 });
const account_id = process.env.CLOUDFLARE_ACCOUNT_ID;
const gate = process.env.COUNTERSIGN_GATE ?? "http://127.0.0.1:8788";

/** What a proxy would be told about this pair. */
async function ask(what, clientId, clientSecret) {
  const answer = await fetch(`${gate}/verify?account_id=${account_id}`, {
    headers: { "CF-Access-Client-Id": clientId, "CF-Access-Client-Secret": clientSecret },
  });
  console.log(`${what}: ${answer.status} ${answer.headers.get("countersign-reason") ?? ""}`.trimEnd());
}

const tokens = client.zeroTrust.access.serviceTokens;

const first = await tokens.create({ account_id, name: "example", duration: "24h" });
await ask("created", first.client_id, first.client_secret);

const anHour = new Date(Date.now() + 60 * 60 * 1000).toISOString();
const second = await tokens.rotate(first.id, { account_id, previous_client_secret_expires_at: anHour });
await ask("rotated, old secret", first.client_id, first.client_secret);
await ask("rotated, new secret", first.client_id, second.client_secret);

// A time that has passed ends the grace period now.
await tokens.update(first.id, { account_id, previous_client_secret_expires_at: new Date().toISOString() });
await ask("grace ended, old secret", first.client_id, first.client_secret);

for await (const token of tokens.list({ account_id, name: "example" })) {
  console.log(`listed: ${token.id}, last seen ${token.last_seen_at}`);
}

await tokens.delete(first.id, { account_id });
await ask("deleted, new secret", first.client_id, second.client_secret);
