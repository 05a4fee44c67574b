"""What stands around the tokens: accounts, environments, agents, people, ids, and calls in bulk."""

import pfid
import prefactor_http
from prefactor_http.models.agent import AgentForCreate, AgentForUpdate
from prefactor_http.models.bulk import BulkItem, BulkRequest

import wire
from api import NOBODY, RELAY, Case, check_id, check_time, key
from installation import LIVE
from relay import DOCUMENT

PARTITION = pfid.extract_partition(LIVE.account_pfid)


class Neighbour(Case):
    async def listed_ids(self, path, **params):
        answer = await self.call("GET", path, params={"account_id": LIVE.account_pfid, "sorting": "-id", **params})
        return [one["id"] for one in answer["summaries"]]

    async def show(self, path, one_id):
        return (await self.call("GET", f"{path}/{one_id}"))["details"]

    async def update(self, path, one_id, **details):
        return (await self.call("PUT", f"{path}/{one_id}", {"details": details}))["details"]

    def looks(self, one, kind, **fields):
        """The object is of this kind and this account, and has these values."""
        check_id(one["id"])
        self.assertEqual(pfid.extract_partition(one["id"]), PARTITION)
        if kind != "account":
            self.assertEqual(one["account_id"], LIVE.account_pfid)
        if kind not in ("account", "environment"):
            check_time(one["inserted_at"])
            check_time(one["updated_at"])
        self.assertEqual({name: one[name] for name in ("type", *fields)}, {"type": kind, **fields})


class Places(Neighbour):
    async def test_environments(self):
        plain = await self.make("/environment", name="plain", account_id=LIVE.account_pfid)
        self.looks(plain, "environment", name="plain", description=None, purpose="development", external_identifier=None)
        made = await self.make("/environment", name="full", description="d", purpose="staging", external_identifier="x")
        self.looks(made, "environment", name="full", description="d", purpose="staging", external_identifier="x")
        self.assertEqual(await self.show("/environment", made["id"]), made)
        self.assertEqual((await self.listed_ids("/environment"))[:2], [made["id"], plain["id"]])
        renamed = await self.update("/environment", made["id"], name="renamed")
        self.assertEqual(renamed, {**made, "name": "renamed"})
        cleared = await self.update("/environment", made["id"], description=None, external_identifier=None,
                                    purpose="production")
        self.looks(cleared, "environment", name="renamed", description=None, purpose="production", external_identifier=None)
        self.assertEqual((await self.call("DELETE", f"/environment/{made['id']}"))["details"]["id"], made["id"])
        await self.absent(self.show("/environment", made["id"]))
        self.assertNotIn(made["id"], await self.listed_ids("/environment"))

    async def test_ids_that_the_client_chose(self):
        for path in ("/environment", "/agent"):
            chosen = pfid.generate(PARTITION)
            self.assertEqual((await self.make(path, name="chosen", id=chosen))["id"], chosen)
            for wrong in (chosen, pfid.generate(PARTITION ^ 1), "not-a-pfid", LIVE.account_pfid,
                          pfid.generate(PARTITION).upper()):
                with self.subTest(path=path, id=wrong):
                    await self.invalid(self.make(path, name="chosen", id=wrong), "invalid_value", "details", "id")

    async def test_wrong_environments(self):
        for details, code, field in (({}, "required_value", "name"), ({"name": ""}, "invalid_value", "name"),
                                     ({"name": 5}, "invalid_value", "name"),
                                     ({"name": "x", "purpose": "play"}, "invalid_value", "purpose"),
                                     ({"name": "x", "description": 5}, "invalid_value", "description")):
            with self.subTest(details=details):
                await self.invalid(self.make("/environment", **details), code, "details", field)

    async def test_the_account(self):
        listed = await self.call("GET", "/account")
        self.assertEqual([one["id"] for one in listed["summaries"]], [LIVE.account_pfid])
        before = await self.show("/account", LIVE.account_pfid)
        self.looks(before, "account", purpose="business", organisation_name=None)
        renamed = await self.update("/account", LIVE.account_pfid, name="N", organisation_name="O")
        self.looks(renamed, "account", id=LIVE.account_pfid, name="N", organisation_name="O")
        await self.update("/account", LIVE.account_pfid, name=before["name"], organisation_name=None)
        await self.absent(self.show("/account", LIVE.other.account_pfid))

    async def test_people(self):
        self.assertEqual(await self.listed_ids("/admin_user"), [LIVE.user_pfid])
        before = await self.show("/admin_user", LIVE.user_pfid)
        self.looks(before, "admin_user", email=LIVE.email, name=None, job_title=None, profile_completed_at=None)
        self.assertIn("last_active_at", before)
        named = await self.update("/admin_user", LIVE.user_pfid, name="Ada", job_title="Engineer",
                                  profile_completed_at="2026-01-01T01:00:00+01:00")
        self.looks(named, "admin_user", name="Ada", job_title="Engineer", profile_completed_at="2026-01-01T00:00:00Z")
        cleared = await self.update("/admin_user", LIVE.user_pfid, job_title=None, profile_completed_at=None)
        self.looks(cleared, "admin_user", name="Ada", job_title=None, profile_completed_at=None)

    async def test_invites(self):
        invite = await self.make("/admin_user_invite", email="Grace@Example.com")
        self.looks(invite, "admin_user_invite", status="pending")
        self.assertEqual(invite["email"].lower(), "grace@example.com")
        self.assertTrue(invite["token"])
        self.assertTrue(invite["invite_url"].endswith(invite["token"]), invite["invite_url"])
        self.assertIn(invite["id"], await self.listed_ids("/admin_user_invite"))
        self.assertEqual((await self.show("/admin_user_invite", invite["id"]))["status"], "pending")
        path = f"/admin_user_invite/{invite['id']}/revoke"
        self.assertEqual((await self.call("POST", path, {}))["details"]["status"], "revoked")
        await self.clashes("invalid_action", self.call("POST", path, {}))
        for email in ("", "nobody", 5, LIVE.email):
            await self.invalid(self.make("/admin_user_invite", email=email), "invalid_value", "details", "email")


