"""The life of a token, from its creation to its deletion, by the API and at the gate."""

import time
import urllib.parse

import pfid
import prefactor_http

import wire
from api import ALLOWED, NOBODY, YEAR, Case, from_now, key, moment
from installation import LIVE

HEADER = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"


class Creation(Case):
    async def test_of_an_account(self):
        created, token = await self.create()
        self.assertEqual((created.status, created.account_id), ("active", LIVE.account_pfid))
        self.assertEqual((created.environment_id, created.agent_id, created.agent_deployment_id), (None, None, None))
        self.assertIsNone(created.last_used_at)
        self.assertEqual(moment(created.expires_at) - moment(created.inserted_at), YEAR)
        self.assertEqual(token.split(".")[0], HEADER)
        self.assertEqual(len(token.split(".")), 3)
        self.assertEqual(await self.show(created.id), created)
        await self.admitted(token)

    async def test_the_id_is_one_to_prefactors_own_library(self):
        created, _ = await self.create()
        self.assertTrue(pfid.is_pfid(created.id))
        self.assertEqual(pfid.extract_partition(created.id), pfid.extract_partition(LIVE.account_pfid))
        self.assertEqual(pfid.encode(pfid.decode(created.id)), created.id)
        made_at = int.from_bytes(pfid.decode(created.id)[:6], "big") / 1000
        self.assertEqual(int(made_at), moment(created.inserted_at).timestamp())

    async def test_of_an_environment(self):
        created, token = await self.create(token_scope="environment", environment_id=LIVE.environment_id)
        self.assertEqual((created.token_scope, created.environment_id), ("environment", LIVE.environment_id))
        self.assertEqual((created.agent_id, created.agent_deployment_id), (None, None))
        await self.admitted(token)
        await self.admitted(token, f"environment_id={LIVE.environment_id}")

    async def test_of_an_agents_deployment(self):
        agent = await self.make("/agent", name="deployed")
        where = {"token_scope": "agent_deployment", "agent_id": agent["id"], "environment_id": LIVE.environment_id}
        first, token = await self.create(**where)
        self.assertEqual((first.agent_id, first.environment_id), (agent["id"], LIVE.environment_id))
        listed = await self.call("GET", "/agent_deployment", params={"agent_id": agent["id"]})
        self.assertEqual([one["id"] for one in listed["summaries"]], [first.agent_deployment_id])
        second, _ = await self.create(**where)
        self.assertNotEqual(second.id, first.id)
        self.assertEqual(second.agent_deployment_id, first.agent_deployment_id)
        await self.admitted(token, f"environment_id={LIVE.environment_id}")

    async def test_only_where_it_belongs(self):
        other = await self.make("/environment", name="elsewhere")
        _, scoped = await self.create(token_scope="environment", environment_id=other["id"])
        _, whole = await self.create()
        here, there = f"environment_id={LIVE.environment_id}", f"environment_id={other['id']}"
        for token, demand, expected in (
                (scoped, here, 403), (scoped, there, 200), (scoped, f"account_id={LIVE.account_pfid}", 200),
                (scoped, f"account_id={LIVE.account_pfid}&{there}", 200), (scoped, f"account_id={LIVE.account_pfid}&{here}", 403),
                (whole, here, 200), (whole, there, 200), (whole, f"account_id={LIVE.account_id}", 200),
                (whole, f"account_id={LIVE.account_pfid}", 200), (whole, f"account_id={LIVE.other.account_pfid}", 403),
                (whole, f"environment_id={NOBODY}", 403), (whole, f"zone_id={LIVE.zone_id}", 403)):
            with self.subTest(scoped=token is scoped, demand=demand):
                self.assertEqual(self.gate(token, demand), (expected, None if expected == 200 else "not_permitted"))

    async def test_the_gate_names_the_token(self):
        created, token = await self.create(token_scope="environment", environment_id=LIVE.environment_id)
        answer = wire.ask(LIVE.gate, [("Authorization", f"Bearer {token}")], f"account_id={LIVE.account_id}")
        said = {name: answer.headers[f"Countersign-{name}"] for name in ("Kind", "Token-Id", "Account-Id", "Environment-Id")}
        self.assertEqual(said, {"Kind": "api_token", "Token-Id": created.id, "Account-Id": LIVE.account_pfid,
                                "Environment-Id": LIVE.environment_id})

    async def test_it_calls_the_other_dialect_while_it_is_good(self):
        def status(token, account_id=LIVE.account_id):
            client = wire.Client(urllib.parse.urlsplit(LIVE.management).port)
            self.addCleanup(client.close)
            bearer = [("Authorization", f"Bearer {token}")]
            return client.request(bearer, path=f"/client/v4/accounts/{account_id}/access/service_tokens").status

        created, token = await self.create()
        self.assertEqual((status(token), status(token, LIVE.other.account_id)), (200, 403))
        await self.act("suspend", created.id)
        self.assertEqual(status(token), 401)
        await self.act("activate", created.id)
        self.assertEqual(status(token), 200)
        _, scoped = await self.create(token_scope="environment", environment_id=LIVE.environment_id)
        self.assertEqual(status(scoped), 403)

    async def test_use_shows_at_once(self):
        created, token = await self.create()
        used = from_now()
        await self.admitted(token)
        shown = await self.show(created.id)
        self.assertGreaterEqual(moment(shown.last_used_at), used)
        self.assertEqual(shown.model_copy(update={"last_used_at": None}), created)

    async def test_expiry(self):
        created, _ = await self.create(expires_at="2099-01-01T02:00:00.75+02:00")
        self.assertEqual(created.expires_at, "2099-01-01T00:00:00Z")
        short, token = await self.create(expires_at=from_now(seconds=2).isoformat())
        await self.admitted(token)
        deadline = time.monotonic() + 10
        while self.gate(token) == (200, None) and time.monotonic() < deadline:
            pass
        await self.refused(token, "expired")
        shown = await self.show(short.id)
        self.assertEqual((shown.status, shown.available_actions), ("active", short.available_actions))
        self.assertEqual((await self.act("suspend", short.id)).status, "suspended")
        self.assertEqual((await self.act("activate", short.id)).expires_at, short.expires_at)
        await self.refused(token, "expired")

    async def test_scoped_tokens_are_valid(self):
        agent = await self.make("/agent", name="pinging")
        for details in ({}, {"token_scope": "environment", "environment_id": LIVE.environment_id},
                        {"token_scope": "agent_deployment", "agent_id": agent["id"], "environment_id": LIVE.environment_id}):
            _, token = await self.create(**details)
            answer = await self.connect(token).validate_token()
            self.assertEqual((answer["status"], answer["details"]["token_type"]), ("success", "api"))


