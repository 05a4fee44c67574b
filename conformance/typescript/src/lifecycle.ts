// Every operation on service tokens, on accounts and on zones, with the effect of each at the gate.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Cloudflare from 'cloudflare';
import { SECRET, UUID, YEAR, admitted, ask, create, fails, fromNow, get, live, owner, refused, scopes, seconds, tokens, update } from './live.js';
import type { Scope, Shown } from './live.js';

// The SDK knows refresh and rotate on accounts only; the zone's routes are asked for by path.
async function refresh(scope: Scope, path: string, id: string): Promise<Shown> {
  if (scope.account_id) return (await tokens.refresh(id, { account_id: scope.account_id })) as Shown;
  const answer = (await owner.client.post(`${path}/access/service_tokens/${id}/refresh`)) as { result: Shown };
  return answer.result;
}

async function rotate(scope: Scope, path: string, id: string, body: { previous_client_secret_expires_at?: string } = {}): Promise<Shown & { client_secret: string }> {
  const rotated = scope.account_id
    ? ((await tokens.rotate(id, { account_id: scope.account_id, ...body })) as Shown)
    : ((await owner.client.post(`${path}/access/service_tokens/${id}/rotate`, { body })) as { result: Shown }).result;
  assert.match(rotated.client_secret ?? '', SECRET);
  return rotated as Shown & { client_secret: string };
}

