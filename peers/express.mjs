// The check as many write it: Express, a row found by its indexed client id, the secret's hash compared in constant time.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import express from "express";
import pg from "pg";

const COUNT = Number(process.argv[2]);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 16 });
const digest = (secret) => createHash("sha256").update(secret).digest();

await pool.query(`CREATE TABLE credential (client_id text PRIMARY KEY, digest bytea NOT NULL, enabled boolean NOT NULL,
  expires_at timestamptz NOT NULL, account_id text NOT NULL)`);
const credentials = Array.from({ length: COUNT }, () => [randomBytes(16).toString("hex"), randomBytes(32).toString("hex")]);
for (const [id, secret] of credentials) {
  await pool.query({
    name: "insert",
    text: "INSERT INTO credential VALUES ($1, $2, true, now() + interval '1 year', 'a')",
    values: [id, digest(secret)],
  });
}
await pool.query("ANALYZE credential");

const application = express();
application.disable("x-powered-by");
application.disable("etag");
application.get("/verify", async (request, response) => {
  const id = request.get("cf-access-client-id") ?? "";
  const found = await pool.query({
    // A named statement is prepared once on each connection.
    name: "find",
    text: "SELECT digest, enabled, expires_at, account_id FROM credential WHERE client_id = $1",
    values: [id],
  });
  const [row] = found.rows;
  const right = row && timingSafeEqual(row.digest, digest(request.get("cf-access-client-secret") ?? ""));
  const good = right && row.enabled && row.expires_at > new Date() && row.account_id === request.query.account_id;
  response.status(good ? 204 : 401).end();
});
const server = application.listen(0, "127.0.0.1", () => {
  const headers = credentials.map(([id, secret]) => `cf-access-client-id: ${id}\r\ncf-access-client-secret: ${secret}\r\n`);
  console.log(JSON.stringify({ port: server.address().port, path: "/verify?account_id=a", headers }));
});
server.keepAliveTimeout = 60_000;
