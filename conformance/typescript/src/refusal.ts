// What goes wrong, as the SDK's error classes show it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Cloudflare from 'cloudflare';
import { NOBODY, admitted, connect, create, fails, get, live, owner, scopes, tokens, update } from './live.js';

for (const { name, scope, path } of scopes) {
  describe(`${name} refusals`, () => {
    test('an unknown id is not found, whatever is asked', async () => {
      for (const id of [NOBODY, 'not-a-uuid']) {
        const calls = [
          () => tokens.get(id, scope),
          () => tokens.update(id, { name: 'x', ...scope }),
          () => tokens.delete(id, scope),
          () => owner.client.post(`${path}/access/service_tokens/${id}/refresh`),
          () => owner.client.post(`${path}/access/service_tokens/${id}/rotate`),
        ];
        for (const call of calls) {
          const error = await fails(call(), Cloudflare.NotFoundError, 404, 12135);
          assert.match(error.errors[0]?.message ?? '', /^access\.api\.error\.not_found/);
        }
      }
    });

    test('a bad create makes nothing and names the field', async () => {
      const total = async (): Promise<unknown> => {
        await tokens.list({ per_page: 1, ...scope });
        return (owner.sent.at(-1)?.answer['result_info'] as Record<string, number>)['total_count'];
      };
      const before = await total();
      const bad: [Record<string, unknown>, string][] = [
        [{}, '/name'],
        [{ name: '' }, '/name'],
        [{ name: 5 }, '/name'],
        [{ name: 'x'.repeat(351) }, '/name'],
        [{ name: 'nul \u0000' }, '/name'],
        [{ name: 'x', duration: '1d' }, '/duration'],
        [{ name: 'x', duration: '' }, '/duration'],
        [{ name: 'x', duration: '-1h' }, '/duration'],
        [{ name: 'x', duration: 3600 }, '/duration'],
        [{ name: 'x', enabled: 'yes' }, '/enabled'],
        [{ name: 'x', client_secret_version: 1.5 }, '/client_secret_version'],
        [{ name: 'x', client_secret_version: -1 }, '/client_secret_version'],
        [{ name: 'x', previous_client_secret_expires_at: 'tomorrow' }, '/previous_client_secret_expires_at'],
      ];
      for (const [body, pointer] of bad) {
        const params = { ...body, ...scope } as unknown as Cloudflare.ZeroTrust.Access.ServiceTokenCreateParams;
        const error = await fails(tokens.create(params), Cloudflare.BadRequestError, 400, 12130);
        assert.match(error.errors[0]?.message ?? '', /^access\.api\.error\.invalid_request: ./);
        const source = (error.errors[0] as { source?: { pointer?: string } }).source;
        assert.equal(source?.pointer, pointer, JSON.stringify(body));
      }
      assert.equal(await total(), before);
    });

    test('a bad update changes nothing', async () => {
      const { client_secret, ...created } = await create(scope);
      for (const body of [{ duration: 'soon' }, { name: '' }, { previous_client_secret_expires_at: 'tomorrow' }, { client_secret_version: 2.5 }, { name: 'new', enabled: 1 }]) {
        await fails(update(scope, created.id, body), Cloudflare.BadRequestError, 400, 12130);
      }
      assert.deepEqual(await get(scope, created.id), created);
      await admitted({ ...created, client_secret });
    });

    test('a page that can\'t be is a bad request', async () => {
      for (const query of [{ per_page: 0 }, { page: 0 }, { page: -1 }, { page: 'x' }]) {
        await fails(owner.client.get(`${path}/access/service_tokens`, { query }), Cloudflare.BadRequestError, 400, 12130);
      }
    });

    test('a method that is not there is answered in the envelope', async () => {
      const error = await fails(owner.client.patch(`${path}/access/service_tokens/${NOBODY}`, { body: {} }), Cloudflare.APIError, 405, 7001);
      assert.equal(error.errors[0]?.message, 'Method PATCH not available for that URI.');
    });

    test('a read-only token reads, and does nothing else', async () => {
      const created = await create(scope);
      const { client, sent } = connect({ apiToken: live.read_token });
      const reader = client.zeroTrust.access.serviceTokens;
      assert.equal((await reader.get(created.id, scope)).id, created.id);
      assert.ok((await reader.list({ search: created.id, ...scope })).result.length === 1);
      const calls = [
        () => reader.create({ name: 'x', ...scope }),
        () => reader.update(created.id, { name: 'x', ...scope }),
        () => reader.delete(created.id, scope),
        () => client.post(`${path}/access/service_tokens/${created.id}/refresh`),
        () => client.post(`${path}/access/service_tokens/${created.id}/rotate`),
      ];
      for (const call of calls) {
        const error = await fails(call(), Cloudflare.PermissionDeniedError, 403, 10000);
        assert.equal(error.errors[0]?.message, 'Authentication error');
      }
      assert.equal(sent.length, 2 + calls.length);
      assert.equal((await get(scope, created.id)).name, created.name);
    });

    test('a token with the write permission alone reads and writes', async () => {
      const writer = connect({ apiToken: live.write_token }).client.zeroTrust.access.serviceTokens;
      const created = await writer.create({ name: 'written', ...scope });
      const id = created.id ?? '';
      assert.equal((await writer.get(id, scope)).name, 'written');
      assert.equal((await writer.delete(id, scope)).id, id);
    });

    test('another account\'s token gets nowhere', async () => {
      const created = await create(scope);
      const foreign = connect({ apiToken: live.other.api_token }).client.zeroTrust.access.serviceTokens;
      const calls = [
        () => foreign.get(created.id, scope),
        () => foreign.list(scope),
        () => foreign.create({ name: 'x', ...scope }),
        () => foreign.update(created.id, { name: 'x', ...scope }),
        () => foreign.delete(created.id, scope),
      ];
      for (const call of calls) await fails(call(), Cloudflare.PermissionDeniedError, 403, 10000);
      const elsewhere = scope.account_id ? { account_id: live.other.account_id } : { zone_id: live.other.zone_id };
      await fails(foreign.get(created.id, elsewhere), Cloudflare.NotFoundError, 404, 12135);
      assert.equal((await get(scope, created.id)).id, created.id);
    });
  });
}