class Agents(Neighbour):
    async def test_by_the_sdks_own_methods(self):
        agents = self.client.agents
        used = key()
        made = await agents.create(AgentForCreate(name="typed"), used)
        self.assertEqual((await agents.create(AgentForCreate(name="typed"), used)).id, made.id)
        self.assertEqual(await agents.get(made.id), made)
        self.assertEqual(await agents.show(agent_id=made.id), made)
        self.assertEqual((await agents.list_agents(sorting="-id", offset=0, page_size=1))[0].id, made.id)
        self.assertEqual((await agents.update(made.id, AgentForUpdate(name="renamed"))).name, "renamed")
        self.assertEqual((await agents.delete(made.id, key())).id, made.id)
        await self.absent(agents.get(made.id))
        await self.absent(agents.show(agent_id=made.id))
        await self.invalid(agents.show(agent_id="not-a-pfid"), "invalid_value", "agent_id")
        await self.invalid(agents.show(external_identifier="x"), "required_value", "agent_id")

    async def test_an_agent_takes_its_deployments_along(self):
        agent = await self.make("/agent", name="deployed")
        self.looks(agent, "agent", name="deployed")
        deployment = await self.make("/agent_deployment", agent_id=agent["id"], environment_id=LIVE.environment_id)
        self.looks(deployment, "agent_deployment", agent_id=agent["id"], environment_id=LIVE.environment_id,
                   current_version_id=None)
        self.assertEqual(await self.listed_ids("/agent_deployment", agent_id=agent["id"]), [deployment["id"]])
        created, token = await self.create(token_scope="agent_deployment", agent_id=agent["id"],
                                           environment_id=LIVE.environment_id)
        self.assertEqual(created.agent_deployment_id, deployment["id"])
        await self.admitted(token)
        await self.call("DELETE", f"/agent/{agent['id']}")
        await self.refused(token, "invalid")
        await self.absent(self.show("/agent_deployment", deployment["id"]))

    async def test_a_deployment_takes_its_tokens_along(self):
        agent = await self.make("/agent", name="deployed")
        created, token = await self.create(token_scope="agent_deployment", agent_id=agent["id"],
                                           environment_id=LIVE.environment_id)
        await self.admitted(token)
        await self.call("DELETE", f"/agent_deployment/{created.agent_deployment_id}")
        await self.refused(token, "invalid")
        again, second = await self.create(token_scope="agent_deployment", agent_id=agent["id"],
                                          environment_id=LIVE.environment_id)
        self.assertNotEqual(again.agent_deployment_id, created.agent_deployment_id)
        await self.admitted(second)
        await self.refused(token, "invalid")


