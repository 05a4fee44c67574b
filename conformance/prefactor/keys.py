"""Idempotency: what a client repeats, and what it meant only once."""

from prefactor_http.models.bulk import BulkItem, BulkRequest

from api import NOBODY, Case, from_now, key
from installation import LIVE


class Keys(Case):
    async def clash(self, call):
        return await self.clashes("idempotency_key_already_used", call)

    def replayed(self):
        return self.sent[-1].replied["Idempotency-Replayed"]

    async def count(self, client=None):
        return (await self.listed(client, page_size=1)).pagination.item_count

    async def listed(self, client=None, page_size=100, **params):
        return await super().listed(client, **{"pagination[page_size]": page_size, **params})

    async def test_a_create_is_made_once(self):
        used, before = key(), await self.count()
        first, token = await self.create(idempotency_key=used)
        self.assertIsNone(self.replayed())
        self.assertEqual(await self.create(idempotency_key=used), (first, token))
        self.assertEqual(self.replayed(), "true")
        self.assertEqual(await self.count(), before + 1)
        await self.admitted(token)

    async def test_the_key_in_each_place(self):
        details = {"details": {"token_scope": "account"}}
        for place in ({"idempotency_key": key()}, {"params": {"idempotency_key": key()}}):
            answers = [await self.call("POST", "/api_token", details, **place) for _ in range(2)]
            self.assertEqual(answers[0], answers[1])
            self.assertEqual(self.replayed(), "true")
        same = key()
        answers = [await self.call("POST", "/api_token", details, idempotency_key=same),
                   await self.call("POST", "/api_token", details, idempotency_key=f'"{same}"'),
                   await self.call("POST", "/api_token", {**details, "idempotency_key": same}),
                   await self.call("POST", "/api_token", details, params={"idempotency_key": same}, idempotency_key=same)]
        self.assertEqual(answers, answers[:1] * 4)
        await self.invalid(self.call("POST", "/api_token", {**details, "idempotency_key": key()}, idempotency_key=key()),
                           "invalid_value", "idempotency_key")

    async def test_a_key_with_another_meaning(self):
        used = key()
        first, token = await self.create(idempotency_key=used)
        before = await self.count()
        await self.clash(self.create(idempotency_key=used, expires_at=from_now(days=3).isoformat()))
        await self.clash(self.act("suspend", first.id, idempotency_key=used))
        await self.clash(self.make_environment(used))
        self.assertEqual(await self.count(), before)
        self.assertEqual(await self.show(first.id), first)
        await self.admitted(token)

    async def make_environment(self, used, client=None):
        return await self.call("POST", "/environment", {"details": {"name": "keyed"}, "idempotency_key": used}, client)

    async def test_anothers_key(self):
        used = key()
        first, token = await self.create(idempotency_key=used)
        _, second = await self.create()
        error = await self.clash(self.create(self.connect(second), idempotency_key=used))
        self.assertNotIn(token, str(error))
        other = self.connect(LIVE.other.account_token)
        theirs, _ = await self.create(other, idempotency_key=used)
        self.assertNotEqual(theirs.id, first.id)

    async def test_the_same_request_written_differently(self):
        used = key()
        expires_at = from_now(days=3).isoformat()
        first = await self.call("POST", "/api_token", {"details": {"token_scope": "account", "expires_at": expires_at},
                                                       "idempotency_key": used})
        again = await self.call("POST", "/api_token", {"idempotency_key": used,
                                                       "details": {"expires_at": expires_at, "token_scope": "account"}})
        self.assertEqual(again, first)

    async def test_a_failed_create_leaves_the_key_free(self):
        used = key()
        await self.invalid(self.create(idempotency_key=used, token_scope="galaxy"), "invalid_value", "details", "token_scope")
        await self.absent(self.create(idempotency_key=used, token_scope="environment", environment_id=NOBODY))
        await self.create(idempotency_key=used)
        self.assertIsNone(self.replayed())

    async def test_actions(self):
        created, token = await self.create()
        used = key()
        suspended = await self.act("suspend", created.id, idempotency_key=used)
        self.assertEqual(await self.act("suspend", created.id, idempotency_key=used), suspended)
        await self.act("activate", created.id)
        self.assertEqual(await self.act("suspend", created.id, idempotency_key=used), suspended)
        self.assertEqual((await self.show(created.id)).status, "active")
        await self.admitted(token)
        await self.clash(self.act("revoke", created.id, idempotency_key=used))

    async def test_a_delete_that_is_repeated(self):
        for place in ("body", "header", "query"):
            created, _ = await self.create()
            await self.act("revoke", created.id)
            used = key()
            sent = {"body": {"body": {"idempotency_key": used}}, "header": {"idempotency_key": used},
                    "query": {"params": {"idempotency_key": used}}}[place]
            answers = [await self.call("DELETE", f"/api_token/{created.id}", **sent) for _ in range(3)]
            self.assertEqual(answers, answers[:1] * 3)
            self.assertEqual(self.replayed(), "true")
            await self.absent(self.delete(created.id))

    async def test_a_replay_after_the_row_changed(self):
        used = key()
        first, token = await self.create(idempotency_key=used)
        await self.act("revoke", first.id)
        await self.delete(first.id)
        self.assertEqual(await self.create(idempotency_key=used), (first, token))
        await self.refused(token, "invalid")

    async def test_keys_that_are_none(self):
        for bad in ("", "x" * 65, 5, {}, []):
            with self.subTest(key=bad):
                body = {"details": {"token_scope": "account"}, "idempotency_key": bad}
                await self.invalid(self.call("POST", "/api_token", body), "invalid_value", "idempotency_key")
        await self.call("POST", "/api_token", {"details": {"token_scope": "account"}, "idempotency_key": None})
        for good in ("x" * 64, "ключ", "1"):
            await self.call("POST", "/environment", {"details": {"name": "keyed"}, "idempotency_key": good})


