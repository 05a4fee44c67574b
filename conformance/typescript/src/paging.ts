// Automatic paging, with every request counted: one too few loses tokens, one too many may never end.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connect, live } from './live.js';
import type { Scope, Shown } from './live.js';

const CROWD = 2500;
const AT_ONCE = 50;

// As many tokens in the scope as wanted; resolves to their ids.
async function seed(scope: Scope, count: number): Promise<Set<string>> {
  const { client } = connect({ apiToken: live.crowd.api_token });
  const ids = new Set<string>();
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      next += 1;
      const created = await client.zeroTrust.access.serviceTokens.create({ name: `crowd ${next}`, ...scope });
      ids.add(created.id ?? '');
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  assert.equal(ids.size, count);
  return ids;
}

// Walks the whole list as a user of the SDK would; stops far beyond the end, should the end never come.
async function walk(scope: Scope, params: { per_page?: number; search?: string } = {}): Promise<{ listed: Shown[]; asked: (string | null)[] }> {
  const { client, sent } = connect({ apiToken: live.crowd.api_token });
  const listed: Shown[] = [];
  for await (const token of client.zeroTrust.access.serviceTokens.list({ ...params, ...scope })) {
    listed.push(token as Shown);
    assert.ok(listed.length <= 2 * CROWD, 'the list does not end');
  }
  for (const request of sent) {
    const info = request.answer['result_info'] as Record<string, number>;
    assert.deepEqual(Object.keys(info).sort(), ['count', 'page', 'per_page', 'total_count', 'total_pages']);
    assert.ok(Object.values(info).every(Number.isInteger));
    assert.equal(info['count'], (request.answer['result'] as unknown[]).length);
  }
  return { listed, asked: sent.map((request) => request.query.get('page')) };
}

function checkSame(listed: Shown[], ids: Set<string>): void {
  assert.equal(listed.length, ids.size);
  assert.deepEqual(new Set(listed.map((token) => token.id)), ids);
  for (const [index, token] of listed.entries()) {
    const before = listed[index - 1];
    assert.ok(!before || before.created_at <= token.created_at, 'the list is not in order of creation');
  }
}

describe('paging', () => {
  const account: Scope = { account_id: live.crowd.account_id };
  const zone: Scope = { zone_id: live.crowd.zone_id };

  test('an empty list is one empty page', async () => {
    const { listed, asked } = await walk(account);
    assert.deepEqual([listed, asked], [[], [null]]);
    const { client, sent } = connect({ apiToken: live.crowd.api_token });
    assert.deepEqual((await client.zeroTrust.access.serviceTokens.list(account)).result, []);
    assert.deepEqual(sent[0]?.answer['result_info'], { page: 1, per_page: 1000, count: 0, total_count: 0, total_pages: 1 });
  });

  test('2 500 account tokens come in four requests', async () => {
    const ids = await seed(account, CROWD);
    const { listed, asked } = await walk(account);
    assert.deepEqual(asked, [null, '2', '3', '4']);
    checkSame(listed, ids);
  });

  test('a smaller page asks as often as it must', async () => {
    const { listed, asked } = await walk(account, { per_page: 500 });
    assert.deepEqual(asked, [null, '2', '3', '4', '5', '6']);
    assert.equal(new Set(listed.map((token) => token.id)).size, CROWD);
  });

  test('a larger page is cut to a thousand', async () => {
    const { client, sent } = connect({ apiToken: live.crowd.api_token });
    const page = await client.zeroTrust.access.serviceTokens.list({ per_page: 5000, ...account });
    assert.equal(page.result.length, 1000);
    assert.deepEqual(sent[0]?.answer['result_info'], { page: 1, per_page: 1000, count: 1000, total_count: CROWD, total_pages: 3 });
  });

  test('a search is paged, too, and counted', async () => {
    const { listed, asked } = await walk(account, { search: 'CROWD 24', per_page: 50 });
    // crowd 24, 240 to 249 and 2400 to 2499
    assert.equal(listed.length, 111);
    assert.deepEqual(asked, [null, '2', '3', '4']);
  });

  test('zone tokens page apart from the account\'s', async () => {
    assert.deepEqual((await walk(zone)).listed, []);
    const ids = await seed(zone, 25);
    const { listed, asked } = await walk(zone, { per_page: 10 });
    assert.deepEqual(asked, [null, '2', '3', '4']);
    checkSame(listed, ids);
  });
});
