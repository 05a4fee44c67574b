// The API-key plugin behind Node's own HTTP server, without its limit of rates. With DATABASE_URL its keys are in
// PostgreSQL, as is its default; without, in a map in memory, the fastest storage that it can have.
import { createServer } from "node:http";
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { getMigrations } from "better-auth/db/migration";
import pg from "pg";

const COUNT = Number(process.argv[2]);
const KEYS_EACH = 20;
const url = process.env.DATABASE_URL;
const stored = new Map();
const inMemory = {
  database: memoryAdapter({ user: [], session: [], account: [], verification: [], apikey: [] }),
  secondaryStorage: {
    get: async (key) => stored.get(key) ?? null,
    set: async (key, value) => void stored.set(key, value),
    delete: async (key) => void stored.delete(key),
  },
};
const auth = betterAuth({
  secret: "eo9aShoh2aiY5ohChai3Aeph0Ahphei7quieN4Ai",
  baseURL: "http://127.0.0.1",
  telemetry: { enabled: false },
  ...(url ? { database: new pg.Pool({ connectionString: url, max: 16 }) } : inMemory),
  plugins: [apiKey({ storage: url ? "database" : "secondary-storage", rateLimit: { enabled: false } })],
});
if (url) {
  await (await getMigrations(auth.options)).runMigrations();
}

const { internalAdapter } = await auth.$context;
const keys = [];
for (let user = 0; keys.length < COUNT; user += 1) {
  const { id } = await internalAdapter.createUser({ email: `${user}@example.com`, name: "peer", emailVerified: true });
  const made = await Promise.all(Array.from({ length: KEYS_EACH }, () => auth.api.createApiKey({ body: { userId: id } })));
  keys.push(...made.map(({ key }) => key));
}

const server = createServer(async (request, response) => {
  const { valid } = await auth.api.verifyApiKey({ body: { key: request.headers["x-api-key"] ?? "" } });
  response.writeHead(valid ? 204 : 401).end();
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => {
  const headers = keys.map((key) => `x-api-key: ${key}\r\n`);
  console.log(JSON.stringify({ port: server.address().port, path: "/verify", headers }));
});