class LostAnswers(Case):
    """The server did it, and its answer never came: the SDK asks again with the same key."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.stubborn = self.connect(self.account_token, max_retries=3)

    async def repeated(self, call, lost=2):
        """The SDK's answer to a call whose first answers are lost, after checking that it said the same each time."""
        self.sent.clear()
        self.relay.lose(lost)
        answer = await call
        self.assertEqual(len(self.sent), lost + 1)
        self.assertEqual(len({(sent.method, sent.path, sent.query, sent.body, sent.headers["Idempotency-Key"])
                              for sent in self.sent}), 1)
        self.assertEqual([sent.status for sent in self.sent], [200] * (lost + 1))
        return answer

    def check_replays(self):
        self.assertEqual([sent.replied["Idempotency-Replayed"] for sent in self.sent[1:]], ["true"] * (len(self.sent) - 1))
        self.assertEqual(len({sent.text for sent in self.sent}), 1)

    async def newest(self):
        return [token.id for token in (await self.listed(sorting="-id")).summaries[:4]]

    async def test_create(self):
        body = {"details": {"token_scope": "account"}}
        for sent in ({"idempotency_key": key()}, {"body": {**body, "idempotency_key": key()}}):
            before = await self.newest()
            answer = await self.repeated(self.call("POST", "/api_token", client=self.stubborn, **{"body": body, **sent}))
            self.check_replays()
            self.assertEqual(await self.newest(), [answer["details"]["id"], *before[:3]])
            await self.admitted(answer["token"])

    async def test_create_without_a_key_makes_one_token_for_each_request(self):
        before = await self.newest()
        answer = await self.repeated(self.call("POST", "/api_token", {"details": {"token_scope": "account"}}, self.stubborn))
        newest = await self.newest()
        self.assertEqual(newest[3], before[0])
        self.assertIn(answer["details"]["id"], newest[:3])

    async def test_actions_and_delete(self):
        created, token = await self.create()
        for verb, status in (("suspend", "suspended"), ("activate", "active"), ("revoke", "revoked")):
            changed = await self.repeated(self.act(verb, created.id, self.stubborn, idempotency_key=key()))
            self.check_replays()
            self.assertEqual(changed.status, status)
        answer = await self.repeated(
            self.call("DELETE", f"/api_token/{created.id}", client=self.stubborn, idempotency_key=key()))
        self.check_replays()
        self.assertEqual(answer["details"]["id"], created.id)
        await self.refused(token, "invalid")

    async def test_an_action_without_a_key_is_told_that_it_is_done(self):
        created, _ = await self.create()
        self.sent.clear()
        self.relay.lose(1)
        await self.clashes("invalid_action", self.act("suspend", created.id, self.stubborn))
        self.assertEqual([sent.status for sent in self.sent], [200, 409])
        self.assertEqual((await self.show(created.id)).status, "suspended")

    async def test_neighbours(self):
        made = await self.repeated(self.call("POST", "/environment", {"details": {"name": "lost"}, "idempotency_key": key()},
                                             self.stubborn))
        self.check_replays()
        path = f"/environment/{made['details']['id']}"
        await self.repeated(self.call("PUT", path, {"details": {"name": "found"}, "idempotency_key": key()}, self.stubborn))
        self.check_replays()
        await self.repeated(self.call("DELETE", path, {"idempotency_key": key()}, self.stubborn))
        self.check_replays()
        invited = {"details": {"email": "lost@example.com"}, "idempotency_key": key()}
        await self.repeated(self.call("POST", "/admin_user_invite", invited, self.stubborn))
        self.check_replays()
        three = {"count": 3, "idempotency_key": key()}
        generated = await self.repeated(self.call("POST", "/pfid/generate", three, self.stubborn))
        self.check_replays()
        self.assertEqual(len(set(generated["pfids"])), 3)

    async def test_bulk(self):
        request = BulkRequest(items=[
            BulkItem(_type="api_tokens/create", idempotency_key=key(), details={"token_scope": "account"}),
            BulkItem(_type="environments/create", idempotency_key=key(), details={"name": "in bulk"})])
        before = await self.newest()
        answer = await self.repeated(self.stubborn.bulk.execute(request))
        self.assertEqual(len({sent.text for sent in self.sent}), 1)
        created = answer.outputs[request.items[0].idempotency_key]
        self.assertEqual(await self.newest(), [created.details["id"], *before[:3]])
        await self.admitted(created.token)


CASES = (Keys, LostAnswers)