class States(Case):
    OUTCOME = {"active": (200, None), "suspended": (401, "disabled"), "revoked": (401, "revoked")}
    AFTER = {"suspend": "suspended", "activate": "active", "revoke": "revoked"}
    PATHS = {"active": (), "suspended": ("suspend",), "revoked": ("suspend", "revoke")}

    async def in_state(self, state):
        created, token = await self.create()
        for verb in self.PATHS[state]:
            await self.act(verb, created.id)
        return await self.show(created.id), token

    async def test_every_action_in_every_state(self):
        for state, allowed in ALLOWED.items():
            for verb, possible in allowed.items():
                with self.subTest(state=state, verb=verb):
                    before, token = await self.in_state(state)
                    call = self.delete(before.id) if verb == "delete" else self.act(verb, before.id)
                    if not possible:
                        await self.clashes("invalid_action", call)
                        self.assertEqual(await self.show(before.id), before)
                        self.assertEqual(self.gate(token), self.OUTCOME[state])
                        continue
                    after = await call
                    if verb == "delete":
                        await self.absent(self.show(before.id))
                        self.assertEqual(self.gate(token), (401, "invalid"))
                        continue
                    self.assertEqual(after.status, self.AFTER[verb])
                    self.assertEqual(await self.show(before.id), after)
                    self.assertEqual(self.gate(token), self.OUTCOME[after.status])

    async def test_suspended_is_recoverable(self):
        created, token = await self.create()
        for _ in range(20):
            await self.act("suspend", created.id)
            await self.refused(token, "disabled")
            await self.act("activate", created.id)
            await self.admitted(token)

    async def test_a_revoked_token_is_no_token(self):
        created, token = await self.create()
        await self.act("revoke", created.id)
        error = await self.fails(prefactor_http.PrefactorAuthError, 401, "bad_authtoken",
                                 self.connect(token).validate_token())
        self.assertNotIn(token, str(error))
        self.assertEqual(self.gate(token), (401, "revoked"))

    async def test_delete(self):
        created, token = await self.create()
        await self.act("revoke", created.id)
        deleted = await self.delete(created.id)
        self.assertEqual((deleted.id, deleted.status), (created.id, "revoked"))
        self.assertEqual(set(deleted.available_actions.model_dump().values()), {False})
        await self.refused(token, "invalid")
        await self.absent(self.show(created.id))
        await self.absent(self.delete(created.id))
        for verb in self.AFTER:
            await self.absent(self.act(verb, created.id))
        newest = await self.listed(sorting="-id")
        self.assertNotIn(created.id, [token.id for token in newest.summaries])

    async def test_delete_with_the_key_in_the_header(self):
        created, _ = await self.create()
        await self.act("revoke", created.id)
        answer = await self.call("DELETE", f"/api_token/{created.id}", idempotency_key=key())
        self.assertLessEqual({"status", "details"}, answer.keys())

    async def test_a_token_ends_itself(self):
        created, token = await self.create()
        itself = self.connect(token)
        self.assertEqual((await self.act("revoke", created.id, itself)).status, "revoked")
        await self.fails(prefactor_http.PrefactorAuthError, 401, "bad_authtoken", itself.validate_token())

    async def test_an_action_with_or_without_a_body(self):
        created, _ = await self.create()
        for body in (None, {}, {"idempotency_key": None}, {"unknown": 1}):
            for verb, status in (("suspend", "suspended"), ("activate", "active")):
                answer = await self.call("POST", f"/api_token/{created.id}/{verb}", body)
                self.assertEqual(answer["details"]["status"], status)

    async def test_an_environment_takes_its_tokens_along(self):
        environment = await self.make("/environment", name="short-lived")
        agent = await self.make("/agent", name="short-lived")
        scoped, token = await self.create(token_scope="environment", environment_id=environment["id"])
        deployed, deployed_token = await self.create(token_scope="agent_deployment", agent_id=agent["id"],
                                                     environment_id=environment["id"])
        _, account_token = await self.create()
        await self.admitted(token)
        await self.admitted(deployed_token)
        await self.call("DELETE", f"/environment/{environment['id']}")
        await self.refused(token, "invalid")
        await self.refused(deployed_token, "invalid")
        await self.admitted(account_token)
        newest = [token.id for token in (await self.listed(sorting="-id")).summaries]
        self.assertIn(scoped.id, newest)
        self.assertIn(deployed.id, newest)


CASES = (Creation, States)