describe('refusals', () => {
  test('an account\'s token is not its zone\'s, nor the other way', async () => {
    const account = { account_id: live.account_id };
    const zone = { zone_id: live.zone_id };
    const inAccount = await create(account);
    const inZone = await create(zone);
    await fails(tokens.get(inAccount.id, zone), Cloudflare.NotFoundError, 404, 12135);
    await fails(tokens.get(inZone.id, account), Cloudflare.NotFoundError, 404, 12135);
    assert.deepEqual((await tokens.list({ search: inZone.id, ...account })).result, []);
  });

  test('an SDK that would retry has nothing to retry', async () => {
    const { client, sent } = connect({ apiToken: live.read_token, maxRetries: 2 });
    const hopeless = client.zeroTrust.access.serviceTokens;
    const scope = { account_id: live.account_id };
    await fails(hopeless.get(NOBODY, scope), Cloudflare.NotFoundError, 404, 12135);
    await fails(hopeless.create({ name: 'x', ...scope }), Cloudflare.PermissionDeniedError, 403, 10000);
    await fails(client.patch(`/accounts/${live.account_id}/access/service_tokens`), Cloudflare.APIError, 405, 7001);
    assert.equal(sent.length, 3);
  });

  test('a path that leads nowhere says so', async () => {
    for (const path of ['/nowhere', `/accounts/${live.account_id}/access/nowhere`, '/accounts/short/access/service_tokens', `/zones//access/service_tokens/${NOBODY}`]) {
      const error = await fails(owner.client.get(path), Cloudflare.NotFoundError, 404, 7003);
      assert.match(error.errors[0]?.message ?? '', /^Could not route to .*, perhaps your object identifier is invalid\?$/);
      assert.deepEqual([error.errors[1]?.code, error.errors[1]?.message], [7000, 'No route for that URI']);
    }
  });

  test('a body that is no object, or no JSON, or too long', async () => {
    const path = `/accounts/${live.account_id}/access/service_tokens`;
    const raw = (text: string): Promise<unknown> => Promise.resolve(owner.client.post(path, { body: text, headers: { 'Content-Type': 'application/json' } }));
    for (const text of ['not json', '[]', '"name"', '{"name":"x"', '{"name":"x"}{"name":"y"}']) {
      await fails(raw(text), Cloudflare.BadRequestError, 400, 12130);
    }
    await fails(raw(JSON.stringify({ name: 'x', padding: 'y'.repeat(1 << 20) })), Cloudflare.APIError, 413, 12130);
  });
});