class Together(Neighbour):
    async def test_ids(self):
        answer = await self.call("POST", "/pfid/generate", {"count": 1000, "account_id": LIVE.account_pfid})
        self.assertEqual(answer.keys(), {"status", "account_id", "pfids"})
        self.assertEqual(answer["account_id"], LIVE.account_pfid)
        self.assertEqual(len(set(answer["pfids"])), 1000)
        self.assertTrue(all(pfid.is_pfid(one) for one in answer["pfids"]))
        self.assertEqual({pfid.extract_partition(one) for one in answer["pfids"]}, {PARTITION})
        for count in (0, 1001, "x", -1, 1.5):
            await self.invalid(self.call("POST", "/pfid/generate", {"count": count}), "invalid_value", "count")
        await self.denied(self.call("POST", "/pfid/generate", {"count": 1, "account_id": LIVE.other.account_pfid}))

    async def test_bulk(self):
        created, token = await self.create()
        keys = [key() for _ in range(7)]
        request = BulkRequest(items=[
            BulkItem(_type="api_tokens/list", idempotency_key=keys[0], sorting="-id",
                     pagination={"offset": 0, "page_size": 1}),
            BulkItem(_type="api_tokens/create", idempotency_key=keys[1], details={"token_scope": "account"}),
            BulkItem(_type="api_tokens/suspend", idempotency_key=keys[2], api_token_id=created.id),
            BulkItem(_type="api_tokens/show", idempotency_key=keys[3], api_token_id=created.id),
            BulkItem(_type="agents/create", idempotency_key=keys[4], details={"name": "in bulk"}),
            BulkItem(_type="api_tokens/suspend", idempotency_key=keys[5], api_token_id=created.id),
            BulkItem(_type="api_tokens/activate", idempotency_key=keys[6], api_token_id=created.id)])
        answer = await self.client.bulk.execute(request)
        self.assertEqual(answer.outputs.keys(), set(keys[:6]))
        outputs = [answer.outputs[one] for one in keys[:6]]
        self.assertEqual([one.status for one in outputs], ["success"] * 5 + ["error"])
        self.assertEqual([one["id"] for one in outputs[0].summaries], [created.id])
        self.assertEqual((outputs[2].details["status"], outputs[3].details["status"]), ("suspended", "suspended"))
        self.assertEqual(outputs[5].code, "invalid_action")
        await self.admitted(outputs[1].token)
        await self.refused(token, "disabled")

    async def test_bulk_of_what_is_not_there(self):
        for items in ([{"method": "GET", "path": "/api/v1/ping"}], [], [{"_type": "api_tokens/list"}],
                      [{"_type": "api_tokens/list", "idempotency_key": "short"}],
                      [{"_type": "api_tokens/list", "idempotency_key": "the same"}] * 2):
            with self.subTest(items=items):
                await self.fails(prefactor_http.PrefactorValidationError, 422, "validation_errors",
                                 self.call("POST", "/bulk", {"items": items}))
        used = key()
        one = BulkRequest(items=[BulkItem(_type="api_tokens/show", idempotency_key=used, api_token_id=NOBODY)])
        self.assertEqual((await self.client.bulk.execute(one)).outputs[used].code, "not_found")

    async def test_the_document(self):
        client = wire.Client(RELAY.server_port)
        self.addCleanup(client.close)
        self.assertEqual(client.request(path=DOCUMENT).status, 200)
        document = self.sent[-1].answer
        self.assertRegex(document["openapi"], r"^3\.")
        self.assertLessEqual({"/api/v1/api_token", "/api/v1/ping", "/api/v1/environment", "/api/v1/bulk"},
                             document["paths"].keys())


CASES = (Places, Agents, Together)
