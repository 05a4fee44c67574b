// Judges assertions as an application would that knows the issuer, its audience, and nothing else: one a line comes in,
// and its claims or the code of the refusal go out.
import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [, , issuer, audience] = process.argv;
const keys = createRemoteJWKSet(new URL(`${issuer}/cdn-cgi/access/certs`));
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const { payload, protectedHeader } = await jwtVerify(line, keys, { issuer, audience, algorithms: ["RS256"] });
    console.log(JSON.stringify({ claims: payload, head: protectedHeader }));
  } catch (error) {
    console.log(JSON.stringify({ refused: error.code }));
  }
}
