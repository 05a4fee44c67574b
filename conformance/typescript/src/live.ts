// The live server as the suite sees it: what was installed, clients whose requests are counted, and the gate.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import Cloudflare, { APIError } from 'cloudflare';
import type { ClientOptions } from 'cloudflare';

interface Place {
  account_id: string;
  zone_id: string;
  api_token: string;
}

interface Installation extends Place {
  management: string;
  gate: string;
  account_pfid: string;
  user_id: string;
  email: string;
  api_key: string;
  read_token: string;
  write_token: string;
  other: Place;
  crowd: Place;
}

const described = process.env['CONFORMANCE_INSTALLATION'];
assert.ok(described, 'CONFORMANCE_INSTALLATION names no file: run this suite through ./test');
export const live = JSON.parse(readFileSync(described, 'utf8')) as Installation;

export type Scope = { account_id: string; zone_id?: never } | { zone_id: string; account_id?: never };

export const scopes: { name: string; scope: Scope; path: string }[] = [
  { name: 'account', scope: { account_id: live.account_id }, path: `/accounts/${live.account_id}` },
  { name: 'zone', scope: { zone_id: live.zone_id }, path: `/zones/${live.zone_id}` },
];

// What a service token's answers may hold. The SDK's own types leave some of it out.
export interface Shown {
  id: string;
  client_id: string;
  client_secret?: string;
  name: string;
  duration: string;
  enabled: boolean;
  expires_at: string;
  created_at: string;
  updated_at: string;
  last_seen_at?: string;
  client_secret_version: number;
  previous_client_secret_expires_at?: string;
}

export interface Sent {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: Headers;
  status: number;
  answer: Record<string, unknown>;
}

export interface Recorded {
  client: Cloudflare;
  sent: Sent[];
}

// Holds for every answer of the dialect, so it is checked on every answer. Throwing here fails the call that asked.
function checkEnvelope(response: Response, answer: Record<string, unknown>): void {
  assert.match(response.headers.get('content-type') ?? '', /^application\/json/);
  assert.ok(response.headers.get('x-request-id'), 'x-request-id is missing');
  assert.equal(answer['success'], response.ok);
  assert.ok('result' in answer, 'result is missing');
  assert.ok(Array.isArray(answer['errors']) && Array.isArray(answer['messages']));
  if (response.ok) {
    assert.deepEqual(answer['errors'], []);
    return;
  }
  assert.equal(answer['result'], null);
  assert.ok(answer['errors'].length > 0, 'a failure without an error');
  for (const error of answer['errors'] as Record<string, unknown>[]) {
    assert.ok(Number.isInteger(error['code']) && Number(error['code']) >= 1000, 'code is no integer of 1000 or more');
    assert.equal(typeof error['message'], 'string');
  }
}

// A client that never retries, so that a second try can't hide a first failure.
export function connect(options: ClientOptions = {}): Recorded {
  const sent: Sent[] = [];
  const client = new Cloudflare({
    baseURL: `${live.management}/client/v4`,
    apiToken: null,
    apiKey: null,
    apiEmail: null,
    userServiceKey: null,
    maxRetries: 0,
    timeout: 30_000,
    ...options,
    fetch: async (input, init) => {
      const request = new Request(input as RequestInfo, init as RequestInit);
      const headers = new Headers(request.headers);
      const url = new URL(request.url);
      const response = await fetch(request);
      const answer = (await response.clone().json()) as Record<string, unknown>;
      sent.push({ method: request.method, path: url.pathname, query: url.searchParams, headers, status: response.status, answer });
      checkEnvelope(response, answer);
      return response;
    },
  });
  return { client, sent };
}

export const owner = connect({ apiToken: live.api_token });
export const tokens = owner.client.zeroTrust.access.serviceTokens;

// A token with a name of its own, as the owner makes it.
let made = 0;
export async function create(scope: Scope, params: Partial<Cloudflare.ZeroTrust.Access.ServiceTokenCreateParams> = {}): Promise<Shown & { client_secret: string }> {
  made += 1;
  const created = (await tokens.create({ name: `token ${made}`, ...params, ...scope })) as Shown;
  assert.ok(created.client_secret, 'create answered without a secret');
  return created as Shown & { client_secret: string };
}

export async function get(scope: Scope, id: string): Promise<Shown> {
  return (await tokens.get(id, scope)) as Shown;
}

export async function update(scope: Scope, id: string, params: Record<string, unknown>): Promise<Shown> {
  return (await tokens.update(id, { ...params, ...scope } as Cloudflare.ZeroTrust.Access.ServiceTokenUpdateParams)) as Shown;
}

export interface Answer {
  status: number;
  reason: string | null;
  headers: Headers;
}

// What the gate says to a pair, as a proxy would ask it.
export async function ask(pair: { client_id: string; client_secret: string }, demand = `account_id=${live.account_id}`): Promise<Answer> {
  const response = await fetch(`${live.gate}/verify?${demand}`, {
    headers: { 'CF-Access-Client-Id': pair.client_id, 'CF-Access-Client-Secret': pair.client_secret },
  });
  assert.equal(await response.text(), '');
  return { status: response.status, reason: response.headers.get('countersign-reason'), headers: response.headers };
}

export async function admitted(pair: { client_id: string; client_secret: string }): Promise<void> {
  const answer = await ask(pair);
  assert.deepEqual([answer.status, answer.reason], [200, null]);
}

export async function refused(pair: { client_id: string; client_secret: string }, reason: string): Promise<void> {
  const answer = await ask(pair);
  assert.deepEqual([answer.status, answer.reason], [401, reason]);
  assert.ok(answer.headers.get('www-authenticate'), 'WWW-Authenticate is missing');
}

// The error that a call ends in, with the class that the SDK gives it and the first code of the envelope.
export async function fails<E extends APIError>(
  call: PromiseLike<unknown>,
  kind: new (...arguments_: never[]) => E,
  status: number,
  code: number,
): Promise<E> {
  const error: unknown = await Promise.resolve(call).then(
    () => assert.fail(`succeeded, and should have failed with ${status}/${code}`),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof kind, `is ${String(error)}, not ${kind.name}`);
  assert.equal(error.constructor, kind);
  assert.deepEqual([error.status, error.errors[0]?.code], [status, code]);
  return error;
}

export const seconds = (text: string): number => {
  assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  return Date.parse(text) / 1000;
};

// A time of the server's own form, so many seconds from now.
export const fromNow = (offset: number): string => new Date(Date.now() + offset * 1000).toISOString().replace(/\.\d+Z$/, 'Z');

export const SECRET = /^csec_[0-9A-Za-z]{46}$/;
export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
export const YEAR = 8760 * 3600;
export const NOBODY = '00000000-0000-4000-8000-000000000000';
