// Who asks: API tokens, e-mail with the global key, both at once, neither, and what they may find out about themselves.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Cloudflare from 'cloudflare';
import { connect, fails, live, scopes } from './live.js';
import type { Recorded, Scope } from './live.js';

// Every operation that the SDK has, as one caller.
async function useAll({ client }: Recorded, scope: Scope): Promise<void> {
  const used = client.zeroTrust.access.serviceTokens;
  const created = await used.create({ name: 'of this caller', ...scope });
  const id = created.id ?? '';
  assert.equal((await used.get(id, scope)).id, id);
  assert.deepEqual((await used.list({ search: id, ...scope })).result.map((token) => token.id), [id]);
  assert.equal((await used.update(id, { name: 'renamed', ...scope })).name, 'renamed');
  if (scope.account_id) {
    assert.equal((await used.refresh(id, { account_id: scope.account_id })).id, id);
    assert.ok((await used.rotate(id, { account_id: scope.account_id })).client_secret);
  }
  assert.equal((await used.delete(id, scope)).id, id);
}

const byKey = { apiEmail: live.email, apiKey: live.api_key };
const unknown = `csat_${'0'.repeat(46)}`;

describe('callers', () => {
  for (const { name, scope } of scopes) {
    test(`an API token manages ${name} tokens`, async () => {
      await useAll(connect({ apiToken: live.api_token }), scope);
    });

    test(`e-mail and global key manage ${name} tokens`, async () => {
      const recorded = connect(byKey);
      await useAll(recorded, scope);
      assert.ok(recorded.sent.every(({ headers }) => !headers.has('authorization') && headers.has('x-auth-key')));
    });

    test(`an empty bearer beside e-mail and key is no bearer, on ${name} tokens`, async () => {
      const recorded = connect({ apiToken: '', ...byKey });
      await useAll(recorded, scope);
      assert.ok(recorded.sent.every(({ headers }) => headers.get('authorization')?.trim() === 'Bearer'));
    });

    test(`a bare origin serves ${name} tokens as well`, async () => {
      const recorded = connect({ apiToken: live.api_token, baseURL: live.management });
      await useAll(recorded, scope);
      assert.ok(recorded.sent.every(({ path }) => !path.startsWith('/client/v4')));
    });
  }

  test('the key\'s owner may use accounts that were made later', async () => {
    const { client } = connect(byKey);
    assert.deepEqual((await client.zeroTrust.access.serviceTokens.list({ account_id: live.other.account_id })).result, []);
  });

  test('a bearer decides alone, whatever stands beside it', async () => {
    const scope = { account_id: live.account_id };
    const garbage = { apiEmail: 'nobody@example.com', apiKey: 'f'.repeat(37) };
    await connect({ apiToken: live.api_token, ...garbage }).client.zeroTrust.access.serviceTokens.list(scope);
    const { client } = connect({ apiToken: unknown, ...byKey });
    await fails(client.zeroTrust.access.serviceTokens.list(scope), Cloudflare.AuthenticationError, 401, 10000);
  });

  test('each way to fail to say who one is has its own code', async () => {
    const list = (options: Parameters<typeof connect>[0]): PromiseLike<unknown> =>
      connect(options).client.zeroTrust.access.serviceTokens.list({ account_id: live.account_id });

    const anonymous = await fails(list({ defaultHeaders: { 'X-Conformance': 'anonymous' } }), Cloudflare.BadRequestError, 400, 9106);
    assert.equal(anonymous.errors[0]?.message, 'Missing X-Auth-Key, X-Auth-Email or Authorization headers');
    await fails(list({ apiEmail: live.email }), Cloudflare.BadRequestError, 400, 9106);
    await fails(list({ apiToken: '' }), Cloudflare.BadRequestError, 400, 9106);

    const malformed = await fails(list({ apiToken: 'abc-def' }), Cloudflare.BadRequestError, 400, 6003);
    const chain = (malformed.errors[0] as { error_chain?: { code: number; message: string }[] }).error_chain;
    assert.deepEqual([malformed.errors[0]?.message, chain?.[0]?.code, chain?.[0]?.message], ['Invalid request headers', 6111, 'Invalid format for Authorization header']);
    await fails(list({ defaultHeaders: { Authorization: 'Basic dXNlcjpwYXNz' } }), Cloudflare.BadRequestError, 400, 6003);

    const stranger = await fails(list({ apiToken: unknown }), Cloudflare.AuthenticationError, 401, 10000);
    assert.equal(stranger.errors[0]?.message, 'Authentication error');

    const wrongKey = await fails(list({ apiEmail: live.email, apiKey: '0'.repeat(37) }), Cloudflare.PermissionDeniedError, 403, 9103);
    assert.equal(wrongKey.errors[0]?.message, 'Unknown X-Auth-Key or X-Auth-Email');
    await fails(list({ apiEmail: 'nobody@example.com', apiKey: live.api_key }), Cloudflare.PermissionDeniedError, 403, 9103);
  });

  test('verify knows a user\'s token from an account\'s', async () => {
    const user = connect({ apiToken: live.api_token });
    const verified = await user.client.user.tokens.verify();
    assert.match(verified.id, /^[0-9a-f]{32}$/);
    assert.equal(verified.status, 'active');
    assert.deepEqual(user.sent[0]?.answer['messages'], [{ code: 10000, message: 'This API Token is valid and active', type: null }]);

    const account = connect({ apiToken: live.read_token });
    const own = await account.client.accounts.tokens.verify({ account_id: live.account_id });
    assert.equal(own.status, 'active');
    const foreign = await fails(account.client.user.tokens.verify(), Cloudflare.AuthenticationError, 401, 1000);
    assert.equal(foreign.errors[0]?.message, 'Invalid API Token');
    await fails(connect({ apiToken: unknown }).client.user.tokens.verify(), Cloudflare.AuthenticationError, 401, 1000);
    await fails(connect({ apiToken: 'abc-def' }).client.user.tokens.verify(), Cloudflare.BadRequestError, 400, 6003);
    const keyed = await fails(connect(byKey).client.user.tokens.verify(), Cloudflare.BadRequestError, 400, 1001);
    assert.equal(keyed.errors[0]?.message, 'Missing "Authorization" header');
  });

  test('a caller finds its ids, and nobody else\'s', async () => {
    const { client } = connect({ apiToken: live.read_token });
    const accounts = [];
    for await (const account of client.accounts.list()) accounts.push(account.id);
    assert.deepEqual(accounts, [live.account_id]);
    const account = await client.accounts.get({ account_id: live.account_id });
    assert.deepEqual([account.id, account.type], [live.account_id, 'standard']);

    const zones = [];
    for await (const zone of client.zones.list()) zones.push(zone.id);
    assert.deepEqual(zones, [live.zone_id]);
    const zone = await client.zones.get({ zone_id: live.zone_id });
    assert.deepEqual([zone.id, zone.status, zone.account.id], [live.zone_id, 'active', live.account_id]);

    const user = (await connect({ apiToken: live.api_token }).client.user.get()) as { id: string; email?: string };
    assert.deepEqual([user.id, user.email], [live.user_id, live.email]);
    await fails(client.user.get(), Cloudflare.PermissionDeniedError, 403, 9109);
  });

  test('the key\'s owner sees every account', async () => {
    const seen = new Set<string>();
    for await (const account of connect(byKey).client.accounts.list()) seen.add(account.id);
    for (const id of [live.account_id, live.other.account_id, live.crowd.account_id]) assert.ok(seen.has(id));
  });
});