for (const { name, scope, path } of scopes) {
  describe(`${name} service tokens`, () => {
    test('create answers with the whole object and the secret', async () => {
      const created = await create(scope, { name: 'CI/CD token' });
      assert.match(created.id, UUID);
      assert.match(created.client_id, /^[0-9a-f]{32}\.access$/);
      assert.match(created.client_secret, SECRET);
      assert.equal(created.name, 'CI/CD token');
      assert.equal(created.duration, '8760h');
      assert.equal(created.enabled, true);
      assert.equal(created.client_secret_version, 1);
      assert.equal(seconds(created.expires_at) - seconds(created.created_at), YEAR);
      assert.equal(created.updated_at, created.created_at);
      assert.ok(!('previous_client_secret_expires_at' in created) && !('last_seen_at' in created));
      const last = owner.sent.at(-1);
      assert.equal(last?.status, 201);
      assert.deepEqual(last?.answer['messages'], []);
    });

    test('two tokens may have one name', async () => {
      const first = await create(scope, { name: 'twin' });
      const second = await create(scope, { name: 'twin' });
      assert.notEqual(first.id, second.id);
      assert.notEqual(first.client_id, second.client_id);
    });

    test('create takes a version, an end of the previous secret, a duration and enabled', async () => {
      const created = await create(scope, {
        client_secret_version: 2,
        previous_client_secret_expires_at: '2025-12-31T23:59:59Z',
        duration: '2h45m0.5s',
        enabled: false,
      });
      assert.equal(created.client_secret_version, 2);
      assert.equal(created.previous_client_secret_expires_at, '2025-12-31T23:59:59Z');
      assert.equal(created.duration, '2h45m0.5s');
      assert.equal(created.enabled, false);
      await refused(created, 'disabled');
    });

    test('forever has an end all the same', async () => {
      const created = await create(scope, { duration: 'forever' });
      assert.equal(created.duration, 'forever');
      assert.equal(seconds(created.expires_at) - seconds(created.created_at), 876_000 * 3600);
      await admitted(created);
    });

    test('a name is kept character for character', async () => {
      const odd = ' naïve \u{1F510} "quoted" \\ <b>\u200d ';
      const created = await create(scope, { name: odd });
      assert.equal(created.name, odd);
      assert.equal((await get(scope, created.id)).name, odd);
    });

    test('get answers with the object and never with the secret', async () => {
      const { client_secret, ...created } = await create(scope);
      assert.ok(client_secret);
      assert.deepEqual(await get(scope, created.id), created);
    });

    test('list holds the token, without its secret', async () => {
      const { client_secret, ...created } = await create(scope);
      const page = await tokens.list(scope);
      const listed = page.result as Shown[];
      assert.deepEqual(listed.find((token) => token.id === created.id), created);
      assert.ok(listed.every((token) => !('client_secret' in token) && Number.isInteger(token.client_secret_version)));
      const said = JSON.stringify(owner.sent.at(-1)?.answer);
      assert.ok(!said.includes(client_secret) && !said.includes('csec_'));
    });

    test('name is exact, search is anywhere in name, client id and id', async () => {
      const created = await create(scope, { name: `Deploy KEY for ${name}` });
      const ids = async (params: { name?: string; search?: string }): Promise<string[]> =>
        ((await tokens.list({ ...params, ...scope })).result as Shown[]).map((token) => token.id);
      assert.deepEqual(await ids({ name: `Deploy KEY for ${name}` }), [created.id]);
      assert.deepEqual(await ids({ name: `Deploy key for ${name}` }), []);
      assert.deepEqual(await ids({ name: 'Deploy KEY' }), []);
      assert.deepEqual(await ids({ search: `DEPLOY key FOR ${name}` }), [created.id]);
      assert.deepEqual(await ids({ search: created.client_id.slice(3, 25).toUpperCase() }), [created.id]);
      assert.deepEqual(await ids({ search: created.id.slice(4) }), [created.id]);
      assert.deepEqual(await ids({ search: 'no token is called so' }), []);
    });

    test('update merges: what is not sent stays', async () => {
      const { client_secret, ...created } = await create(scope, { duration: '24h' });
      const renamed = await update(scope, created.id, { name: 'renamed' });
      assert.deepEqual({ ...renamed, updated_at: created.updated_at }, { ...created, name: 'renamed' });
      assert.ok(seconds(renamed.updated_at) >= seconds(created.updated_at));
      assert.deepEqual(await update(scope, created.id, {}), renamed);
      const nulls = { name: null, duration: null, enabled: null, client_secret_version: null };
      assert.deepEqual(await update(scope, created.id, nulls), renamed);
      assert.deepEqual(await get(scope, created.id), renamed);
      await admitted({ ...created, client_secret });
    });

    test('update resets the end with a new duration only', async () => {
      const created = await create(scope);
      const longer = await update(scope, created.id, { duration: '17520h' });
      assert.equal(longer.duration, '17520h');
      assert.equal(seconds(longer.expires_at) - seconds(longer.updated_at), 2 * YEAR);
      const same = await update(scope, created.id, { duration: '17520h', name: 'same duration' });
      assert.equal(same.expires_at, longer.expires_at);
    });

    test('a higher version rotates once, and the old secret ends at once', async () => {
      const created = await create(scope);
      await admitted(created);
      const rotated = await update(scope, created.id, { client_secret_version: 2 });
      assert.match(rotated.client_secret ?? '', SECRET);
      assert.notEqual(rotated.client_secret, created.client_secret);
      assert.equal(rotated.client_secret_version, 2);
      assert.equal(rotated.client_id, created.client_id);
      assert.equal(rotated.expires_at, created.expires_at);
      const fresh = { client_id: rotated.client_id, client_secret: rotated.client_secret ?? '' };
      await refused(created, 'invalid');
      await admitted(fresh);
      for (const version of [2, 1, 0]) {
        const again = await update(scope, created.id, { client_secret_version: version });
        assert.ok(!('client_secret' in again), `version ${version} rotated again`);
        assert.equal(again.client_secret_version, 2);
      }
      await admitted(fresh);
    });

    test('a grace period admits both secrets until it is cut short', async () => {
      const created = await create(scope);
      const until = fromNow(3600);
      const rotated = await update(scope, created.id, { client_secret_version: 3, previous_client_secret_expires_at: until });
      assert.equal(rotated.client_secret_version, 3);
      assert.equal(rotated.previous_client_secret_expires_at, until);
      const fresh = { client_id: rotated.client_id, client_secret: rotated.client_secret ?? '' };
      await admitted(created);
      await admitted(fresh);
      const past = await update(scope, created.id, { previous_client_secret_expires_at: '2025-12-31T23:59:59Z' });
      assert.equal(past.previous_client_secret_expires_at, '2025-12-31T23:59:59Z');
      await refused(created, 'invalid');
      await admitted(fresh);
      await update(scope, created.id, { previous_client_secret_expires_at: until });
      await refused(created, 'invalid');
    });

    test('null takes the grace period away', async () => {
      const created = await create(scope);
      const rotated = await update(scope, created.id, { client_secret_version: 2, previous_client_secret_expires_at: fromNow(3600) });
      await admitted(created);
      const cleared = await update(scope, created.id, { previous_client_secret_expires_at: null });
      assert.ok(!('previous_client_secret_expires_at' in cleared));
      await refused(created, 'invalid');
      await admitted({ client_id: rotated.client_id, client_secret: rotated.client_secret ?? '' });
    });

    test('disabled refuses both secrets, enabled admits both again', async () => {
      const created = await create(scope);
      const rotated = await update(scope, created.id, { client_secret_version: 2, previous_client_secret_expires_at: fromNow(3600) });
      const fresh = { client_id: rotated.client_id, client_secret: rotated.client_secret ?? '' };
      const disabled = await update(scope, created.id, { enabled: false, name: 'off' });
      assert.deepEqual([disabled.enabled, disabled.name], [false, 'off']);
      await refused(created, 'disabled');
      await refused(fresh, 'disabled');
      assert.equal((await update(scope, created.id, { enabled: true })).enabled, true);
      await admitted(created);
      await admitted(fresh);
    });

    test('rotate without a body ends the old secret at once', async () => {
      const created = await create(scope);
      const rotated = await rotate(scope, path, created.id);
      assert.equal(rotated.client_secret_version, 2);
      assert.equal(rotated.client_id, created.client_id);
      assert.ok(seconds(rotated.previous_client_secret_expires_at ?? '') <= seconds(rotated.updated_at));
      await refused(created, 'invalid');
      await admitted(rotated);
    });

    test('rotate with a grace keeps two secrets, and never three', async () => {
      const first = await create(scope);
      const until = fromNow(24 * 3600);
      const second = await rotate(scope, path, first.id, { previous_client_secret_expires_at: until });
      assert.equal(second.previous_client_secret_expires_at, until);
      await admitted(first);
      await admitted(second);
      const third = await rotate(scope, path, first.id, { previous_client_secret_expires_at: until });
      assert.equal(third.client_secret_version, 3);
      await refused(first, 'invalid');
      await admitted(second);
      await admitted(third);
    });

    test('refresh gives a year from now, and takes nothing away', async () => {
      const short = await create(scope, { duration: '24h' });
      const { client_secret: none, ...refreshed } = await refresh(scope, path, short.id);
      assert.equal(none, undefined);
      assert.equal(seconds(refreshed.expires_at) - seconds(refreshed.updated_at), YEAR);
      assert.equal(refreshed.duration, '24h');
      await admitted(short);
      for (const duration of ['17520h', 'forever']) {
        const long = await create(scope, { duration });
        assert.equal((await refresh(scope, path, long.id)).expires_at, long.expires_at);
      }
    });

    test('delete answers with the object, and nothing is left', async () => {
      const { client_secret, ...created } = await create(scope);
      await admitted({ ...created, client_secret });
      const deleted = (await tokens.delete(created.id, scope)) as Shown;
      assert.equal(deleted.id, created.id);
      assert.ok(!('client_secret' in deleted));
      await refused({ ...created, client_secret }, 'invalid');
      const listed = (await tokens.list({ search: created.id, ...scope })).result;
      assert.deepEqual(listed, []);
      await fails(tokens.get(created.id, scope), Cloudflare.NotFoundError, 404, 12135);
      await fails(tokens.delete(created.id, scope), Cloudflare.NotFoundError, 404, 12135);
      await fails(tokens.update(created.id, { name: 'gone', ...scope }), Cloudflare.NotFoundError, 404, 12135);
    });

    test('the gate names the token that it admits', async () => {
      const created = await create(scope, { name: 'nämed 100%' });
      const answer = await ask(created, `zone_id=${live.zone_id}`);
      assert.equal(answer.status, 200);
      const said = (header: string): string | null => answer.headers.get(`countersign-${header}`);
      assert.equal(said('kind'), 'service_token');
      assert.equal(said('token-id'), created.id);
      assert.equal(said('client-id'), created.client_id);
      assert.equal(said('account-id'), live.account_id);
      assert.equal(said('zone-id'), scope.zone_id ?? null);
      assert.equal(said('token-name'), 'n%C3%A4med%20100%25');
    });
  });
}
